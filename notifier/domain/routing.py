"""
(event, routes) -> destinations, and why (not).

Patterns are globs over the whole value (`*`, `?` and `[...]` as in a shell, a
literal bracket is `[[]`), or, after a `~`, a regular expression that is searched
for. Neither minds case (see `patterns.py`). A pattern matches no absent value:
`details.league: "*"` wants a league, whatever it is.
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
from notifier.domain.patterns import compile_pattern
from notifier.domain.rules import Match, Route

#: Words of `details.status` that nobody may be left without.
GRAVE = frozenset({"cancelled", "canceled", "postponed", "abandoned", "suspended", "delayed"})
#: A start is worth telling for so long, and for as long as one is told late.
STARTED_LIFE = timedelta(minutes=30)
#: A reminder is worth nothing this long after its moment.
REMINDER_LIFE = timedelta(minutes=30)
#: As much of a foreign text as a reason quotes.
QUOTED = 80


def route(event: Event, routes: Sequence[Route]) -> tuple[RouteTrace, ...]:
    """
    Say for every route, in order, whether it takes the event, and why.

    A trace's `to` are the destinations that no earlier route has named: together
    they are everyone who is owed the event, each once.
    """
    subject = _Subject(event)
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
    """What is owed for the event. A missed one owes nothing to anyone."""
    if event.missed:
        return ()
    expires_at = _expiry(event, started_grace)
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
    """How long before a start somebody wants a reminder; each once, ascending."""
    return tuple(sorted({lead for rule in routes for lead in rule.reminders}))


def fits(event: Event, match: Match) -> bool:
    """
    Whether a match takes an event where no route is asked.

    A reminder is of its kind like any other event, and no change is ignored.
    """
    return _Subject(event).suits(match)


def matches(patterns: tuple[str, ...], value: str) -> bool:
    """Whether any of the patterns fits the value."""
    return _matcher(patterns)(value)


# --- what a walk leaves behind ------------------------------------------------


@lru_cache(maxsize=1024)
def _passed(name: str, why: str) -> RouteTrace:
    """The trace of a route that does not take an event; most are alike."""
    return RouteTrace(route=name, matched=False, why=why)


def _taken(rule: Route, owner: dict[str, str]) -> RouteTrace:
    """The trace of a route that takes the event; marks its destinations as owned."""
    to = tuple(name for name in dict.fromkeys(rule.to) if name not in owner)
    late = [f"{name} has it from {owner[name]}" for name in rule.to if name in owner]
    owner.update(dict.fromkeys(to, rule.name))
    why = "; ".join(["matched", *late])
    return RouteTrace(route=rule.name, matched=True, why=why, to=to)


def _expiry(event: Event, started_grace: timedelta) -> datetime | None:
    """When telling it becomes worth nothing."""
    match event.kind:
        case Kind.STARTED:
            return event.at + max(started_grace, STARTED_LIFE)
        case Kind.UPCOMING:
            return min(event.at + REMINDER_LIFE, event.milestone.start)
        case _:
            return None


# --- the predicate ------------------------------------------------------------


class _Subject:
    """An event under question: what several routes ask of it is read once."""

    __slots__ = ("_event", "_fields", "_grave", "_values")

    def __init__(self, event: Event) -> None:
        self._event = event
        self._fields = tuple(change.field for change in event.changes)
        self._grave = any(map(_is_grave, event.changes))
        self._values: dict[str, tuple[str, ...]] = {}

    def objections(self, rule: Route) -> list[str]:
        """Every reason why the route does not take the event; none: it does."""
        ignored = () if self._grave else rule.ignore_changes
        found = (
            _kind_objection(self._event, rule),
            *self._objections(rule.match, ignored),
        )
        return [reason for reason in found if reason is not None]

    def suits(self, match: Match) -> bool:
        """Whether the match alone takes the event."""
        kinds = match.events
        is_wanted = not kinds or self._event.kind in kinds
        return is_wanted and not any(self._objections(match, ()))

    def _objections(self, match: Match, ignored: tuple[str, ...]) -> Iterator[str | None]:
        """Against everything but the kind."""
        for key, patterns in match.fields:
            values = self._values.get(key)
            if values is None:
                values = self._values[key] = _values(self._event.milestone, key)
            yield _field_objection(key, values, patterns)
        if self._event.kind is Kind.UPDATED:
            yield _change_objection(self._fields, match.changed, ignored)


def _kind_objection(event: Event, rule: Route) -> str | None:
    """Against the kind, or against a reminder that this route did not ask for."""
    if event.kind is Kind.UPCOMING:
        return None if event.lead in rule.reminders else _lead_objection(event, rule)
    if not rule.match.events or event.kind in rule.match.events:
        return None
    return _unwanted_kind(event.kind, rule.match.events)


@lru_cache(maxsize=128)
def _unwanted_kind(kind: Kind, wanted: frozenset[Kind]) -> str:
    """Against a kind; the wanted ones are named in the order of `Kind`."""
    return f"kind is {kind}, wants {_either([k.value for k in Kind if k in wanted])}"


def _lead_objection(event: Event, rule: Route) -> str:
    """Against a reminder at a lead that this route does not list."""
    if not rule.reminders:
        return "kind is upcoming, and this route has no reminders"
    wanted = _either([spelt_lead(lead) for lead in rule.reminders])
    asked = "at no known time" if event.lead is None else spelt_lead(event.lead)
    return f"the reminder is {asked} before the start, wants {wanted}"


def _field_objection(key: str, values: tuple[str, ...], patterns: tuple[str, ...]) -> str | None:
    """Against the values of one key of `match`; what is short may be remembered."""
    if len(values) == 1 and len(values[0]) <= QUOTED:
        return _known_objection(key, values, patterns)
    return _objection(key, values, patterns)


def _objection(key: str, values: tuple[str, ...], patterns: tuple[str, ...]) -> str | None:
    """None when any of the values fits any of the patterns."""
    if any(map(_matcher(patterns), values)):
        return None
    shown = ", ".join(map(_quote, values[:5])) or "absent"
    more = f" and {len(values) - 5} more" if values[5:] else ""
    verb = "are" if key == "tickers" and values else "is"
    return f"{key} {verb} {shown}{more}, wants {_either(patterns)}"


#: Categories and types are few and come again and again.
_known_objection = lru_cache(maxsize=1024)(_objection)


@lru_cache(maxsize=1024)
def _change_objection(
    fields: tuple[str, ...], wanted: tuple[str, ...], ignored: tuple[str, ...]
) -> str | None:
    """Against an update for the fields that it changed; `wanted` beats `ignored`."""
    if wanted:
        if any(map(_matcher(wanted), fields)):
            return None
        return f"{_list(fields)} changed, wants {_either(wanted)}"
    if not fields or not all(map(_matcher(ignored), fields)):
        return None
    verb = "is" if len(fields) == 1 else "are"
    return f"only {_list(fields)} changed, which {verb} ignored"


def _is_grave(change: Change) -> bool:
    """Whether it takes a milestone into, or out of, one of the `GRAVE` states."""
    return change.field == "details.status" and (
        _grave_words(change.before) != _grave_words(change.after)
    )


def _grave_words(status: Json) -> frozenset[str]:
    """Which `GRAVE` words a status holds: an open word such as `start_delayed`."""
    if not isinstance(status, str):
        return frozenset()
    return GRAVE.intersection(re.split(r"[^a-z]+", status.lower()))


# --- the values of a milestone ------------------------------------------------


def _values(milestone: Milestone, key: str) -> tuple[str, ...]:
    """The texts that the patterns of a key are held against."""
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
    """The keys of a dotted path; `~1` is a dot inside one, `~0` a tilde."""
    return tuple(part.replace("~1", ".").replace("~0", "~") for part in key.split("."))


def _texts(value: Json, path: tuple[str, ...]) -> Iterator[str]:
    """The scalars at a path; a list on the way, or at its end, stands for each."""
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
    """A predicate that says whether any of the patterns fits a value."""
    plain = frozenset(p.casefold() for p in patterns if not re.search(r"^~|[*?\[]", p))
    rest = [compile_pattern(p) for p in patterns if re.search(r"^~|[*?\[]", p)]

    def fits(value: str) -> bool:
        return value.casefold() in plain or any(each(value) for each in rest)

    return fits if rest else lambda value: value.casefold() in plain


# --- the words of a reason ----------------------------------------------------


def _either(words: Sequence[str]) -> str:
    """`a`, `a or b`, `a, b or c`."""
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


def _list(fields: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and 3 more`: the fields that changed."""
    if not fields:
        return "no field"
    if len(fields) == 1:
        return fields[0]
    shown, more = (fields, 0) if len(fields) <= 4 else (fields[:3], len(fields) - 3)  # noqa: PLR2004 - as many as one takes in at a glance
    if more:
        return f"{', '.join(shown)} and {more} more"
    return f"{', '.join(shown[:-1])} and {shown[-1]}"


def _quote(value: str) -> str:
    """A foreign text, cut so that a reason stays one line."""
    flat = " ".join(value.split())
    return flat if len(flat) <= QUOTED else flat[: QUOTED - 1] + "…"


def spelt_lead(lead: timedelta) -> str:
    """A lead as the configuration spells it."""
    seconds = lead.total_seconds()
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{lead / timedelta(milliseconds=1):g}ms"
