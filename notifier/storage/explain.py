"""The explanation of an event: why each route matched or not, and what was sent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, Row, bindparam, select

from notifier.domain.batching import level_of
from notifier.domain.models import (
    URGENT,
    Event,
    Format,
    Limits,
    Rendered,
    State,
)
from notifier.domain.outgoing import Message, PendingDelivery
from notifier.domain.routing import route
from notifier.domain.rules import Route
from notifier.errors import StoreError
from notifier.messages.render import render
from notifier.storage import due, message_events, queries
from notifier.storage import schema as t
from notifier.storage.rows import (
    DeliveryRow,
    ExplainedDelivery,
    Explanation,
    RouteTraceRow,
    SentMessage,
)
from notifier.storage.sql import sql

_d, _e, _m = t.deliveries.c, t.events.c, t.milestones.c
#: Of several ids with the same prefix, so many are named.
IDS_SHOWN = 5
#: Limits of a destination whose limits are not known.
PLAIN = Limits(format=Format.TEXT, title=250, body=100_000)
_MAX_BODY = 100_000
_LIVE_NOTE = "what live data said then is not kept; it may have been told"

_EVENT = select(t.events).where(_e.id == bindparam("id"))
_MEMBERS = (
    select(
        t.deliveries,
        *(_e.at, _e.lead_s, _m.start_at, _m.end_at, _m.gone_at, _m.changed_at),
    )
    .join(t.events, _e.id == _d.event_id)
    .outerjoin(t.milestones, _m.id == _d.milestone_id)
    .where(_d.message_id == bindparam("message_id"), _d.sent_at.is_not(None))
)
#: The oldest delivery that is sent before this one, because of the same milestone.
_AHEAD = sql(f"""
SELECT d.event_id FROM deliveries own JOIN deliveries d
  ON d.destination = own.destination AND d.milestone_id = own.milestone_id AND d.seq < own.seq
WHERE own.id = :id AND own.kind NOT IN ({", ".join(f"'{kind.value}'" for kind in URGENT)})
  AND d.state IN ('pending', 'leased')
ORDER BY d.seq LIMIT 1
""")
_SENT_ATTEMPT = sql(
    """
SELECT message_id, destination, members, started_at FROM attempts
WHERE message_id = :message_id AND outcome = 'sent' ORDER BY seq DESC LIMIT 1
""",
    instants=("started_at",),
)


class NoSuchEvent(StoreError):
    """No event, or more than one, has an id with this prefix."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderContext:
    """The configuration that decides how messages are rendered now."""

    routes: Sequence[Route] = ()
    #: By destination.
    limits: Mapping[str, Limits] = field(default_factory=dict)
    zones: Mapping[str, ZoneInfo] = field(default_factory=dict)
    external_url: str | None = None
    #: By destination that receives JSON: renders the request's body at that time.
    webhooks: Mapping[str, Callable[[Rendered, datetime], str]] = field(default_factory=dict)


def explain(conn: Connection, prefix: str, context: RenderContext, now: datetime) -> Explanation:
    """
    Return the explanation of the event whose id begins with `prefix`.

    Raises:
        NoSuchEvent: there is none, or several; the text names them.
    """
    event_id = _only_id(conn, prefix)
    event, row = conn.execute(_EVENT, {"id": event_id}).first(), queries.event_row(conn, event_id)
    if event is None or row is None:
        raise NoSuchEvent(f"there is no event {prefix!r}")
    return Explanation(
        event=row,
        routes=[
            RouteTraceRow(route=one.route, matched=one.matched, why=one.why, to=one.to)
            for one in route(queries.event(event), context.routes)
        ],
        deliveries=[
            _explained(conn, one, context)
            for one in queries.deliveries_of_event(conn, event_id, now)
        ],
    )


def _only_id(conn: Connection, prefix: str) -> str:
    ids = queries.event_ids(conn, prefix, limit=IDS_SHOWN + 1) if prefix else []
    if len(ids) > 1 and prefix not in ids:
        named = ", ".join(ids[:IDS_SHOWN]) + (" ..." if ids[IDS_SHOWN:] else "")
        raise NoSuchEvent(f"{prefix} is the beginning of {named}")
    if not ids:
        raise NoSuchEvent(f"there is no event {prefix!r}; `notifier events` lists them")
    return prefix if prefix in ids else ids[0]


def _explained(conn: Connection, row: DeliveryRow, context: RenderContext) -> ExplainedDelivery:
    fields = {name: getattr(row, name) for name in row.__struct_fields__}
    if row.state is State.PENDING and row.reason is None:
        ahead = conn.scalar(_AHEAD, {"id": row.delivery_id})
        fields["reason"] = None if ahead is None else f"{ahead} goes before it"
    return ExplainedDelivery(
        **fields,
        tries=queries.attempts_of_message(conn, row.message_id),
        sent=None if row.sent_at is None else _sent(conn, row.message_id, context),
    )


# --- the text of a message ----------------------------------------------------


def _sent(conn: Connection, message_id: str | None, context: RenderContext) -> SentMessage | None:
    """
    Render a message again from the stored events.

    None: it was not sent, or not all of its members are stored any more.
    """
    params = {"message_id": message_id}
    attempt = conn.execute(_SENT_ATTEMPT, params).first()
    rows = conn.execute(_MEMBERS, params).all()
    if attempt is None or attempt.members != len(rows):
        return None
    at = attempt.started_at
    message = _message(rows, attempt)
    [events] = message_events.events_of_messages(conn, [message])
    changed = {row.milestone_id for row in rows if row.changed_at and row.changed_at > at}
    rendered = render(
        message,
        # What became of a milestone later was not known then.
        [replace(one, present=None) if one.milestone.id in changed else one for one in events],
        routes={one.name: one for one in context.routes},
        limits=context.limits.get(message.destination, PLAIN),
        zone=context.zones.get(message.destination, ZoneInfo("UTC")),
        now=at,
        external_url=context.external_url,
    )
    if (webhook := context.webhooks.get(message.destination)) is not None:
        return _webhook_body(rendered, at, webhook)
    notes = _notes(message, events, changed, context, rendered)
    return SentMessage(
        title=rendered.title,
        body=rendered.body,
        format=rendered.format.value,
        note="; ".join(notes) or None,
    )


def _message(rows: Sequence[Row[Any]], attempt: Row[Any]) -> Message:
    """The message of these members, in the order in which it named them."""

    def order(one: PendingDelivery) -> tuple[datetime | int, int]:
        return (one.at if one.kind in URGENT else one.seq, one.seq)

    members = tuple(sorted((due.delivery(row, attempt.started_at) for row in rows), key=order))
    return Message(
        id=attempt.message_id,
        destination=attempt.destination,
        members=members,
        level=level_of(members),
    )


def _webhook_body(
    rendered: Rendered, at: datetime, webhook: Callable[[Rendered, datetime], str]
) -> SentMessage:
    """The body of a webhook's request, which has no title and no template."""
    events = tuple(replace(event, live=None) for event in rendered.events)
    body = webhook(replace(rendered, events=events), at)
    notes = [_LIVE_NOTE] if events != rendered.events else []
    if len(body) > _MAX_BODY:
        notes.append("cut here; it was sent whole")
    return SentMessage(
        title="", body=body[:_MAX_BODY], format="json", note="; ".join(notes) or None
    )


def _notes(
    message: Message,
    events: Sequence[Event],
    changed: set[str],
    context: RenderContext,
    rendered: Rendered,
) -> Iterator[str]:
    """The reasons why the message may have been different."""
    # Where the limits of no destination are known, the caller says so once.
    if context.limits and message.destination not in context.limits:
        yield f"put as plain text, for what {message.destination} takes is not known"
    if message.route not in {one.name for one in context.routes}:
        yield f"without the template of {message.route}, which is no route any more"
    if rendered.template_error is not None:
        yield f"without the template, which fails now: {rendered.template_error}"
    if any(event.live is not None for event in events):
        yield _LIVE_NOTE
    if any(event.present and event.milestone.id in changed for event in events):
        yield "the milestone has changed since it was told"
