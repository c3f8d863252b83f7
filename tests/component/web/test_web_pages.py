"""The pages over a real database: their content, and the actions of their forms."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from sample_site import HOSTILE, Site, move_start, site, submit
from storing import HOUR, MINUTE, NOW, UTC_ZONE, row

from notifier.domain.models import Refused, Scope, State
from notifier.domain.pagination import DeliveryFilter
from notifier.storage import queries
from notifier.storage.rows import HourRow, StartRow
from notifier.web.charts import bar_chart, timeline
from notifier.workers.readiness import HealthReport

pytestmark = pytest.mark.anyio
PAGES = (
    *("/", "/milestones", "/milestones?when=all", "/milestones/evil", "/events"),
    *("/deliveries", "/deliveries?state=dead", "/destinations", "/routes"),
    *("/routes?q=script", "/silences", "/silences?all=yes", "/audit"),
)


@pytest.fixture
async def web(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path / "notifier.db") as found:
        yield found


@pytest.fixture
async def client(web: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with web.client() as found:
        yield found


@pytest.fixture(scope="module")
async def reader(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """For tests that only read: they share one database."""
    database = tmp_path_factory.mktemp("read") / "notifier.db"
    async with site(database) as found, found.client() as client:
        yield client


@pytest.fixture(scope="module")
async def empty(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    """A service right after its first start."""
    database = tmp_path_factory.mktemp("new") / "notifier.db"
    async with site(database, with_history=False) as found, found.client() as client:
        yield client


def text_of(page: httpx.Response) -> str:
    """A page without its markup, on one line."""
    assert page.status_code < 500, page.text
    text = " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page.text)).split())
    return re.sub(r" (?=[,:;.)])", "", text)


# --- every page ---------------------------------------------------------------


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_is_safe_and_has_landmarks(reader: httpx.AsyncClient, path: str) -> None:
    page = await reader.get(path)
    text = page.text

    assert page.status_code == 200
    # Texts of Kalshi are never markup, and no secret of a destination is shown.
    assert "<script>alert" not in text
    assert "SECRET" not in text
    # Nothing that the Content-Security-Policy forbids.
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|//cdn", text)
    assert [text.count(tag) for tag in ("<script", "<h1", "<main", 'aria-current="')] == [1] * 4
    assert 'href="#main"' in text
    assert "times in America/New_York (EST)" in text


@pytest.mark.parametrize("path", [path for path in PAGES if "evil" not in path])
async def test_an_empty_page_says_why_and_what_to_do(empty: httpx.AsyncClient, path: str) -> None:
    page = await empty.get(path)

    assert page.status_code == 200
    if path not in {"/destinations", "/routes"}:
        assert 'class="empty"' in page.text
    if path == "/":
        assert "All is well" in text_of(page)


@pytest.mark.parametrize("with_history", [True, False])
async def test_before_the_first_count_pages_omit_the_number_of_milestones(
    tmp_path: Path, with_history: bool
) -> None:
    uncounted = site(tmp_path / "n.db", with_history=with_history, counted=False)
    async with uncounted as found, found.client() as client:
        for path in PAGES:
            page = await client.get(path)
            assert page.status_code == (404 if "evil" in path and not with_history else 200)
            assert "None" not in text_of(page)
            assert "0 milestones" not in text_of(page)


async def test_error_pages_have_the_frame_of_the_others(reader: httpx.AsyncClient) -> None:
    for path in ("/nothing", "/milestones/nobody", "/events/evt_0"):
        page = await reader.get(path)
        assert page.status_code == 404
        assert "Page not found" in text_of(page)
        assert 'href="/milestones"' in page.text
    for path in ("/milestones", "/events", "/deliveries", "/audit"):
        page = await reader.get(path, params={"cursor": "made-up"})
        assert page.status_code == 404
        assert "Start again with the first page" in text_of(page)
    unknown = await reader.get("/events?kind=nope")
    assert unknown.status_code == 400
    assert "'nope' is unknown; there are created, updated" in text_of(unknown)
    assert (await reader.get("/events/newer?after=many")).status_code == 400


async def test_static_files_are_cached_and_revalidated(reader: httpx.AsyncClient) -> None:
    first = await reader.get("/static/notifier.css")
    headers = {"if-none-match": first.headers["etag"]}
    again = await reader.get("/static/notifier.css", headers=headers)

    assert first.headers["content-type"].startswith("text/css")
    assert first.headers["cache-control"] == "no-cache"
    assert (first.status_code, again.status_code) == (200, 304)


async def test_a_message_after_an_action_cannot_be_forged(reader: httpx.AsyncClient) -> None:
    for query in ("said=Call+0900", "said=resumed&of=Call+0900&n=1", "said=tested&n=x"):
        assert "Call 0900" not in text_of(await reader.get(f"/destinations?{query}"))


# --- overview -----------------------------------------------------------------


async def test_the_overview_shows_problems_figures_and_charts(
    web: Site, client: httpx.AsyncClient
) -> None:
    page = await client.get("/")
    text = text_of(page)
    assert "1 problem hook has 5 dead letters." in text
    assert "Milestones watched 6" in text
    assert "The clock agrees with Kalshi's." in text
    assert "Kansas City at Denver" in text
    assert "Watch Last read Polled" in text
    assert page.text.count('role="img"') == 2
    assert "5 starts in the next 24 hours: football game (3)" in text
    assert "Show as a table" in text

    web.health = HealthReport(stalled=["alarm"], unready=["the store cannot be read"])
    text = text_of(await client.get("/"))
    assert "3 problems No progress in: alarm. Not ready: the store cannot be read" in text


def starts_at(*offsets_min: float) -> list[StartRow]:
    return [
        StartRow(
            milestone_id=f"m{i}",
            title="A",
            category="Sports",
            type="football_game",
            start=NOW + offset * MINUTE,
        )
        for i, offset in enumerate(offsets_min)
    ]


def test_starts_at_about_the_same_time_are_one_mark() -> None:
    drawn = timeline(starts_at(120, 125, 720), now=NOW, zone=UTC_ZONE)

    [lane] = drawn.lanes
    assert [mark.count for mark in lane.marks] == [2, 1]
    assert [mark.x for mark in lane.marks] == pytest.approx([8.5, 50], abs=0.1)


def test_the_timeline_ends_with_the_last_of_200_starts() -> None:
    drawn = timeline(starts_at(*range(1, 201)), now=NOW, zone=UTC_ZONE)

    assert drawn.hours == 4
    assert drawn.lanes[0].marks[-1].x == pytest.approx(83, abs=1)
    assert [tick.label for tick in drawn.ticks] == ["19:00", "20:00", "21:00"]


def test_the_bars_of_an_hour_are_stacked_below_the_top() -> None:
    rows = [HourRow(hour=NOW - 2 * HOUR), HourRow(hour=NOW - HOUR, created=3, ended=4)]

    drawn = bar_chart(rows, zone=UTC_ZONE, now=NOW)

    idle, busy = drawn.bars
    assert not idle.segments
    below, above = busy.segments
    assert below.y + below.height == pytest.approx(drawn.axis)
    assert above.y + above.height == pytest.approx(below.y, abs=0.2)
    assert above.y >= drawn.axis - 150
    assert drawn.totals["ended"] == 4


# --- milestones and events ----------------------------------------------------


async def test_milestones_can_be_searched_and_filtered(reader: httpx.AsyncClient) -> None:
    upcoming = text_of(await reader.get("/milestones"))
    by_ticker = text_of(await reader.get("/milestones?q=nov22kcden"))
    by_category = text_of(await reader.get("/milestones?category=Elections"))
    nothing = await reader.get("/milestones?q=curling")

    assert upcoming.index("Kansas City") < upcoming.index("Georgia governor runoff")
    assert "Kansas City at Denver" in by_ticker
    assert "Syracuse" not in by_ticker
    assert "Georgia governor runoff" in by_category
    assert "NVIDIA Q3" not in by_category
    assert "No milestone matches." in text_of(nothing)
    assert 'href="/milestones?when=all&amp;gone=with"' in nothing.text


async def test_the_page_of_a_milestone_shows_its_history(reader: httpx.AsyncClient) -> None:
    page = await reader.get("/milestones/syr")
    text = text_of(page)

    assert "Starts in 5 h" in text
    assert "Sun 22 Nov" not in text.partition("History")[0]
    assert "before: 15:00 EST → after: 18:00 EST (3 h later)" in text
    assert "https://kalshi.com/markets/kxncaafgame/" in page.text
    assert "reminder" in text
    assert "dead" in text
    assert "&#34;notification_message&#34;" in page.text
    start = (NOW + 5 * HOUR).isoformat().replace("+00:00", "Z")
    assert f'<time datetime="{start}" data-when' in page.text


async def test_long_lists_have_pages_that_keep_the_filter(
    web: Site, client: httpx.AsyncClient
) -> None:
    many = [row(f"g{i:03}", title=f"Game number {i}") for i in range(120)]
    await web.shelf.show(*many, now=NOW)
    path, seen, pages = "/milestones?q=Game+number", "", 0
    while path:
        page = await client.get(path)
        seen, pages = seen + text_of(page), pages + 1
        _, found, rest = page.text.partition('rel="next" href="')
        path = "/milestones" + rest.partition('"')[0].replace("&amp;", "&") if found else ""

    assert pages == 3
    assert all(f"Game number {i} " in seen for i in range(120))


async def test_events_are_listed_by_kind_with_their_changes(reader: httpx.AsyncClient) -> None:
    every = text_of(await reader.get("/events"))
    updated = text_of(await reader.get("/events?kind=updated"))

    assert "Start: 15:00 EST → 18:00 EST (3 h later)" in every
    assert "NVIDIA Q3" in every
    assert "Syracuse" in updated
    assert "NVIDIA Q3" not in updated


async def test_an_open_list_fetches_only_newer_events(web: Site, client: httpx.AsyncClient) -> None:
    before = await web.reader.read(queries.newest_event)
    await move_start(web.shelf, "kc", hours=7)

    newer = await client.get("/events/newer", params={"after": before})
    others = await client.get(f"/events/newer?after={before}&kind=created")

    assert newer.text.count("<li") == 1
    assert "Kansas City at Denver" in newer.text
    assert "<html" not in newer.text
    assert "<li" not in others.text
    after = str(await web.reader.read(queries.newest_event))
    assert newer.headers["x-newest"] == others.headers["x-newest"] == after


async def test_an_event_explains_its_deliveries(web: Site, client: httpx.AsyncClient) -> None:
    updated = text_of(await client.get(f"/events/{await web.event('updated')}"))
    created = text_of(await client.get(f"/events/{await web.event('created')}"))

    assert "matched games → ops, desk" in updated
    assert "3 deliveries" in updated
    assert "HTTP 400" in created

    wanted = DeliveryFilter(destination="ops", milestone_id="evil")
    rows = (await web.reader.read(queries.deliveries, wanted, NOW)).rows
    page = await client.get(f"/events/{rows[-1].event_id}")
    assert "What was sent" in text_of(page)
    assert HOSTILE[:8] not in page.text


# --- deliveries ---------------------------------------------------------------


async def dead_letters(web: Site) -> int:
    wanted = DeliveryFilter(state=[State.DEAD])
    return len((await web.reader.read(queries.deliveries, wanted, NOW)).rows)


async def test_deliveries_can_be_filtered(reader: httpx.AsyncClient) -> None:
    dead = text_of(await reader.get("/deliveries?state=dead"))
    to_ops = text_of(await reader.get("/deliveries?destination=ops&route=games"))

    assert "HTTP 400" in dead
    assert "sent 50 min ago" not in dead
    assert "sent 50 min ago" in to_ops
    assert "by everything" not in to_ops


async def test_one_dead_letter_can_be_redriven(web: Site, client: httpx.AsyncClient) -> None:
    response = await submit(client, "/deliveries?state=dead", "/deliveries/redrive")

    assert response.status_code == 303
    assert "Redriven 1 dead letter," in text_of(await client.get(response.headers["location"]))
    assert await dead_letters(web) == 4


async def test_all_dead_letters_of_a_destination_are_redriven_after_a_confirmation(
    web: Site, client: httpx.AsyncClient
) -> None:
    page = "/deliveries/redrive?destination=hook"
    # The clock stands still, so that cached figures would never expire.
    assert "Redrive dead" in (await client.get("/destinations")).text
    confirmation = text_of(await client.get(page))
    assert "Redrive all dead letters of hook?" in confirmation
    assert "Georgia governor runoff" in confirmation
    assert "HTTP 400" in confirmation
    assert await dead_letters(web) == 5

    response = await submit(client, page, "/deliveries/redrive")

    assert response.headers["location"] == "/deliveries?said=redriven&n=5"
    assert await dead_letters(web) == 0
    assert "There are no dead letters" in text_of(await client.get(page))
    assert "Redrive dead" not in (await client.get("/destinations")).text


# --- destinations, routes, audit ----------------------------------------------


async def test_the_result_of_a_test_is_shown_and_audited(
    web: Site, client: httpx.AsyncClient
) -> None:
    sent = await submit(client, "/destinations", "/destinations/ops/test")
    web.answer = Refused(reason="no such channel", scope=Scope.MESSAGE, status=400)
    refused = await submit(client, "/destinations", "/destinations/desk/test")
    reloaded = await client.get("/destinations/ops/test")

    assert (sent.status_code, refused.status_code) == (303, 303)
    assert "The test reached ops" in text_of(await client.get(sent.headers["location"]))
    failure = text_of(await client.get(refused.headers["location"]))
    assert "The test did not reach desk" in failure
    assert "no such channel" in failure
    assert (reloaded.status_code, reloaded.headers["location"]) == (303, "/destinations")
    audit = text_of(await client.get("/audit"))
    assert "arrived yes" in audit
    assert "True" not in audit


async def test_a_suspended_destination_can_be_resumed(web: Site, client: httpx.AsyncClient) -> None:
    [lease, *_] = await web.shelf.claim(to="ops", now=NOW)
    gone = Refused(reason="invalid_token", scope=Scope.DESTINATION, status=403)
    await web.shelf.settle(lease, gone, now=NOW)

    before = text_of(await client.get("/destinations"))
    response = await submit(client, "/destinations", "/destinations/ops/resume")
    after = text_of(await client.get("/destinations"))

    assert "suspended now: invalid_token" in before
    assert "suspended" not in after
    assert response.headers["location"] == "/destinations?said=resumed&of=ops&n=1"
    assert "resume" in text_of(await client.get("/audit"))


async def test_routes_show_their_match_and_feeds(reader: httpx.AsyncClient) -> None:
    page = await reader.get("/routes")
    text = text_of(page)

    assert "1. games" in text
    assert "category Sports type football_game" in text
    assert "15m before the start" in text
    for suffix in ("ics", "atom", "json"):
        assert f'href="/feeds/games.{suffix}"' in page.text


async def test_a_search_on_the_routes_leads_to_the_events_of_a_milestone(
    web: Site, client: httpx.AsyncClient
) -> None:
    page = await client.get("/routes?q=pittsburgh")

    assert f"/events/{await web.event('updated')}" in page.text
    assert "No milestone matches “curling”" in text_of(await client.get("/routes?q=curling"))


# --- silences -----------------------------------------------------------------


async def test_a_silence_is_previewed_added_and_expired(client: httpx.AsyncClient) -> None:
    fields: dict[str, str | list[str]] = {
        "type": "football_game",
        "events": ["created", "updated"],
        "span": "4h",
        "why": "the source flaps",
    }
    preview = await submit(client, "/silences", "/silences", step="preview", **fields)
    assert "would have silenced 4 of the 6 events" in text_of(preview)
    assert 'value="football_game"' in preview.text
    assert "No active silences" in text_of(await client.get("/silences"))

    added = await submit(client, "/silences", "/silences", step="add", **fields)
    listed = await client.get(added.headers["location"])
    assert added.status_code == 303
    assert "events created or updated type football_game" in text_of(listed)

    [action] = re.findall(r'action="([^"]+/expire)"', listed.text)
    expired = await submit(client, "/silences", action)
    assert expired.headers["location"] == "/silences?said=expired"
    assert "No active silences" in text_of(await client.get("/silences"))
    assert "expired early" in text_of(await client.get("/silences?all=yes"))


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"why": "because"}, "needs something to match"),
        ({"type": "football_game", "why": ""}, "needs a reason"),
        ({"title": "~(", "why": "because"}, "is not a regular expression"),
        ({"title": "A", "why": "x", "until": "2026-11-22T01:00"}, "must end in the future"),
        ({"title": "A", "why": "x", "until": "soon"}, "is not a time"),
        ({"title": "A", "why": "x", "until": "2026-02-30T01:00"}, "is not a date"),
        ({"more": "nonsense", "why": "x"}, "is not KEY=PATTERN"),
        ({"more": "titel=x", "why": "x"}, "titel: unknown key; did you mean title?"),
        ({"title": "A", "why": "x", "span": "forever"}, "choose a duration"),
        *(
            ({"title": "A", "why": "x", "until": "2026-11-22T20:00", "zone": zone}, "is unknown")
            for zone in ("Mars/Olympus", "../../etc/passwd", "America")
        ),
    ],
)
async def test_an_invalid_silence_is_refused_and_the_form_keeps_its_fields(
    reader: httpx.AsyncClient, fields: dict[str, str], error: str
) -> None:
    sent = {"span": "4h", "step": "add"} | fields

    response = await submit(reader, "/silences", "/silences", **sent)

    assert response.status_code == 422
    assert error in text_of(response)
    assert 'role="alert"' in response.text
    if fields["why"]:
        assert f'value="{fields["why"]}"' in response.text
    assert "No active silences" in text_of(await reader.get("/silences"))


@pytest.mark.parametrize(
    ("zone", "until"),
    [
        ("", "2026-11-23T01:00:00Z"),  # the zone of the service
        ("Europe/Paris", "2026-11-22T19:00:00Z"),
        ("UTC", "2026-11-22T20:00:00Z"),
    ],
)
async def test_the_end_of_a_silence_is_in_the_zone_of_the_reader(
    client: httpx.AsyncClient, zone: str, until: str
) -> None:
    sent = {"title": "A", "why": "x", "until": "2026-11-22T20:00", "step": "add", "zone": zone}

    await submit(client, "/silences", "/silences", **sent)

    assert f'datetime="{until}"' in (await client.get("/silences")).text
    assert f'datetime="{until}"' in (await client.get("/audit")).text
