"""
(milestones and events of a route, now) -> what its calendar and its feeds show.

A calendar shows every milestone that the route's `match` fits by its fields: which
kinds of events or changes it wants decides about messages, not about days. Like a
message it leaves to an earlier route what that takes whole and stops at. Silences and
quiet hours hold messages back, and nothing here.

Nothing depends on when it is asked but the calendar's window, which moves once a day,
and what it shows first where it has no room for all, which moves once an hour: the same
milestones give the same entries.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from zoneinfo import ZoneInfo

from notifier.domain.models import (
    Due,
    Event,
    Form,
    Format,
    Kind,
    Limits,
    Match,
    Message,
    Milestone,
    Route,
    delivery_id,
    message_id,
)
from notifier.domain.routing import GRAVE, fits, matches, route
from notifier.messages.cloudevents import link
from notifier.messages.escaping import clean
from notifier.messages.event_text import about
from notifier.messages.render import render

#: A calendar shows what began so long ago, and what begins so soon.
BEHIND, AHEAD = timedelta(days=7), timedelta(days=366)
#: It shows no more than so many: first what may still go on and what is ahead, soonest
#: first; then, as far as there is room, what is past, latest first.
MOST_ENTRIES = 4000
#: What began so lately may still go on.
_GOING_ON = timedelta(hours=6)
#: Feeds show the newest.
MOST_STORIES = 100
#: Where Kalshi says no end, calendars that hide what takes no time show this.
USUAL_LENGTH = timedelta(hours=1)
_LONGEST_TITLE, _LONGEST_TEXT = 250, 2000
_CANCELLED = frozenset({"cancelled", "canceled"})
#: Whoever reads a feed takes what there is.
_HTML = Limits(format=Format.HTML, title=_LONGEST_TITLE, body=10_000)
_TEXT = replace(_HTML, format=Format.TEXT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """A milestone as the store knows it."""

    milestone: Milestone
    #: Rises with each change of its content, and when it returns.
    version: int
    changed_at: datetime
    #: Kalshi lists it no more.
    gone_at: datetime | None = None


class Status(StrEnum):
    """Whether it will take place, in a calendar's words."""

    CONFIRMED = "CONFIRMED"
    TENTATIVE = "TENTATIVE"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One milestone in a calendar. Text is clean, but not escaped."""

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
    #: How long before the start somebody wants to be reminded.
    alarms: tuple[timedelta, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
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
    """From when until when milestones start that a calendar shows."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - BEHIND, today + AHEAD


def present(now: datetime) -> datetime:
    """From when on milestones start that come before all that is past."""
    return (now - _GOING_ON).astimezone(UTC).replace(minute=0, second=0, microsecond=0)


# --- calendars ----------------------------------------------------------------


def lists(milestone: Milestone, routes: Sequence[Route], name: str) -> bool:
    """Whether the calendar of the route of that name shows the milestone."""
    event = Event(
        id="",
        kind=Kind.CREATED,
        milestone=milestone,
        at=milestone.start,
        seen_at=milestone.start,
    )
    for rule in routes:
        is_taken = fits(event, Match(fields=rule.match.fields))
        if rule.name == name:
            return is_taken
        if is_taken and rule.stop and not rule.match.events and not rule.match.changed:
            return False
    return False


def may_list(category: str, kind: str, rule: Route) -> bool:
    """Whether a milestone of that category and type can be in its calendar."""
    known = {"category": category, "type": kind}
    return all(matches(patterns, known[key]) for key, patterns in rule.match.fields if key in known)


def entry(listed: Listed, rule: Route, *, external_url: str | None) -> Entry:
    """How a route's calendar shows a milestone."""
    milestone = listed.milestone
    status, words = _status(listed)
    title = clean(milestone.title, _LONGEST_TITLE) or "Untitled"
    url = link(milestone, external_url)
    lines = (
        words,
        clean(milestone.message, _LONGEST_TEXT),
        about(milestone),
        url or "",
    )
    end = milestone.end
    return Entry(
        uid=f"{clean(milestone.id, _LONGEST_TITLE)}@kalshi.milestones",
        # Removal raises it by one, a return (which raises the version) by one more.
        sequence=2 * (listed.version - 1) + (listed.gone_at is not None),
        changed_at=listed.gone_at or listed.changed_at,
        start=milestone.start,
        end=end if end is not None and end > milestone.start else milestone.start + USUAL_LENGTH,
        status=status,
        summary=f"{_SAID[status]}{title}",
        description="\n".join(line for line in lines if line),
        url=url,
        categories=tuple(
            word for word in (clean(milestone.category, 80), clean(milestone.type, 80)) if word
        ),
        alarms=() if status is Status.CANCELLED else rule.reminders,
    )


#: Some calendars show no status, and what they keep must not look as if it held.
_SAID = {
    Status.CONFIRMED: "",
    Status.TENTATIVE: "In doubt: ",
    Status.CANCELLED: "Cancelled: ",
}


def _status(listed: Listed) -> tuple[Status, str]:
    if listed.gone_at is not None:
        return Status.CANCELLED, "Kalshi no longer lists it."
    words = set(re.split(r"[^a-z]+", listed.milestone.status))
    if not words & GRAVE:
        return Status.CONFIRMED, ""
    said = f"Kalshi lists it as {clean(listed.milestone.status, 80)}."
    return (Status.CANCELLED if words & _CANCELLED else Status.TENTATIVE), said


# --- what happened ------------------------------------------------------------


def tells(event: Event, routes: Sequence[Route], name: str) -> bool:
    """Whether the route of that name takes the event, whoever has it already."""
    if event.missed:
        return False
    return any(trace.matched for trace in route(event, routes) if trace.route == name)


def kinds_told(rule: Route) -> frozenset[Kind]:
    """The kinds of events that a route can take."""
    wanted = rule.match.events or frozenset(Kind)
    reminds = frozenset({Kind.UPCOMING}) if rule.reminders else frozenset()
    return (wanted - {Kind.UPCOMING}) | reminds


def story(event: Event, rule: Route, *, zone: ZoneInfo, external_url: str | None) -> Story:
    """How a route's feeds tell an event: as its message did when it was seen."""
    # It would say something else each time that live data is asked.
    event = replace(event, live=None)
    message = Message(
        id=message_id(rule.name, [event.id]),
        destination=rule.name,
        members=(_member(event, rule),),
        form=Form.RICH,
    )
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
    return Story(
        id=event.id,
        kind=event.kind,
        at=event.seen_at,
        title=text.title,
        html=html.body,
        text=text.body,
        url=link(milestone, external_url),
        tags=tuple(tag for tag in tags if tag),
    )


def _member(event: Event, rule: Route) -> Due:
    return Due(
        delivery_id=delivery_id(event.id, rule.name),
        event_id=event.id,
        kind=event.kind,
        milestone_id=event.milestone.id,
        route=rule.name,
        seq=0,
        born_at=event.seen_at,
        expires_at=None,
        attempts=0,
        form=Form.RICH,
        frozen_in=None,
        at=event.at,
        lead=event.lead,
        start=event.milestone.start,
        over=False,
    )
