"""The pages in a real browser: what clicks do, what comes by itself, who can read."""

import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from visiting import Site, moved, site

from notifier.web.api import api
from notifier.web.server import serve

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = Path("/usr/bin/chromium")
UNFOLD = """for (const it of document.querySelectorAll("details")) it.open = true"""
QUIETLY = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update"),
    "--disable-sync",
)
PAGES = (
    *("/", "/milestones", "/milestones/syr", "/milestones/evil", "/events"),
    *("/deliveries", "/deliveries?state=dead", "/deliveries/redrive?destination=hook"),
    *("/destinations", "/routes?q=denver", "/silences", "/audit", "/nothing"),
)
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

pytestmark = [
    pytest.mark.timeout(180),  # a browser starts
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
]


@dataclass
class Served:
    """A site that a browser can reach, in a thread of its own."""

    url: str
    site: Site
    portal: BlockingPortal

    def moved(self, name: str, *, hours: float) -> None:
        """Kalshi says another start, and that is committed."""
        self.portal.call(partial(moved, self.site.shelf, name, hours=hours))

    def an_event(self, kind: str) -> str:
        """The path of the newest event of a kind."""
        return f"/events/{self.portal.call(self.site.event, kind)}"


@asynccontextmanager
async def serving(database: Path) -> AsyncIterator[tuple[str, Site]]:
    listening = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    async with site(database, more=api) as found, anyio.create_task_group() as tasks:
        tasks.start_soon(serve, found.app, listening)
        yield url, found
        tasks.cancel_scope.cancel()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    database = tmp_path_factory.mktemp("browser") / "notifier.db"
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(serving(database)) as (url, found),
    ):
        yield Served(url=url, site=found, portal=portal)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        found = running.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        yield found
        found.close()


@dataclass
class Desk:
    """A window of the browser, and what it complains of."""

    browser: Any
    url: str
    complaints: list[str] = field(default_factory=list)

    def open(self, path: str, **window: Any) -> Any:
        """A new page, at this path."""
        window.setdefault("viewport", DESK)
        page = self.browser.new_context(base_url=self.url, **window).new_page()
        page.set_default_timeout(15_000)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(path)
        return page

    def _note(self, message: Any) -> None:
        # A page that is not there is asked for on purpose.
        if message.type in {"error", "warning"} and "404" not in message.text:
            self.complaints.append(message.text)


@pytest.fixture
def desk(browser: Any, served: Served) -> Iterator[Desk]:
    found = Desk(browser=browser, url=served.url)
    yield found
    for context in browser.contexts:
        context.close()
    assert not found.complaints


# --- every page ---------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_can_be_used_by_everybody(desk: Desk, served: Served, scheme: str) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed",
    ).Axe()
    page = desk.open("/", color_scheme=scheme)

    found = {}
    for path in (*PAGES, served.an_event("updated"), served.an_event("created")):
        page.goto(path)
        page.evaluate(UNFOLD)
        results = axe.run(page)
        if results.violations_count:
            found[path] = results.generate_report()

    assert not found


def test_no_page_is_wider_than_a_phone(desk: Desk, served: Served) -> None:
    page = desk.open("/", viewport=PHONE)

    wide = []
    for path in (*PAGES, served.an_event("updated"), served.an_event("created")):
        page.goto(path)
        page.evaluate(UNFOLD)
        over = page.evaluate(
            "(({scrollWidth, clientWidth}) => scrollWidth - clientWidth)(document.documentElement)"
        )
        if over > 0:
            wide.append(f"{path}: {over} px")

    assert not wide


def test_everything_can_be_read_without_javascript(desk: Desk) -> None:
    page = desk.open("/", java_script_enabled=False)

    assert "Kansas City at Denver" in page.inner_text("main")
    assert "Sun 22 Nov" in page.content()
    page.click("nav >> text=Events")
    assert page.locator("[data-event]").count() >= 6
    assert page.locator("[data-live-pause]").is_hidden()
    page.click("text=Syracuse at Pittsburgh >> nth=0")
    assert "What each route says" in page.inner_text("main")
    page.goto("/destinations")
    page.click("[aria-label='Send a test to ops']")
    assert "The test reached ops" in page.inner_text("[role=status]")


def test_the_keyboard_leads_past_the_bar_and_shows_where_it_is(desk: Desk) -> None:
    page = desk.open("/milestones")

    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")

    assert page.evaluate("document.activeElement.name") == "q"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"


def test_the_keyboard_goes_from_top_to_bottom(desk: Desk) -> None:
    page = desk.open("/destinations")

    tops = []
    for _ in range(14):
        page.keyboard.press("Tab")
        tops.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))

    bar, cards = tops[1:10], tops[10:]
    assert len({round(top) for top in bar}) <= 2
    assert all(top > max(bar) for top in cards)


# --- times --------------------------------------------------------------------


def test_times_are_those_of_the_readers_zone(desk: Desk) -> None:
    page = desk.open("/milestones/kc", timezone_id="Asia/Tokyo")

    assert "times in your zone, Asia/Tokyo (GMT+9)" in page.inner_text("footer")
    assert "Mon 23 Nov, 08:00 GMT+9" in page.inner_text(".facts") or (
        "08:00 GMT+9" in page.inner_text(".facts")
    )
    assert page.inner_text(".countdown strong").startswith("in ")


def test_the_end_of_a_silence_is_typed_in_the_readers_zone(desk: Desk) -> None:
    page = desk.open("/silences", timezone_id="Asia/Tokyo")

    label = page.locator("[data-zone-label]").inner_text()
    sent = page.locator("input[name=zone]").get_attribute("value")

    assert label == "Or until, in Asia/Tokyo"
    assert sent == "Asia/Tokyo"


def test_words_that_tick_are_those_of_the_service(desk: Desk) -> None:
    instants = ["2026-11-22T18:00:40Z", "2026-11-22T17:15:00Z", "2026-11-22T21:20:00Z"]
    instants += ["2026-11-24T22:00:00Z", "2026-12-04T18:00:00Z", "2029-11-22T18:00:00Z"]
    page = desk.open("/audit", timezone_id="UTC")

    said = page.evaluate(
        """(instants) => {
            document.body.replaceChildren(...instants.map((at) => {
                const node = document.createElement("time");
                node.dateTime = at;
                node.dataset.ago = "";
                return node;
            }));
            return new Promise((done) => {
                const look = new MutationObserver(() => {
                    const all = [...document.body.children];
                    const said = all.map((it) => it.textContent);
                    if (said.every(Boolean)) done(said);
                });
                look.observe(document.body, { childList: true, subtree: true });
            });
        }""",
        instants,
    )

    assert re.fullmatch(r"in (3\d|40) s", said[0])
    assert said[1:] == [
        "45 min ago",
        "in 3 h 20 min",
        "in 2 days 4 h",
        "in 12 days",
        "in 3 years",
    ]


# --- what comes by itself -----------------------------------------------------


@pytest.mark.parametrize("path", ["/", "/events"])
def test_a_new_event_comes_by_itself_and_is_said(desk: Desk, served: Served, path: str) -> None:
    page = desk.open(path)
    before = page.locator("[data-live] > li").count()
    hours = 8 if path == "/" else 9

    served.moved("kc", hours=hours)

    newest = page.locator("[data-live] > li.fresh").first
    newest.wait_for()
    assert "Kansas City at Denver" in newest.inner_text()
    assert "updated" in newest.inner_text()
    said = page.locator("[data-live-words]")
    assert said.text_content() == "1 new event: updated, Kansas City at Denver"
    assert said.get_attribute("aria-live") == "polite"
    after = page.locator("[data-live] > li").count()
    assert after == before + 1


def test_new_events_wait_while_it_is_paused(desk: Desk, served: Served) -> None:
    page = desk.open("/events")
    before = page.locator("[data-live] > li").count()
    page.click("text=Pause")

    served.moved("kc", hours=10)
    page.wait_for_selector("text='1 new'")
    served.moved("syr", hours=11)
    pill = page.wait_for_selector("text='2 new'")
    waited = page.locator("[data-live] > li").count()
    pill.click()

    assert waited == before
    first = page.locator("[data-live] > li.fresh").first
    first.wait_for()
    assert "Syracuse" in first.inner_text()
    assert page.locator("[data-live] > li").count() == before + 2
    assert page.locator("[data-live-pill]").is_hidden()


def test_kinds_that_were_not_asked_for_stay_away(desk: Desk, served: Served) -> None:
    every, started = desk.open("/events"), desk.open("/events?kind=started")
    asked: list[str] = []
    started.on("response", lambda answer: asked.append(answer.url))

    with started.expect_response(re.compile("/events/newer")):
        served.moved("kc", hours=12)
        every.locator("[data-live] > li.fresh").wait_for()

    assert started.locator("[data-event]").count() == 0
    assert all("kind=started" in url for url in asked if "/events/newer" in url)


# --- clicks -------------------------------------------------------------------


def test_from_a_milestone_to_the_reason_in_three_clicks(desk: Desk) -> None:
    page = desk.open("/")

    page.click("nav >> text=Routes")
    page.fill("input[name=q]", "runoff")
    page.keyboard.press("Enter")
    page.click("ol.events >> text=see why")

    assert "not matched" in page.inner_text("main")
    assert "category is Elections, wants Sports" in page.inner_text("main")
    page.click("text=the milestone")
    assert page.inner_text("h1") == "Georgia governor runoff"


def test_a_silence_is_previewed_and_made_with_the_mouse(desk: Desk) -> None:
    page = desk.open("/silences")

    page.check("input[name=events][value=updated]")
    page.fill("input[name=type]", "football_game")
    page.click("text=Preview")
    assert "It would have silenced" in page.inner_text("#preview")
    assert page.is_checked("input[name=events][value=updated]")
    page.fill("input[name=why]", "the source flaps")
    page.click("button[value=add]")
    assert "Silenced. It ends by itself." in page.inner_text("[role=status]")
    page.click("text=Expire")
    assert "No silence is in force" in page.inner_text("main")


def test_dead_letters_are_put_back_after_a_question(desk: Desk) -> None:
    page = desk.open("/destinations")

    page.click("text=Redrive dead …")
    page.click("text=Leave them")
    assert "state=dead" in page.url
    page.click("text=Redrive all of hook …")
    page.click("button:has-text('Redrive 5')")

    assert "Put back 5 dead letters" in page.inner_text("[role=status]")
