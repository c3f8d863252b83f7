"""The explanation of an event: routes, deliveries, and the text that was sent."""

from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from storing import DAY, HOOK, HOUR, NOW, SECOND, Claimed, Shelf, opened, row, sql, stocked

from notifier.domain.models import Failed, Format, Kind, Limits, Rendered, Sent
from notifier.domain.pagination import EventFilter
from notifier.domain.rules import Match, Route, Templates
from notifier.storage import queries
from notifier.storage.explain import NoSuchEvent, RenderContext, explain
from notifier.storage.rows import Explanation, RouteTraceRow, SentMessage

pytestmark = pytest.mark.anyio

TEXT = Limits(format=Format.TEXT, title=250, body=4000)
TO_HOOK = (Route(name="all", to=(HOOK,)),)


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    async with opened(tmp_path / "notifier.db") as store:
        yield await stocked(store)


async def _explained(
    shelf: Shelf, event_id: str = "", *, now: datetime = NOW, **context: Any
) -> Explanation:
    parts: dict[str, Any] = {"routes": TO_HOOK, "limits": {HOOK: TEXT}} | context
    if not event_id:
        event_id = (await _events(shelf))[0]
    return await shelf.store.read(explain, event_id, RenderContext(**parts), now)


async def _events(shelf: Shelf, **wanted: Any) -> list[str]:
    """The ids of events, newest first."""
    page = await shelf.store.read(queries.events, EventFilter(**wanted))
    return [one.event_id for one in page.rows]


async def _sent(shelf: Shelf, **context: Any) -> SentMessage | None:
    return (await _explained(shelf, **context)).deliveries[0].sent


async def _deliver(shelf: Shelf, **how: Any) -> list[Claimed]:
    leases = await shelf.claim(now=NOW, **how)
    for lease in leases:
        await shelf.settle(lease, Sent(status=200), now=NOW + SECOND)
    return leases


async def test_the_text_of_a_message_is_rendered_as_it_was_then(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    await _deliver(shelf)

    sent = await _sent(shelf)

    assert sent is not None
    assert sent.title == "New: Game m1"
    assert "in 2 h" in sent.body
    assert (sent.format, sent.note) == ("text", None)


async def test_the_body_of_a_webhook_is_shown_as_it_was_sent(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    await _deliver(shelf)

    def body(message: Rendered, now: datetime) -> str:
        return f"{[event.id for event in message.events]} at {now:%H:%M}"

    sent = await _sent(shelf, webhooks={HOOK: body}, routes=())

    words = f"{await _events(shelf)} at {NOW:%H:%M}"
    assert sent == SentMessage(title="", body=words, format="json", note=None)


async def test_a_message_that_was_not_sent_has_no_text(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="HTTP 503"))
    await shelf.claim(now=NOW + 5 * SECOND)

    [delivery] = (await _explained(shelf)).deliveries

    assert delivery.sent is None
    assert [(one.outcome, one.reason) for one in delivery.tries] == [
        ("failed", "HTTP 503"),
        ("no answer yet", None),
    ]


async def test_a_digest_is_rendered_whole_or_not_at_all(shelf: Shelf, tmp_path: Path) -> None:
    await shelf.show(*(row(f"m{number}") for number in range(5)))
    [lease] = await _deliver(shelf, over=2)

    sent = await _sent(shelf)
    with sql(tmp_path / "notifier.db") as run:
        run("DELETE FROM deliveries WHERE milestone_id = 'm0'")
    partial = await _sent(shelf)

    assert len(lease.message.members) == 5
    assert sent is not None
    assert sent.title.startswith("5 created: Game m0, Game m1, Game m2")
    assert all(f"Game m{number}" in sent.body for number in range(5))
    assert partial is None


@pytest.mark.parametrize(
    ("context", "note"),
    [
        (
            {"limits": {"other": Limits(format=Format.HTML, title=9, body=99)}},
            "put as plain text, for what hook takes is not known",
        ),
        ({"routes": ()}, "without the template of all, which is no route any more"),
        (
            {
                "routes": (
                    Route(
                        name="all",
                        to=(HOOK,),
                        template=Templates(title="{{ milestone.no.way }}"),
                    ),
                )
            },
            "without the template, which fails now: route all, created: title: ",
        ),
    ],
)
async def test_a_text_that_may_have_been_different_says_why(
    shelf: Shelf, context: dict[str, Any], note: str
) -> None:
    await shelf.show(row("m1"))
    await _deliver(shelf)

    sent = await _sent(shelf, **context)

    assert sent is not None
    assert (sent.note or "").startswith(note)


async def test_a_later_change_of_the_milestone_is_not_in_the_text(shelf: Shelf) -> None:
    await shelf.show(row("m1", title="First"))
    await _deliver(shelf)
    await shelf.show(row("m1", title="Second"), now=NOW + HOUR)
    [created] = await _events(shelf, kind=(Kind.CREATED,))

    sent = (await _explained(shelf, created, now=NOW + DAY)).deliveries[0].sent

    assert sent is not None
    assert sent.title == "New: First"
    assert sent.note == "the milestone has changed since it was told"


async def test_a_delivery_that_waits_for_an_earlier_one_names_it(shelf: Shelf) -> None:
    await shelf.show(row("m1"))
    [lease] = await shelf.claim()
    await shelf.settle(lease, Failed(reason="HTTP 503"))
    await shelf.show(row("m1", title="New"), now=NOW + SECOND)
    second, first = await _events(shelf)

    [waiting] = (await _explained(shelf, second)).deliveries
    [earlier] = (await _explained(shelf, first)).deliveries

    assert (waiting.reason, earlier.reason) == (f"{first} goes before it", "HTTP 503")


async def test_an_event_is_found_by_a_prefix_of_its_id_that_only_it_has(shelf: Shelf) -> None:
    await shelf.show(row("m1"), row("m2"))
    one, two = await _events(shelf)

    assert (await _explained(shelf, one[:12])).event.event_id == one
    for prefix, words in (
        ("evt_", "evt_ is the beginning of"),
        ("evt_%", "there is no event 'evt_%'"),
        (f"{two}x", "`notifier events` lists them"),
    ):
        with pytest.raises(NoSuchEvent, match=words):
            await _explained(shelf, prefix)
    with pytest.raises(NoSuchEvent):
        await shelf.store.read(explain, "", RenderContext(), NOW)


async def test_a_route_that_does_not_match_names_the_value(shelf: Shelf) -> None:
    wants = Match(fields=(("category", ("Politics",)),))
    await shelf.show(row("m1"))

    found = await _explained(shelf, routes=(Route(name="politics", to=(HOOK,), match=wants),))

    why = "category is Sports, wants Politics"
    assert found.routes == [RouteTraceRow(route="politics", matched=False, why=why, to=())]
