"""One event and why it went where it went, for the command, the API and the page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, bindparam, select

from notifier.domain.batching import level_of
from notifier.domain.models import URGENT, Event, Format, Limits, Rendered, RouteTrace, State
from notifier.domain.outgoing import Message, PendingDelivery
from notifier.domain.pagination import RowJson
from notifier.domain.routing import route
from notifier.domain.rules import Route
from notifier.errors import StoreError
from notifier.messages.render import render
from notifier.storage import due, message_events, queries, statements
from notifier.storage import schema as t

_d, _e, _m, _a = t.deliveries.c, t.events.c, t.milestones.c, t.attempts.c
#: Of several ids that begin alike, so many are named.
NAMED = 5
#: Where it is not known what a service can take.
PLAIN = Limits(format=Format.TEXT, title=250, body=100_000)
#: As much of what a program was sent as anybody would read.
_LONGEST = 100_000

_MEMBERS = (
    select(
        t.deliveries,
        *(_e.at, _e.lead_s, _m.start_at, _m.end_at, _m.gone_at, _m.changed_at),
    )
    .join(t.events, _e.id == _d.event_id)
    .outerjoin(t.milestones, _m.id == _d.milestone_id)
    .where(_d.message_id == bindparam("message"), _d.sent_at.is_not(None))
)
_own = t.deliveries.alias("own")
#: What must go before a delivery, for it is about the same milestone.
_AHEAD = (
    select(_d.event_id)
    .join(
        _own,
        (_own.c.destination == _d.destination)
        & (_own.c.milestone_id == _d.milestone_id)
        & (_own.c.seq > _d.seq),
    )
    .where(
        _own.c.id == bindparam("delivery"),
        _own.c.kind.not_in(tuple(kind.value for kind in URGENT)),
        statements.is_state(_d.state, State.PENDING, State.LEASED),
    )
    .order_by(_d.seq)
    .limit(1)
)
_TAKEN = (
    select(t.attempts)
    .where(_a.message_id == bindparam("message"), _a.outcome == "sent")
    .order_by(_a.seq.desc())
    .limit(1)
)


class NoSuchEvent(StoreError):
    """No event, or more than one, has an id that begins so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What decides how messages are put into words, as it is configured now."""

    routes: Sequence[Route] = ()
    #: By destination.
    limits: Mapping[str, Limits] = field(default_factory=dict)
    zones: Mapping[str, ZoneInfo] = field(default_factory=dict)
    external_url: str | None = None
    #: By destination that is a program: what it is sent, in JSON, at that time.
    programs: Mapping[str, Callable[[Rendered, datetime], str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """All there is to say about one event."""

    event: Event
    row: RowJson
    traces: Sequence[RouteTrace]
    #: With the tries of each, and with what was sent.
    deliveries: Sequence[RowJson]

    def as_json(self) -> RowJson:
        """The same as a row."""
        return {
            "event": self.row,
            "routes": [
                {
                    "route": trace.route,
                    "matched": trace.matched,
                    "why": trace.why,
                    "to": list(trace.to),
                }
                for trace in self.traces
            ],
            "deliveries": list(self.deliveries),
        }


def story(conn: Connection, beginning: str, desk: Desk, *, now: datetime) -> Story:
    """
    The story of the event whose id begins so.

    Raises:
        NoSuchEvent: there is none, or several; the text names them.

    """
    found = queries.event_with_deliveries(conn, _only(conn, beginning), now=now)
    if found is None:
        raise NoSuchEvent(f"there is no event {beginning!r}")
    event, row, owed = found
    return Story(
        event=event,
        row=row,
        traces=route(event, desk.routes),
        deliveries=[one | _reason(conn, one) | {"sent": _sent(conn, one, desk)} for one in owed],
    )


def _only(conn: Connection, beginning: str) -> str:
    ids = queries.event_ids(conn, beginning, limit=NAMED + 1) if beginning else []
    if len(ids) > 1 and beginning not in ids:
        named = ", ".join(ids[:NAMED]) + (" ..." if ids[NAMED:] else "")
        raise NoSuchEvent(f"{beginning} is the beginning of {named}")
    if not ids:
        raise NoSuchEvent(f"there is no event {beginning!r}; `notifier events` lists them")
    return beginning if beginning in ids else ids[0]


def _reason(conn: Connection, row: RowJson) -> RowJson:
    """Why it waits, where nothing but an earlier delivery makes it wait."""
    if row["state"] != State.PENDING.value or row["reason"] is not None:
        return {}
    ahead = conn.scalar(_AHEAD, {"delivery": row["delivery_id"]})
    return {} if ahead is None else {"reason": f"{ahead} goes before it"}


# --- what was sent ------------------------------------------------------------


def _sent(conn: Connection, row: RowJson, desk: Desk) -> RowJson | None:
    """
    What the message said that told it, put into words once more.

    None: it was not sent, or not all of what it told is known any more.
    """
    if row["sent_at"] is None or row["message_id"] is None:
        return None
    asked = {"message": row["message_id"]}
    taken = conn.execute(_TAKEN, asked).first()
    rows = conn.execute(_MEMBERS, asked).all()
    if taken is None or taken.members != len(rows):
        return None
    message = _message(rows, taken)
    [events] = message_events.events_of_messages(conn, [message])
    changed = {one.milestone_id for one in rows if _is_newer(one, taken.started_at)}
    rendered = _put(message, _as_then(events, changed), desk, taken.started_at)
    if (spell := desk.programs.get(message.destination)) is not None:
        return _spelt(rendered, taken.started_at, spell)
    notes = _notes(message, events, changed, desk, rendered)
    return {
        "title": rendered.title,
        "body": rendered.body,
        "format": rendered.format.value,
        "note": "; ".join(notes) or None,
    }


def _spelt(rendered: Rendered, at: datetime, spell: Callable[[Rendered, datetime], str]) -> RowJson:
    """What a program was sent, which no template and no title has a part in."""
    events = tuple(replace(event, live=None) for event in rendered.events)
    body, notes = spell(replace(rendered, events=events), at), []
    if events != rendered.events:
        notes.append(_LIVE)
    if len(body) > _LONGEST:
        body = body[:_LONGEST]
        notes.append("cut here; it was sent whole")
    return {
        "title": "",
        "body": body,
        "format": "json",
        "note": "; ".join(notes) or None,
    }


def _is_newer(row: Row[Any], than: datetime) -> bool:
    return row.changed_at is not None and row.changed_at > than


def _message(rows: Sequence[Row[Any]], taken: Row[Any]) -> Message:
    """The message of these members, in the order in which it told them."""
    members = tuple(sorted((due.delivery(row, taken.started_at) for row in rows), key=_turn))
    return Message(
        id=taken.message_id,
        destination=taken.destination,
        members=members,
        level=level_of(members),
    )


def _turn(one: PendingDelivery) -> tuple[datetime | int, int]:
    return (one.at, one.seq) if one.kind in URGENT else (one.seq, one.seq)


def _as_then(events: Sequence[Event], changed: set[str]) -> list[Event]:
    """Without what became of a milestone only later."""
    return [
        replace(event, present=None) if event.milestone.id in changed else event for event in events
    ]


def _put(message: Message, events: Sequence[Event], desk: Desk, at: datetime) -> Rendered:
    return render(
        message,
        events,
        routes={rule.name: rule for rule in desk.routes},
        limits=desk.limits.get(message.destination, PLAIN),
        zone=desk.zones.get(message.destination, ZoneInfo("UTC")),
        now=at,
        external_url=desk.external_url,
    )


_LIVE = "what live data said then is not kept; it may have been told"


def _notes(
    message: Message,
    events: Sequence[Event],
    changed: set[str],
    desk: Desk,
    rendered: Rendered,
) -> Iterator[str]:
    """Why it may have said otherwise."""
    # Where it is known of none, whoever asks says so once.
    if desk.limits and message.destination not in desk.limits:
        yield f"put as plain text, for what {message.destination} takes is not known"
    if message.route not in {rule.name for rule in desk.routes}:
        yield f"without the template of {message.route}, which is no route any more"
    if rendered.template_error is not None:
        yield f"without the template, which fails now: {rendered.template_error}"
    if any(event.live is not None for event in events):
        yield _LIVE
    if any(event.present and event.milestone.id in changed for event in events):
        yield "the milestone has changed since it was told"
