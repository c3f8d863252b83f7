"""The web over a real database with the events of one day."""

import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx
from clocks import SetClock
from starlette.routing import BaseRoute
from starlette.types import ASGIApp
from storing import DAY, HOUR, MINUTE, NOW, UTC_ZONE, Shelf, opened, row, stamp, stocked

from notifier.domain.models import Format, Json, Kind, Outcome, Refused, Rendered, Scope, Sent
from notifier.domain.pagination import EventFilter
from notifier.domain.poll_schedule import ReadKind
from notifier.domain.rules import Destination, Match, Route
from notifier.storage import destination_state, queries
from notifier.storage.database import Priority
from notifier.storage.explain import RenderContext
from notifier.web.app import build_app
from notifier.web.auth import AuthSettings, TokenStore
from notifier.web.context import WebContext
from notifier.web.reader import StoreReader
from notifier.workers.admin_actions import Deeds, Trial
from notifier.workers.readiness import HealthReport

HOSTILE = "<script>alert(1)</script> & \u201equotes\u201c \u202egnirts"
ROUTES = (
    Route(
        name="games",
        to=("ops", "desk"),
        match=Match(fields=(("category", ("Sports",)), ("type", ("football_game",)))),
        reminders=(15 * MINUTE,),
    ),
    Route(name="everything", to=("hook",)),
)
URLS = {
    "ops": "slack://TOKENSECRET/B1/C1",
    "desk": "mailtos://user:MAILSECRET@example.com",
    "hook": "webhooks://example.com/in?secret=whsec_HOOKSECRET",
}
MILESTONES: dict[str, dict[str, Json]] = {
    "syr": {
        "title": "Syracuse at Pittsburgh",
        "start_date": stamp(NOW + 2 * HOUR),
        "primary_event_tickers": ["KXNCAAFGAME-26NOV22SYRPITT"],
    },
    "kc": {
        "title": "Kansas City at Denver",
        "start_date": stamp(NOW + 5 * HOUR),
        "primary_event_tickers": ["KXNFLGAME-26NOV22KCDEN"],
    },
    "ga": {
        "title": "Georgia governor runoff",
        "category": "Elections",
        "type": "political_race",
        "start_date": stamp(NOW + DAY),
        "primary_event_tickers": ["KXGOVGA-26"],
    },
    "nvda": {
        "title": "NVIDIA Q3 2026 earnings call",
        "category": "Companies",
        "type": "company_report",
        "start_date": stamp(NOW + 3 * HOUR),
        "primary_event_tickers": ["KXEARNINGSMENTIONNVDA-26NOV22"],
    },
    "evil": {"title": HOSTILE, "notification_message": HOSTILE},
}


@dataclass(kw_only=True)
class Site:
    """The web application of a service whose workers do not run."""

    shelf: Shelf
    reader: StoreReader
    deeds: Deeds
    app: ASGIApp
    health: HealthReport = field(default_factory=lambda: HealthReport(skew_s=0.2))
    #: The outcome of each test message.
    answer: Outcome = field(default_factory=lambda: Sent(status=200))

    def client(self) -> httpx.AsyncClient:
        """A browser or a program."""
        return httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app), base_url="http://127.0.0.1"
        )

    async def event(self, kind: str) -> str:
        """The id of the newest event of a kind."""
        page = await self.reader.read(queries.events, EventFilter(kind=[Kind(kind)]))
        return page.rows[0].event_id


@asynccontextmanager
async def site(
    database: Path,
    *,
    with_history: bool = True,
    counted: bool = True,
    more: Callable[[WebContext], Sequence[BaseRoute]] = lambda _context: (),
) -> AsyncIterator[Site]:
    """
    A site, empty or with the events of a day; `more`: routes beside the pages.

    `counted`: whether the milestones are counted, as shortly after the start.
    """
    async with opened(database) as store:
        shelf = replace(await stocked(store), routes=ROUTES)
        async with store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(destination_state.set_destinations, {name: name for name in URLS}, NOW)
        if with_history:
            await add_history(shelf)
        found: list[Site] = []

        async def send(_name: str, _message: Rendered) -> Outcome:
            return found[0].answer

        async def readiness() -> HealthReport:
            return found[0].health

        clock = SetClock(NOW)
        destinations = [
            Destination(name=name, url=url, zone=UTC_ZONE) for name, url in URLS.items()
        ]
        reader = StoreReader(
            db=store,
            now=clock.now,
            monotonic=clock.monotonic,
            context=RenderContext(routes=ROUTES, zones=dict.fromkeys(URLS, UTC_ZONE)),
            destinations=destinations,
        )
        if counted:
            await reader.count_milestones()
        deeds = Deeds(
            db=store,
            clock=clock,
            wake=lambda _name: None,
            look=lambda: None,
            trial=Trial(destinations=list(URLS), message=_test_message, send=send),
            changed=reader.invalidate,
        )
        context = WebContext(
            reader=reader,
            admin=deeds,
            readiness=readiness,
            now=clock.now,
            zone="America/New_York",
            version="0.1.0",
            destinations=list(URLS),
            routes=[route.name for route in ROUTES],
        )
        tokens = TokenStore(db=store, now=clock.now, new_token=lambda: "f" * 43)
        settings = AuthSettings(password=None, port=8080)
        app = build_app(context, settings, tokens, listen_host="127.0.0.1", routes=more(context))
        found.append(Site(shelf=shelf, reader=reader, deeds=deeds, app=app))
        yield found[0]


async def add_history(shelf: Shelf) -> None:
    """A baseline, new milestones, a moved start; sent messages and dead letters."""
    old = row("old", title="Indiana at New York", start_date=stamp(NOW - 4 * HOUR))
    await shelf.show(old, kind=ReadKind.BASELINE, now=NOW - DAY)
    came = [row(name, **fields) for name, fields in MILESTONES.items()]
    await shelf.show(*came, now=NOW - HOUR)
    await send_due(shelf, "ops", Sent(status=200))
    await send_due(shelf, "desk", Sent())
    for _ in range(2):
        refused = Refused(reason="HTTP 400", status=400, scope=Scope.MESSAGE)
        await send_due(shelf, "hook", refused)
    await move_start(shelf, "syr", hours=5)


async def send_due(shelf: Shelf, to: str, outcome: Outcome) -> None:
    """Attempt the due deliveries of a destination, with this outcome."""
    for lease in await shelf.claim(to=to, now=NOW - 50 * MINUTE):
        await shelf.settle(lease, outcome, now=NOW - 50 * MINUTE)


async def move_start(shelf: Shelf, name: str, *, hours: float) -> None:
    """Store another start of a milestone."""
    fields = MILESTONES[name] | {"start_date": stamp(NOW + hours * HOUR)}
    await shelf.show(row(name, **fields), now=NOW - 10 * MINUTE)


def _test_message(name: str) -> Rendered:
    return Rendered(
        message_id="msg_TEST",
        title=f"A test for {name}",
        body="It works.",
        format=Format.TEXT,
        urgent=False,
        events=(),
    )


async def submit(
    client: httpx.AsyncClient, page: str, action: str, **fields: str | list[str]
) -> httpx.Response:
    """Submit a form of a page with its hidden fields, as a browser does."""
    text = (await client.get(page)).text
    form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', text, re.DOTALL)
    assert form is not None, f"{page} has no form for {action}"
    hidden = re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form.group())
    data: Mapping[str, str | list[str]] = dict(hidden) | fields
    return await client.post(action, data=dict(data))
