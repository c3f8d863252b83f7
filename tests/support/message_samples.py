"""Milestones, events and messages to be put into words."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from zoneinfo import ZoneInfo

from notifier.domain.models import (
    Change,
    Event,
    Format,
    Json,
    Kind,
    Limits,
    Milestone,
    Rendered,
)
from notifier.domain.outgoing import Message, PendingDelivery, RenderLevel
from notifier.domain.rules import Route, Template, Templates
from notifier.messages.render import render

NEW_YORK = ZoneInfo("America/New_York")
START = datetime(2026, 9, 26, 19, 30, tzinfo=UTC)
NOW = datetime(2026, 9, 26, 16, 10, tzinfo=UTC)
UNSET = datetime(2000, 1, 1, tzinfo=UTC)
TICKER = "KXNCAAFGAME-26SEP26SYRPITT"
LINK = f"https://kalshi.com/markets/kxncaafgame/{TICKER}"


def milestone(
    *,
    name: str = "a852dcb8",
    category: str = "Sports",
    sort: str = "football_game",
    title: str = "Syracuse at Pittsburgh",
    message: str = "The game is about to begin!",
    start: datetime = START,
    end: datetime | None = None,
    tickers: tuple[str, ...] = (TICKER,),
    details: Mapping[str, Json] | None = None,
) -> Milestone:
    held = {"league": "NCAAFB", "status": "scheduled"} if details is None else details
    return Milestone(
        id=name,
        category=category,
        type=sort,
        title=title,
        message=message,
        start=start,
        end=end,
        updated=None,
        primary_tickers=tickers,
        related_tickers=(),
        details=held,
        doc={"id": name, "title": title, "details": held},
        raw=b'{"id": "a852dcb8"}',
    )


def event(
    kind: Kind,
    of: Milestone | None = None,
    *,
    at: datetime = NOW,
    changes: tuple[Change, ...] = (),
    again_from: datetime | None = None,
) -> Event:
    of = of or milestone()
    return Event(
        id=f"evt_{kind.value}_{of.id}",
        kind=kind,
        milestone=of,
        at=at,
        seen_at=NOW,
        changes=changes,
        lead=timedelta(minutes=15) if kind is Kind.UPCOMING else None,
        again_from=again_from,
    )


def changed(field: str, before: Json, after: Json) -> Change:
    return Change(field=field, before=before, after=after)


def listed(field: str, added: tuple[str, ...] = (), removed: tuple[str, ...] = ()) -> Change:
    return Change(
        field=field,
        before=sorted(removed),
        after=sorted(added),
        added=added,
        removed=removed,
    )


MOVED = changed("start_date", "2026-09-26T16:00:00Z", "2026-09-26T19:30:00Z")


def message(level: RenderLevel = RenderLevel.RICH) -> Message:
    member = PendingDelivery(
        delivery_id="dlv_1",
        event_id="evt_1",
        kind=Kind.CREATED,
        milestone_id="a852dcb8",
        route="games",
        seq=1,
        created_at=NOW,
        expires_at=None,
        attempts_counted=0,
        attempts_total=0,
        level=level,
        frozen_in=None,
        at=NOW,
        lead=None,
        start=START,
        over=False,
    )
    return Message(id="msg_1", destination="ops", members=(member,), level=level)


def put(
    *events: Event,
    level: RenderLevel = RenderLevel.RICH,
    markup: Format = Format.TEXT,
    title: int = 250,
    body: int = 4000,
    zone: ZoneInfo = NEW_YORK,
    now: datetime = NOW,
    test: bool = False,
    template: Template | None = None,
    external_url: str | None = None,
) -> Rendered:
    route = Route(
        name="games",
        to=("ops",),
        template=None if template is None else Templates(title=template.title, body=template.body),
    )
    return render(
        message(level),
        events,
        routes={"games": route},
        limits=Limits(format=markup, title=title, body=body),
        zone=zone,
        now=now,
        test=test,
        external_url=external_url,
    )


def lines(rendered: Rendered) -> Sequence[str]:
    return rendered.body.splitlines()


class Balance(HTMLParser):
    """Fails on a tag that is closed wrongly; keeps what is open and what is read."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.seen: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        assert attrs is not None
        self.seen.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read_html(body: str) -> Balance:
    page = Balance()
    page.feed(body)
    page.close()
    return page
