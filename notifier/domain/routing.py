"""
Routing: (event, routes) -> destinations, and why each route takes the event or not.

Patterns are globs over the whole value (`*`, `?` and `[...]` as in a shell, a
literal bracket is `[[]`), or, after a `~`, a regular expression that is searched
for, both without case (see `patterns`). A pattern matches no absent value:
`details.league: "*"` matches every milestone that has a league.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache

from notifier.domain.models import (
    Change,
    Delivery,
    Event,
    Json,
    Kind,
    Milestone,
    RouteTrace,
    delivery_id,
)
from notifier.domain.parsing import format_duration
from notifier.domain.patterns import compile_pattern
from notifier.domain.rules import Match, Route

#: Words of `details.status` whose changes `ignore_changes` cannot hide.
CRITICAL_STATUSES = frozenset(
    {"cancelled", "canceled", "postponed", "abandoned", "suspended", "delayed"}
)
#: `started` expires after this, or after `started_grace` if that is longer.
STARTED_LIFE = timedelta(minutes=30)
#: `upcoming` expires this long after its moment, and at the start.
REMINDER_LIFE = timedelta(minutes=30)
#: Characters of a value that a reason quotes.
MAX_QUOTED = 80


def route(event: Event, routes: Sequence[Route]) -> tuple[RouteTrace, ...]:
    """
    Return for every route, in order, whether it takes the event, and why.

    A trace's `to` are the destinations that no earlier route has named: together they
    are all destinations that are owed the event, each once.
    """
    subject = _RoutedEvent(event)
    traces: list[RouteTrace] = []
    owner: dict[str, str] = {}
    stopper: str | None = None
    for rule in routes:
        if stopper is not None:
            traces.append(_passed(rule.name, f"not reached: {stopper} stopped the walk"))
        elif reasons := subject.objections(rule):
            traces.append(_passed(rule.name, "; ".join(reasons)))
        else:
            traces.append(_taken(rule, owner))
            stopper = rule.name if rule.stop else None
    return tuple(traces)


def deliveries(
    event: Event,
    traces: Sequence[RouteTrace],
    *,
    due_at: datetime,
    now: datetime,
    started_grace: timedelta,
) -> tuple[Delivery, ...]:
    """Return the deliveries of an event; a missed event has none."""
    if event.missed:
        return ()
    expires_at = None
    if event.kind is Kind.STARTED:
        expires_at = event.at + max(started_grace, STARTED_LIFE)
    elif event.kind is Kind.UPCOMING:
        expires_at = min(event.at + REMINDER_LIFE, event.milestone.start)
    return tuple(
        Delivery(
            id=delivery_id(event.id, destination),
            event_id=event.id,
            kind=event.kind,
            milestone_id=event.milestone.id,
            destination=destination,
            route=trace.route,
            due_at=due_at,
            created_at=now,
            expires_at=expires_at,
        )
        for trace in traces
        for destination in trace.to
    )


def leads(routes: Sequence[Route]) -> tuple[timedelta, ...]:
    """Return the reminders of all routes, as times before a start; each once, ascending."""
    return tuple(sorted({lead for rule in routes for lead in rule.reminders}))


def matches(event: Event, match: Match) -> bool:
    """
    Whether a match takes an event by itself, without a route.

    `upcoming` is a kind like any other, and no change is ignored.
    """
    return _RoutedEvent(event).matches(match)


def matches_any(patterns: tuple[str, ...], value: str) -> bool:
    """Whether any of the patterns matches the value."""
    return _matcher(patterns)(value)


# --- traces -------------------------------------------------------------------


@lru_cache(maxsize=1024)
def _passed(name: str, why: str) -> RouteTrace:
    """Return the trace of a route that does not take an event; most are equal."""
    return RouteTrace(route=name, matched=False, why=why)


def _taken(rule: Route, owner: dict[str, str]) -> RouteTrace:
    """Return the trace of a route that takes an event; mark its destinations as owned."""
    to = tuple(name for name in dict.fromkeys(rule.to) if name not in owner)
    late = [f"{name} has it from {owner[name]}" for name in rule.to if name in owner]
    owner.update(dict.fromkeys(to, rule.name))
    why = "; ".join(["matched", *late])
    return RouteTrace(route=rule.name, matched=True, why=why, to=to)


# --- the predicate ------------------------------------------------------------


class _RoutedEvent:
    """An event whose values are read once, though several routes ask for them."""

    __slots__ = ("_critical", "_event", "_fields", "_values")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._fields = tuple(change.field for change in event.changes)
        self._critical = any(map(_is_critical, event.changes))
        self._values: dict[str, tuple[str, ...]] = {}

    def objections(self, rule: Route) -> list[str]:
        """Return every reason why the route does not take the event; none: it does."""
        ignored = () if self._critical else rule.ignore_changes
        found = (
            _kind_objection(self._event, rule),
            *self._objections(rule.match, ignored),
        )
        return [reason for reason in found if reason is not None]

    def matches(self, match: Match) -> bool:
        """Whether the match takes the event by itself."""
        kinds = match.events
        is_wanted = not kinds or self._event.kind in kinds
        return is_wanted and not any(self._objections(match, ()))

    def _objections(self, match: Match, ignored: tuple[str, ...]) -> Iterator[str | None]:
        """Yield what is against every key but `events`; None: nothing."""
        for key, patterns in match.fields:
            values = self._values.get(key)
            if values is None:
                values = self._values[key] = _values(self._event.milestone, key)
            yield _field_objection(key, values, patterns)
        if self._event.kind is Kind.UPDATED:
            yield _change_objection(self._fields, match.changed, ignored)


def _kind_objection(event: Event, rule: Route) -> str | None:
    """Return what is against the kind, or against a reminder that the route does not list."""
    if event.kind is Kind.UPCOMING:
        if event.lead in rule.reminders:
            return None
        if not rule.reminders:
            return "kind is upcoming, and this route has no reminders"
        wanted = _either([format_duration(lead) for lead in rule.reminders])
        lead = "at no known time" if event.lead is None else format_duration(event.lead)
        return f"the reminder is {lead} before the start, wants {wanted}"
    if not rule.match.events or event.kind in rule.match.events:
        return None
    return _unwanted_kind(event.kind, rule.match.events)


@lru_cache(maxsize=128)
def _unwanted_kind(kind: Kind, wanted: frozenset[Kind]) -> str:
    """Return what is against a kind; the wanted ones are named in the order of `Kind`."""
    return f"kind is {kind}, wants {_either([k.value for k in Kind if k in wanted])}"


def _field_objection(key: str, values: tuple[str, ...], patterns: tuple[str, ...]) -> str | None:
    """Return what is against the values of one key of `match`; short values are cached."""
    if len(values) == 1 and len(values[0]) <= MAX_QUOTED:
        return _known_objection(key, values, patterns)
    return _objection(key, values, patterns)


def _objection(key: str, values: tuple[str, ...], patterns: tuple[str, ...]) -> str | None:
    """Return None if any of the values matches any of the patterns."""
    if any(map(_matcher(patterns), values)):
        return None
    shown = ", ".join(map(_quote, values[:5])) or "absent"
    more = f" and {len(values) - 5} more" if values[5:] else ""
    verb = "are" if key == "tickers" and values else "is"
    return f"{key} {verb} {shown}{more}, wants {_either(patterns)}"


#: There are few categories and types.
_known_objection = lru_cache(maxsize=1024)(_objection)


@lru_cache(maxsize=1024)
def _change_objection(
    fields: tuple[str, ...], wanted: tuple[str, ...], ignored: tuple[str, ...]
) -> str | None:
    """Return what is against an update that changes these fields; `wanted` beats `ignored`."""
    if wanted:
        if any(map(_matcher(wanted), fields)):
            return None
        return f"{_list(fields)} changed, wants {_either(wanted)}"
    if not fields or not all(map(_matcher(ignored), fields)):
        return None
    verb = "is" if len(fields) == 1 else "are"
    return f"only {_list(fields)} changed, which {verb} ignored"


def _is_critical(change: Change) -> bool:
    """Whether a change sets or ends one of the `CRITICAL_STATUSES`."""
    return change.field == "details.status" and (
        _critical_words(change.before) != _critical_words(change.after)
    )


def _critical_words(status: Json) -> frozenset[str]:
    """Return the `CRITICAL_STATUSES` that a status contains, such as `start_delayed`."""
    if not isinstance(status, str):
        return frozenset()
    return CRITICAL_STATUSES.intersection(re.split(r"[^a-z]+", status.lower()))


# --- the values of a milestone ------------------------------------------------


def _values(milestone: Milestone, key: str) -> tuple[str, ...]:
    """Return the texts that the patterns of a key are compared with."""
    match key:
        case "category":
            return (milestone.category,)
        case "type":
            return (milestone.type,)
        case "title":
            return (milestone.title,)
        case "tickers":
            return milestone.tickers
        case _:
            return tuple(_texts(milestone.doc, _path(key)))


@lru_cache(maxsize=1024)
def _path(key: str) -> tuple[str, ...]:
    """Return the keys of a dotted path; `~1` is a dot inside one, `~0` a tilde."""
    return tuple(part.replace("~1", ".").replace("~0", "~") for part in key.split("."))


def _texts(value: Json, path: tuple[str, ...]) -> Iterator[str]:
    """Yield the scalars at a path; of a list on the way, or at its end, those of each item."""
    if isinstance(value, str):
        if not path:
            yield value
    elif isinstance(value, Mapping):
        if path and path[0] in value:
            yield from _texts(value[path[0]], path[1:])
    elif isinstance(value, Sequence):
        for item in value:
            yield from _texts(item, path)
    elif value is not None and not path:
        yield json.dumps(value)


# --- patterns -----------------------------------------------------------------


@lru_cache(maxsize=1024)
def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Return a predicate: any of the patterns matches a value."""
    plain = frozenset(p.casefold() for p in patterns if not re.search(r"^~|[*?\[]", p))
    rest = [compile_pattern(p) for p in patterns if re.search(r"^~|[*?\[]", p)]

    def match(value: str) -> bool:
        return value.casefold() in plain or any(each(value) for each in rest)

    return match if rest else lambda value: value.casefold() in plain


# --- the text of a reason ----------------------------------------------------


def _either(words: Sequence[str]) -> str:
    """Return `a`, `a or b`, `a, b or c`."""
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


def _list(fields: Sequence[str]) -> str:
    """Return `a`, `a and b`, `a, b and 3 more`: the fields that changed."""
    if not fields:
        return "no field"
    if len(fields) == 1:
        return fields[0]
    shown, more = (fields, 0) if len(fields) <= 4 else (fields[:3], len(fields) - 3)  # noqa: PLR2004 - short enough to list
    if more:
        return f"{', '.join(shown)} and {more} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _quote(value: str) -> str:
    """Return a foreign text, cut so that a reason stays one line."""
    flat = " ".join(value.split())
    return flat if len(flat) <= MAX_QUOTED else flat[: MAX_QUOTED - 1] + "…"
