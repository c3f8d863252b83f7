"""
What a route's calendar and its feeds show.

A calendar shows every milestone that matches the fields of the route's `match`:
`events` and `changed` decide about messages, not about days. Like a message it leaves
to an earlier route what that takes entirely and stops at. Silences and quiet hours
have no effect here.

The same milestones give the same entries at any time, but for the calendar's window,
which moves once a day, and its order of preference, which moves once an hour.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from notifier.domain.models import Event, Format, Kind, Limits, Milestone
from notifier.domain.outgoing import Message
from notifier.domain.routing import CRITICAL_STATUSES, matches, matches_any, route
from notifier.domain.rules import Match, Route
from notifier.messages.cloudevents import link
from notifier.messages.escaping import clean
from notifier.messages.event_text import about
from notifier.messages.render import render

#: The window of a calendar around the present day.
_BEHIND, _AHEAD = timedelta(days=7), timedelta(days=366)
#: A calendar prefers what may be under way and what is ahead, soonest first; the rest
#: of its room is for what is past, latest first.
MAX_ENTRIES = 4000
#: What began within this may still be under way.
_UNDER_WAY = timedelta(hours=6)
MAX_FEED_ITEMS = 100
#: Without an end date: some calendars hide entries of no length.
_DEFAULT_LENGTH = timedelta(hours=1)
_MAX_TITLE, _MAX_TEXT = 250, 2000
_CANCELLED = frozenset({"cancelled", "canceled"})
_HTML = Limits(format=Format.HTML, title=_MAX_TITLE, body=10_000)
_TEXT = replace(_HTML, format=Format.TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMilestone:
    """A stored milestone."""

    milestone: Milestone
    #: Rises with each change of its content, and when it is listed again.
    version: int
    changed_at: datetime
    #: Set while Kalshi does not list it.
    gone_at: datetime | None = None


class Status(StrEnum):
    """STATUS of an entry (RFC 5545, 3.8.1.11)."""

    CONFIRMED = "CONFIRMED"
    TENTATIVE = "TENTATIVE"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarEntry:
    """One milestone in a calendar. Text is cleaned, but not escaped."""

    uid: str
    #: Rises with each change, and never falls.
    sequence: int
    changed_at: datetime
    start: datetime
    end: datetime
    status: Status
    summary: str
    description: str
    url: str | None
    categories: tuple[str, ...]
    #: Leads of reminders before the start.
    alarms: tuple[timedelta, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedItem:
    """One event in a feed; `html` is safe, `title` and `text` are plain text."""

    id: str
    kind: Kind
    at: datetime
    title: str
    html: str
    text: str
    url: str | None
    tags: tuple[str, ...]


def window(now: datetime) -> tuple[datetime, datetime]:
    """The first and the last start that a calendar shows."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - _BEHIND, today + _AHEAD


def present(now: datetime) -> datetime:
    """The first start that is not counted as past, to the full hour."""
    return (now - _UNDER_WAY).astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# --- calendars ----------------------------------------------------------------


def calendar_shows(milestone: Milestone, routes: Sequence[Route], name: str) -> bool:
    """Whether the calendar of the route of that name shows the milestone."""
    event = Event(
        id="",
        kind=Kind.CREATED,
        milestone=milestone,
        at=milestone.start,
        seen_at=milestone.start,
    )
    for rule in routes:
        is_taken = matches(event, Match(fields=rule.match.fields))
        if rule.name == name:
            return is_taken
        if is_taken and rule.stop and not rule.match.events and not rule.match.changed:
            return False
    return False


def may_show(category: str, kind: str, rule: Route) -> bool:
    """Whether a calendar can show a milestone of that category and type."""
    known = {"category": category, "type": kind}
    return all(
        matches_any(patterns, known[key]) for key, patterns in rule.match.fields if key in known
    )


def calendar_entry(
    listed: ListedMilestone, rule: Route, *, external_url: str | None
) -> CalendarEntry:
    """The entry of a milestone in a route's calendar."""
    milestone = listed.milestone
    status, words = _status(listed)
    title = clean(milestone.title, _MAX_TITLE) or "Untitled"
    url = link(milestone, external_url)
    lines = (
        words,
        clean(milestone.message, _MAX_TEXT),
        about(milestone),
        url or "",
    )
    end = milestone.end
    return CalendarEntry(
        uid=f"{clean(milestone.id, _MAX_TITLE)}@kalshi.milestones",
        # A removal adds one; the return raises the version, which adds two.
        sequence=2 * (listed.version - 1) + (listed.gone_at is not None),
        changed_at=listed.gone_at or listed.changed_at,
        start=milestone.start,
        end=end if end is not None and end > milestone.start else milestone.start + _DEFAULT_LENGTH,
        status=status,
        summary=f"{_PREFIXES[status]}{title}",
        description="\n".join(line for line in lines if line),
        url=url,
        categories=tuple(
            word for word in (clean(milestone.category, 80), clean(milestone.type, 80)) if word
        ),
        alarms=() if status is Status.CANCELLED else rule.reminders,
    )


#: Some calendars show no status, so the title says it.
_PREFIXES = {
    Status.CONFIRMED: "",
    Status.TENTATIVE: "In doubt: ",
    Status.CANCELLED: "Cancelled: ",
}


def _status(listed: ListedMilestone) -> tuple[Status, str]:
    if listed.gone_at is not None:
        return Status.CANCELLED, "Kalshi no longer lists it."
    words = set(re.split(r"[^a-z]+", listed.milestone.status))
    if not words & CRITICAL_STATUSES:
        return Status.CONFIRMED, ""
    text = f"Kalshi lists it as {clean(listed.milestone.status, 80)}."
    return (Status.CANCELLED if words & _CANCELLED else Status.TENTATIVE), text


# --- feeds --------------------------------------------------------------------


def feed_takes(event: Event, routes: Sequence[Route], name: str) -> bool:
    """Whether a route takes the event, though an earlier route may have sent it."""
    if event.missed:
        return False
    return any(trace.matched for trace in route(event, routes) if trace.route == name)


def feed_kinds(rule: Route) -> frozenset[Kind]:
    """The kinds of events that a route can take."""
    wanted = rule.match.events or frozenset(Kind)
    reminds = frozenset({Kind.UPCOMING}) if rule.reminders else frozenset()
    return (wanted - {Kind.UPCOMING}) | reminds


def feed_item(event: Event, rule: Route, *, zone: ZoneInfo, external_url: str | None) -> FeedItem:
    """An event in a route's feeds, with the text of its message when it was seen."""
    # Live data changes; an item must not.
    event = replace(event, live=None)
    message = Message.of_event(event, destination=rule.name, route=rule.name)
    html, text = (
        render(
            message,
            [event],
            routes={rule.name: rule},
            limits=limits,
            zone=zone,
            now=event.seen_at,
            external_url=external_url,
        )
        for limits in (_HTML, _TEXT)
    )
    milestone = event.milestone
    tags = (event.kind.value, clean(milestone.category, 80), clean(milestone.type, 80))
    return FeedItem(
        id=event.id,
        kind=event.kind,
        at=event.seen_at,
        title=text.title,
        html=html.body,
        text=text.body,
        url=link(milestone, external_url),
        tags=tuple(tag for tag in tags if tag),
    )
