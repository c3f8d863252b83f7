"""The pages in a real browser: accessibility, times, live events and forms."""

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
from sample_site import Site, move_start, site

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
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"there is no {CHROMIUM}"),
]


@dataclass
class Served:
    """A served site, in a thread of its own."""

    url: str
    site: Site
    portal: BlockingPortal

    def moved(self, name: str, *, hours: float) -> None:
        """Store another start of a milestone."""
        self.portal.call(partial(move_start, self.site.shelf, name, hours=hours))

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
class Window:
    """A browser, and the errors that its console shows."""

    browser: Any
    url: str
    errors: list[str] = field(default_factory=list)

    def open(self, path: str, **options: Any) -> Any:
        """Open a page in a new window."""
        options.setdefault("viewport", DESK)
        page = self.browser.new_context(base_url=self.url, **options).new_page()
        page.set_default_timeout(15_000)
        page.on("console", self._note)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.goto(path)
        return page

    def _note(self, message: Any) -> None:
        # Tests request missing and refused pages on purpose.
        is_expected = "status of 404" in message.text or "status of 403" in message.text
        if message.type in {"error", "warning"} and not is_expected:
            self.errors.append(message.text)


@pytest.fixture
def window(browser: Any, served: Served) -> Iterator[Window]:
    found = Window(browser=browser, url=served.url)
    yield found
    for context in browser.contexts:
        context.close()
    assert not found.errors


# --- every page ---------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_have_no_accessibility_violations(
    window: Window, served: Served, scheme: str
) -> None:
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright",
        reason="axe-playwright-python is not installed",
    ).Axe()
    page = window.open("/", color_scheme=scheme)

    found = {}
    for path in (*PAGES, served.an_event("updated"), served.an_event("created")):
        page.goto(path)
        page.evaluate(UNFOLD)
        results = axe.run(page)
        if results.violations_count:
            found[path] = results.generate_report()

    assert not found


def test_no_page_is_wider_than_a_phone(window: Window, served: Served) -> None:
    page = window.open("/", viewport=PHONE)

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


def test_the_pages_work_without_javascript(window: Window) -> None:
    page = window.open("/", java_script_enabled=False)

    assert "Kansas City at Denver" in page.inner_text("main")
    assert "Sun 22 Nov" in page.content()
    page.click("nav >> text=Events")
    assert page.locator("[data-event]").count() >= 6
    assert page.locator("[data-live-pause]").is_hidden()
    page.click("text=Syracuse at Pittsburgh >> nth=0")
    assert "matched" in page.inner_text("main")
    page.goto("/destinations")
    page.click("[aria-label='Send a test to ops']")
    assert "The test reached ops" in page.inner_text("[role=status]")


def test_the_keyboard_skips_the_menu_and_goes_from_top_to_bottom(window: Window) -> None:
    page = window.open("/milestones")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "q"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "3px"

    page.goto("/destinations")
    tops = []
    for _ in range(14):
        page.keyboard.press("Tab")
        tops.append(page.evaluate("document.activeElement.getBoundingClientRect().top + scrollY"))
    menu, cards = tops[1:10], tops[10:]
    assert len({round(top) for top in menu}) <= 2
    assert all(top > max(menu) for top in cards)


# --- times --------------------------------------------------------------------


def test_times_are_in_the_zone_of_the_reader(window: Window) -> None:
    page = window.open("/milestones/kc", timezone_id="Asia/Tokyo")
    assert "times in your zone, Asia/Tokyo (GMT+9)" in page.inner_text("footer")
    assert "08:00 GMT+9" in page.inner_text(".facts")
    assert page.inner_text(".countdown strong").startswith("in ")

    page.goto("/silences")
    assert page.locator("[data-zone-label]").inner_text() == "Or until, in Asia/Tokyo"
    assert page.locator("input[name=zone]").get_attribute("value") == "Asia/Tokyo"


def test_the_script_formats_relative_times_like_the_service(window: Window) -> None:
    instants = ["2026-11-22T18:00:40Z", "2026-11-22T17:15:00Z", "2026-11-22T21:20:00Z"]
    instants += ["2026-11-24T22:00:00Z", "2026-12-04T18:00:00Z", "2029-11-22T18:00:00Z"]
    page = window.open("/audit", timezone_id="UTC")

    texts = page.evaluate(
        """(instants) => {
            document.body.replaceChildren(...instants.map((at) => {
                const node = document.createElement("time");
                node.dateTime = at;
                node.dataset.ago = "";
                return node;
            }));
            return new Promise((done) => {
                const look = new MutationObserver(() => {
                    const texts = [...document.body.children].map((it) => it.textContent);
                    if (texts.every(Boolean)) done(texts);
                });
                look.observe(document.body, { childList: true, subtree: true });
            });
        }""",
        instants,
    )

    assert re.fullmatch(r"in (3\d|40) s", texts[0])
    assert texts[1:] == ["45 min ago", "in 3 h 20 min", "in 2 days 4 h", "in 12 days", "in 3 years"]


# --- live events --------------------------------------------------------------


@pytest.mark.parametrize(("path", "hours"), [("/", 8), ("/events", 9)])
def test_a_new_event_appears_and_is_announced(
    window: Window, served: Served, path: str, hours: float
) -> None:
    page = window.open(path)
    before = page.locator("[data-live] > li").count()

    served.moved("kc", hours=hours)

    newest = page.locator("[data-live] > li.fresh").first
    newest.wait_for()
    assert "Kansas City at Denver" in newest.inner_text()
    assert "updated" in newest.inner_text()
    status = page.locator("[data-live-status]")
    assert status.text_content() == "1 new event: updated, Kansas City at Denver"
    assert status.get_attribute("aria-live") == "polite"
    assert page.locator("[data-live] > li").count() == before + 1


def test_new_events_wait_while_the_list_is_paused(window: Window, served: Served) -> None:
    page = window.open("/events")
    before = page.locator("[data-live] > li").count()
    page.click("text=Pause")

    served.moved("kc", hours=10)
    page.wait_for_selector("text='1 new'")
    served.moved("syr", hours=11)
    pill = page.wait_for_selector("text='2 new'")
    assert page.locator("[data-live] > li").count() == before
    pill.click()

    first = page.locator("[data-live] > li.fresh").first
    first.wait_for()
    assert "Syracuse" in first.inner_text()
    assert page.locator("[data-live] > li").count() == before + 2
    assert page.locator("[data-live-pill]").is_hidden()


def test_a_filtered_list_inserts_only_its_kinds(window: Window, served: Served) -> None:
    every, started = window.open("/events"), window.open("/events?kind=started")
    requested: list[str] = []
    started.on("response", lambda response: requested.append(response.url))

    with started.expect_response(re.compile("/events/newer")):
        served.moved("kc", hours=12)
        every.locator("[data-live] > li.fresh").wait_for()

    assert started.locator("[data-event]").count() == 0
    assert all("kind=started" in url for url in requested if "/events/newer" in url)


# --- forms -------------------------------------------------------------------


def test_a_search_explains_in_three_clicks_why_nothing_was_sent(window: Window) -> None:
    page = window.open("/")

    page.click("nav >> text=Routes")
    page.fill("input[name=q]", "runoff")
    page.keyboard.press("Enter")
    page.click("ol.events >> text=details")

    assert "not matched" in page.inner_text("main")
    assert "category is Elections, wants Sports" in page.inner_text("main")
    page.click("text=the milestone")
    assert page.inner_text("h1") == "Georgia governor runoff"


def test_a_silence_is_previewed_added_and_expired(window: Window) -> None:
    page = window.open("/silences")

    page.check("input[name=events][value=updated]")
    page.fill("input[name=type]", "football_game")
    page.click("text=Preview")
    assert "It would have silenced" in page.inner_text("#preview")
    assert page.is_checked("input[name=events][value=updated]")
    page.fill("input[name=why]", "the source flaps")
    page.click("button[value=add]")
    assert "Silence added." in page.inner_text("[role=status]")
    page.click("button:has-text('Expire')")
    assert "No active silences" in page.inner_text("main")


def test_dead_letters_are_redriven_after_a_confirmation(window: Window) -> None:
    page = window.open("/destinations")

    page.click("text=Redrive dead …")
    page.click("text=Cancel")
    assert "state=dead" in page.url
    page.click("text=Redrive all of hook …")
    page.click("button:has-text('Redrive 5')")

    assert "Redriven 5 dead letters" in page.inner_text("[role=status]")


def test_a_form_of_another_site_changes_nothing(window: Window, served: Served) -> None:
    form = (
        f'<form method="post" action="{served.url}/silences"><input name="why" value="x">'
        '<input name="title" value="A"><input name="span" value="1h"></form>'
    )
    page = window.open("/")
    page.route(
        "http://localhost:1/", lambda route: route.fulfill(content_type="text/html", body=form)
    )
    page.goto("http://localhost:1/")
    with page.expect_navigation():
        page.evaluate("document.forms[0].submit()")

    assert "came from a page of another site" in page.inner_text("main")
    page.goto(f"{served.url}/silences")
    assert "No active silences" in page.inner_text("main")
