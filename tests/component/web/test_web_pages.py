"""The pages: what they say of a real store, and what their forms do."""

import html
import re
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import httpx
import pytest
from storing import HOUR, MINUTE, NOW, UTC_ZONE, row, stamp
from visiting import ALL_DAY, HOSTILE, Site, moved, site, submit

from notifier.domain.models import Refused, Scope, State
from notifier.domain.pagination import DeliveryFilter
from notifier.storage import queries
from notifier.storage.rows import HourRow, StartRow
from notifier.web.pages.charts import bars, timeline
from notifier.workers.readiness import HealthReport

pytestmark = pytest.mark.anyio
PAGES = (
    *("/", "/milestones", "/milestones?when=all", "/milestones/evil", "/events"),
    *("/deliveries", "/deliveries?state=dead", "/destinations", "/routes"),
    *("/routes?q=script", "/silences", "/silences?all=yes", "/audit"),
)


@pytest.fixture
async def there(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "notifier.db") as found:
        yield found


@pytest.fixture
async def visitor(there: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with there.visitor() as client:
        yield client


@pytest.fixture(scope="module")
async def reader(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who only reads; all of them read in the same store."""
    database = tmp_path_factory.mktemp("read") / "notifier.db"
    async with site(database) as found, found.visitor() as client:
        yield client


@pytest.fixture(scope="module")
async def newcomer(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody who looks right after the first start."""
    database = tmp_path_factory.mktemp("new") / "notifier.db"
    async with site(database, lived=False) as found, found.visitor() as client:
        yield client


def words(page: httpx.Response) -> str:
    """A page without its markup, on one line."""
    assert page.status_code < 500, page.text
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())
    return re.sub(r" (?=[,:;.)])", "", text)


# --- every page ---------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
async def test_upstream_text_is_never_markup(reader: httpx.AsyncClient, path: str) -> None:
    page = await reader.get(path)

    assert page.status_code == 200
    assert "<script>alert" not in page.text
    assert "SECRET" not in page.text


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_holds_nothing_that_the_policy_forbids(
    reader: httpx.AsyncClient, path: str
) -> None:
    page = await reader.get(path)

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|//cdn", page.text)
    assert page.text.count("<script") == 1


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_has_landmarks_one_heading_and_a_way_past_the_bar(
    reader: httpx.AsyncClient, path: str
) -> None:
    text = (await reader.get(path)).text

    assert text.count("<h1") == 1
    assert text.count("<main") == 1
    assert 'href="#main"' in text
    assert text.count('aria-current="') == 1
    assert "times in America/New_York (EST)" in text


@pytest.mark.parametrize(
    "path",
    [path for path in PAGES if "evil" not in path],
)
async def test_a_page_without_anything_to_show_says_what_to_do(
    newcomer: httpx.AsyncClient, path: str
) -> None:
    page = await newcomer.get(path)

    assert page.status_code == 200
    if path not in {"/destinations", "/routes"}:
        assert 'class="empty"' in page.text


@pytest.mark.parametrize("lived", [True, False])
async def test_a_page_before_the_first_count_leaves_the_number_out(
    tmp_path: Path, lived: bool
) -> None:
    new = site(tmp_path / "n.db", lived=lived, counted=False)
    async with new as found, found.visitor() as client:
        for path in PAGES:
            page = await client.get(path)
            assert page.status_code == (404 if "evil" in path and not lived else 200)
            assert "None" not in words(page)
        if not lived:
            events = words(await client.get("/events"))
            assert "No events yet. What changes from now on" in events
        assert "0 milestones" not in words(await client.get("/milestones"))


async def test_what_is_not_there_is_said_in_the_dress_of_the_pages(
    reader: httpx.AsyncClient,
) -> None:
    for path in ("/nothing", "/milestones/nobody", "/events/evt_0"):
        page = await reader.get(path)

        assert page.status_code == 404
        assert "There is no such page" in words(page)
        assert 'href="/milestones"' in page.text


@pytest.mark.parametrize("path", ["/milestones", "/events", "/deliveries", "/audit"])
async def test_a_cursor_that_no_list_gave_out_is_not_found(
    reader: httpx.AsyncClient, path: str
) -> None:
    page = await reader.get(path, params={"cursor": "made-up"})

    assert page.status_code == 404
    assert "Begin again with its first page" in words(page)


async def test_files_are_kept_and_asked_about(reader: httpx.AsyncClient) -> None:
    first = await reader.get("/static/notifier.css")
    again = await reader.get(
        "/static/notifier.css", headers={"if-none-match": first.headers["etag"]}
    )

    assert first.headers["content-type"].startswith("text/css")
    assert (first.status_code, again.status_code) == (200, 304)


# --- overview -----------------------------------------------------------------


async def test_the_overview_says_how_everything_stands(
    reader: httpx.AsyncClient,
) -> None:
    said = words(await reader.get("/"))

    assert "Milestones watched 6" in said
    assert "hook has 5 dead letters." in said
    assert "The clock agrees with Kalshi's." in said
    assert "Kansas City at Denver" in said
    assert "Watch Last read Polled" in said


async def test_the_overview_says_when_all_is_well(
    newcomer: httpx.AsyncClient,
) -> None:
    assert "All is well" in words(await newcomer.get("/"))


async def test_the_overview_says_when_the_service_itself_is_not_well(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    there.health = HealthReport(stalled=["alarm"], unready=["the store cannot be read"])

    said = words(await visitor.get("/"))

    assert "3 things need a look" in said
    assert "No progress in: alarm." in said
    assert "Not ready: the store cannot be read" in said


async def test_pictures_have_words_and_the_same_as_a_list_or_a_table(
    reader: httpx.AsyncClient,
) -> None:
    text = (await reader.get("/")).text

    assert text.count('role="img"') == 2
    assert "5 starts in the next 24 hours: football game (3)" in text
    assert "The same as a table" in text
    assert '<ol class="starts">' in text


def _start(at: datetime) -> StartRow:
    return StartRow(milestone_id="m1", title="A", category="Sports", type="game", start=at)


def test_starts_that_happen_together_are_one_mark_with_their_number() -> None:
    at = [NOW + 2 * HOUR, NOW + 2 * HOUR + 5 * MINUTE, NOW + 12 * HOUR]

    drawn = timeline([_start(one) for one in at], now=NOW, zone=UTC_ZONE)

    [lane] = drawn.lanes
    assert [mark.count for mark in lane.marks] == [2, 1]
    assert [mark.x for mark in lane.marks] == pytest.approx([8.5, 50], abs=0.1)


def test_the_timeline_ends_with_the_last_start_that_is_told() -> None:
    starts = [_start(NOW + i * MINUTE) for i in range(1, 201)]

    drawn = timeline(starts, now=NOW, zone=UTC_ZONE)

    assert drawn.hours == 4
    assert drawn.lanes[0].marks[-1].x == pytest.approx(83, abs=1)
    assert [tick.words for tick in drawn.ticks] == ["19:00", "20:00", "21:00"]


def test_bars_of_an_hour_stand_on_each_other_below_the_top() -> None:
    rows = [HourRow(hour=NOW - 2 * HOUR), HourRow(hour=NOW - HOUR, created=3, ended=4)]

    drawn = bars(rows, zone=UTC_ZONE, now=NOW)

    empty, full = drawn.bars
    assert not empty.segments
    below, above = full.segments
    assert below.y + below.height == pytest.approx(drawn.floor)
    assert above.y + above.height == pytest.approx(below.y, abs=0.2)
    assert above.y >= drawn.floor - 150
    assert drawn.totals["ended"] == 4


# --- milestones ---------------------------------------------------------------


async def test_milestones_are_searched_and_filtered(
    reader: httpx.AsyncClient,
) -> None:
    ahead = words(await reader.get("/milestones"))
    by_ticker = words(await reader.get("/milestones?q=nov22kcden"))
    by_category = words(await reader.get("/milestones?category=Elections"))

    assert ahead.index("Kansas City") < ahead.index("Georgia governor runoff")
    assert "Kansas City at Denver" in by_ticker
    assert "Syracuse" not in by_ticker
    assert "Georgia governor runoff" in by_category
    assert "NVIDIA Q3" not in by_category


async def test_a_search_that_finds_nothing_shows_the_way_out(
    reader: httpx.AsyncClient,
) -> None:
    page = await reader.get("/milestones?q=curling")

    assert "Nothing fits." in words(page)
    assert 'href="/milestones?when=all&amp;gone=with"' in page.text


async def test_a_milestones_page_tells_its_story(reader: httpx.AsyncClient) -> None:
    page = await reader.get("/milestones/syr")
    said = words(page)

    assert "Starts in 5 h" in said
    assert "Sun 22 Nov" not in said.partition("History")[0]
    assert "before: 15:00 EST → after: 18:00 EST (3 h later)" in said
    assert "https://kalshi.com/markets/kxncaafgame/" in page.text
    assert "reminder" in said
    assert "dead" in said
    assert "&#34;notification_message&#34;" in page.text


async def test_lists_of_many_come_in_pages_that_keep_the_filter(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    many = [row(f"g{i:03}", title=f"Game number {i}") for i in range(120)]
    await there.shelf.show(*many, now=NOW)
    path, seen = "/milestones?q=Game+number", ""
    pages = 0
    while path:
        page = await visitor.get(path)
        seen, pages = seen + words(page), pages + 1
        _, found, rest = page.text.partition('rel="next" href="')
        path = "/milestones" + rest.partition('"')[0].replace("&amp;", "&") if found else ""

    assert pages == 3
    assert all(f"Game number {i} " in seen for i in range(120))


# --- events -------------------------------------------------------------------


async def test_events_are_listed_and_filtered_by_kind(
    reader: httpx.AsyncClient,
) -> None:
    every = words(await reader.get("/events"))
    updated = words(await reader.get("/events?kind=updated"))

    assert "Start: 15:00 EST → 18:00 EST (3 h later)" in every
    assert "NVIDIA Q3" in every
    assert "Syracuse" in updated
    assert "NVIDIA Q3" not in updated


async def test_the_newer_rows_alone_are_what_an_open_page_slips_in(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    before = await there.reader.read(queries.newest_event)
    await moved(there.shelf, "kc", hours=7)

    newer = await visitor.get("/events/newer", params={"after": before})
    others = await visitor.get(f"/events/newer?after={before}&kind=created")

    assert newer.text.count("<li") == 1
    assert "Kansas City at Denver" in newer.text
    assert "<html" not in newer.text
    assert "<li" not in others.text
    after = str(await there.reader.read(queries.newest_event))
    assert newer.headers["x-newest"] == others.headers["x-newest"] == after
    assert (await visitor.get("/events/newer?after=many")).status_code == 400


async def test_an_event_says_why_it_went_where_it_went(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    updated = words(await visitor.get(f"/events/{await there.event('updated')}"))
    created = words(await visitor.get(f"/events/{await there.event('created')}"))

    assert "matched games → ops, desk" in updated
    assert "3 deliveries" in updated
    assert "HTTP 400" in created
    assert "What each route says" in created


async def test_an_event_shows_what_was_sent(there: Site, visitor: httpx.AsyncClient) -> None:
    wanted = DeliveryFilter(destination="ops", milestone_id="evil")
    rows = (await there.reader.read(queries.deliveries, wanted, NOW)).rows

    page = await visitor.get(f"/events/{rows[-1].event_id}")

    assert "What was sent" in words(page)
    assert HOSTILE[:8] not in page.text


# --- deliveries ---------------------------------------------------------------


async def test_deliveries_are_filtered_by_what_became_of_them(
    reader: httpx.AsyncClient,
) -> None:
    dead = words(await reader.get("/deliveries?state=dead"))
    to_ops = words(await reader.get("/deliveries?destination=ops&route=games"))

    assert "HTTP 400" in dead
    assert "sent 50 min ago" not in dead
    assert "sent 50 min ago" in to_ops
    assert "by everything" not in to_ops


async def test_one_dead_letter_is_put_back(there: Site, visitor: httpx.AsyncClient) -> None:
    page = "/deliveries?state=dead"
    answer = await submit(visitor, page, "/deliveries/redrive")

    assert answer.status_code == 303
    said = words(await visitor.get(answer.headers["location"]))
    assert "Put back 1 dead letter" in said
    assert await _dead(there) == 4


async def test_all_dead_letters_of_a_destination_are_put_back_after_a_question(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    page = "/deliveries/redrive?destination=hook"
    question = words(await visitor.get(page))
    still_dead = await _dead(there)

    answer = await submit(visitor, page, "/deliveries/redrive")

    assert "Redrive all dead letters of hook?" in question
    assert "Georgia governor runoff" in question
    assert "HTTP 400" in question
    assert still_dead == 5
    assert answer.headers["location"] == "/deliveries?said=redriven&n=5"
    assert await _dead(there) == 0
    assert "there is nothing to put back" in words(await visitor.get(page))


async def _dead(there: Site) -> int:
    wanted = DeliveryFilter(state=[State.DEAD])
    return len((await there.reader.read(queries.deliveries, wanted, NOW)).rows)


# --- destinations -------------------------------------------------------------


async def test_a_test_is_sent_and_what_came_of_it_is_said(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    sent = await submit(visitor, "/destinations", "/destinations/ops/test")
    there.answer = Refused(reason="no such channel", scope=Scope.MESSAGE, status=400)
    refused = await submit(visitor, "/destinations", "/destinations/desk/test")

    assert sent.status_code == 303
    said = words(await visitor.get(sent.headers["location"]))
    assert "The test reached ops" in said
    assert refused.status_code == 303
    why = words(await visitor.get(refused.headers["location"]))
    assert "The test did not reach desk" in why
    assert "no such channel" in why


async def test_whoever_loads_the_address_of_a_test_again_sees_the_destinations(
    visitor: httpx.AsyncClient,
) -> None:
    answer = await visitor.get("/destinations/ops/test")

    assert (answer.status_code, answer.headers["location"]) == (303, "/destinations")


async def test_the_audit_speaks_in_words(visitor: httpx.AsyncClient) -> None:
    await submit(visitor, "/destinations", "/destinations/ops/test")
    sent = {"title": "A", "why": "x", "until": "2026-11-22T20:00", "step": "add"}
    await submit(visitor, "/silences", "/silences", **sent)

    page = await visitor.get("/audit")

    assert "arrived yes" in words(page)
    assert 'datetime="2026-11-23T01:00:00Z"' in page.text
    assert "True" not in words(page)


async def test_a_destination_that_refuses_can_be_resumed(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    [lease, *_] = await there.shelf.claim(to="ops", now=NOW)
    gone = Refused(reason="invalid_token", scope=Scope.DESTINATION, status=403)
    await there.shelf.settle(lease, gone, now=NOW)

    before = words(await visitor.get("/destinations"))
    answer = await submit(visitor, "/destinations", "/destinations/ops/resume")

    after = words(await visitor.get("/destinations"))

    assert "suspended now: invalid_token" in before
    assert "suspended" not in after
    assert answer.headers["location"] == "/destinations?said=resumed&of=ops&n=1"
    assert "/destinations/ops/resume" not in (await visitor.get("/audit")).text
    assert "resume" in words(await visitor.get("/audit"))


async def test_what_was_just_done_shows_on_the_very_next_page(
    visitor: httpx.AsyncClient,
) -> None:
    # The clock of this site stands still: what is kept would stay for good.
    assert "Redrive dead" in (await visitor.get("/destinations")).text
    page = "/deliveries/redrive?destination=hook"
    await submit(visitor, page, "/deliveries/redrive")

    assert "Redrive dead" not in (await visitor.get("/destinations")).text


# --- routes -------------------------------------------------------------------


async def test_routes_say_what_they_take_and_where_to_subscribe(
    reader: httpx.AsyncClient,
) -> None:
    page = await reader.get("/routes")
    said = words(page)

    assert "1. games" in said
    assert "category Sports type football_game" in said
    assert "15m before the start" in said
    for suffix in ("ics", "atom", "json"):
        assert f'href="/feeds/games.{suffix}"' in page.text


async def test_the_way_to_a_reason_leads_from_a_milestone_to_its_events(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    page = await visitor.get("/routes?q=pittsburgh")

    assert f"/events/{await there.event('updated')}" in page.text
    assert "No milestone fits “curling”" in words(await visitor.get("/routes?q=curling"))


# --- silences -----------------------------------------------------------------


async def test_a_silence_is_previewed_added_and_expired(
    visitor: httpx.AsyncClient,
) -> None:
    fields: dict[str, str | list[str]] = {
        "type": "football_game",
        "events": ["created", "updated"],
        "span": "4h",
        "why": "the source flaps",
    }
    preview = await submit(visitor, "/silences", "/silences", step="preview", **fields)
    none_yet = words(await visitor.get("/silences"))
    added = await submit(visitor, "/silences", "/silences", step="add", **fields)
    listed = await visitor.get(added.headers["location"])

    assert "would have silenced 4 of the 6 events" in words(preview)
    assert 'value="football_game"' in preview.text
    assert "No silence is in force" in none_yet
    assert added.status_code == 303
    assert "events created or updated type football_game" in words(listed)
    [action] = _actions(listed.text, "expire")
    over = await submit(visitor, "/silences", action)
    assert over.headers["location"] == "/silences?said=expired"
    assert "No silence is in force" in words(await visitor.get("/silences"))
    assert "ended by hand" in words(await visitor.get("/silences?all=yes"))


def _actions(text: str, ending: str) -> list[str]:
    return re.findall(rf'action="([^"]+/{ending})"', text)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"why": "because"}, "needs something to match"),
        ({"type": "football_game", "why": ""}, "needs a reason"),
        ({"title": "~(", "why": "because"}, "is not a regular expression"),
        (
            {"title": "A", "why": "x", "until": "2026-11-22T01:00"},
            "must end in the future",
        ),
        ({"title": "A", "why": "x", "until": "soon"}, "is not a time"),
        ({"more": "nonsense", "why": "x"}, "is not KEY=PATTERN"),
        ({"more": "titel=x", "why": "x"}, "titel: unknown key; did you mean title?"),
        ({"title": "A", "why": "x", "span": "forever"}, "choose how long"),
    ],
)
async def test_a_form_that_was_filled_in_wrongly_says_so_and_keeps_what_was_typed(
    visitor: httpx.AsyncClient, fields: dict[str, str], wrong: str
) -> None:
    sent = {"span": "4h", "step": "add"} | fields

    answer = await submit(visitor, "/silences", "/silences", **sent)

    assert answer.status_code == 422
    assert wrong in words(answer) or wrong in answer.text
    assert 'role="alert"' in answer.text
    if fields["why"]:
        assert f'value="{fields["why"]}"' in answer.text


async def test_the_end_of_a_silence_is_meant_in_the_zone_of_the_service(
    there: Site, visitor: httpx.AsyncClient
) -> None:
    sent = {"title": "A", "why": "x", "until": "2026-11-22T20:00", "step": "add"}

    await submit(visitor, "/silences", "/silences", **sent)

    [silence] = await there.reader.read(queries.silences, NOW)
    assert stamp(silence.until) == "2026-11-23T01:00:00Z"


@pytest.mark.parametrize(
    ("zone", "until"),
    [("Europe/Paris", "2026-11-22T19:00:00Z"), ("UTC", "2026-11-22T20:00:00Z")],
)
async def test_the_end_of_a_silence_is_meant_in_the_zone_of_its_reader(
    there: Site, visitor: httpx.AsyncClient, zone: str, until: str
) -> None:
    sent = {"title": "A", "why": "x", "until": "2026-11-22T20:00", "step": "add"}

    await submit(visitor, "/silences", "/silences", **sent, zone=zone)

    [silence] = await there.reader.read(queries.silences, NOW)
    assert stamp(silence.until) == until


@pytest.mark.parametrize("zone", ["Mars/Olympus", "../../etc/passwd", "America"])
async def test_a_zone_that_is_unknown_is_not_taken_for_another(
    there: Site, visitor: httpx.AsyncClient, zone: str
) -> None:
    sent = {"title": "A", "why": "x", "until": "2026-11-22T20:00", "step": "add"}

    answer = await submit(visitor, "/silences", "/silences", **sent, zone=zone)

    assert "time zone is not known here" in words(answer)
    assert await there.reader.read(queries.silences, NOW) == []


async def test_a_kind_that_is_unknown_is_said_to_be(
    visitor: httpx.AsyncClient,
) -> None:
    answer = await visitor.get("/events?kind=nope")

    assert answer.status_code == 400
    assert "'nope' is unknown; there are created, updated" in words(answer)


# --- what is said once --------------------------------------------------------


async def test_an_address_cannot_put_words_into_our_mouth(
    reader: httpx.AsyncClient,
) -> None:
    for query in ("said=Call+0900", "said=resumed&of=Call+0900&n=1", "said=tested&n=x"):
        assert "Call 0900" not in words(await reader.get(f"/destinations?{query}"))


async def test_instants_are_marked_for_the_readers_zone(
    reader: httpx.AsyncClient,
) -> None:
    text = (await reader.get("/milestones/kc")).text

    start = (NOW + 5 * HOUR).isoformat().replace("+00:00", "Z")
    assert f'<time datetime="{start}" data-when' in text
    assert str(ALL_DAY["kc"]["title"]) in text
