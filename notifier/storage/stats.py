"""What people see at a glance: how many, how often, how fast."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    bindparam,
    func,
    literal_column,
    select,
    type_coerce,
)

from notifier.domain.models import Kind, TimerKind
from notifier.domain.pagination import RowJson
from notifier.domain.parsing import format_duration
from notifier.domain.rules import Rate, Route
from notifier.storage import queries
from notifier.storage import schema as t

_m, _e, _d = t.milestones.c, t.events.c, t.deliveries.c
_a, _c = t.attempts.c, t.timers.c

STARTS_SHOWN = 200
TRIES_SHOWN = 20
LATEST_SHOWN = 5
#: What the latency is computed from, at most: the newest.
SAMPLE = 2000
_HOURS = 48
_DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)
_HOUR_TICKS = _HOUR // timedelta(microseconds=1)

_since = bindparam("since", type_=t.Instant)
_until = bindparam("until", type_=t.Instant)
_STARTS = (
    select(_m.id, _m.title, _m.category, _m.type, _c.fire_at)
    .join(t.timers, _c.milestone_id == _m.id)
    .where(
        _c.kind == literal_column(f"'{TimerKind.START.value}'"),
        _c.fire_at > _since,
        _c.fire_at <= _until,
    )
    .order_by(_c.fire_at)
    .limit(STARTS_SHOWN)
)
#: Numbered from 1970.
_hour = type_coerce(_e.seen_at, BigInteger).op("/")(literal_column(str(_HOUR_TICKS)))
_BY_HOUR = (
    select(_hour, _e.kind, func.count())
    .where(_e.seen_at >= _since, _e.seen_at < _until)
    .group_by(_hour, _e.kind + "")
)
_SENT_SINCE = select(func.count()).where(
    _d.destination == bindparam("destination"), _d.sent_at >= _since
)
_NEWEST_SENT = (
    select(_d.sent_at, _e.seen_at)
    .join(t.events, _e.id == _d.event_id)
    .where(_d.destination == bindparam("destination"), _d.sent_at >= _since)
    .order_by(_d.sent_at.desc())
    .limit(bindparam("most"))
)
_TRIES = (
    select(t.attempts)
    .where(_a.destination == bindparam("destination"))
    .order_by(_a.started_at.desc(), _a.seq.desc())
    .limit(TRIES_SHOWN)
)
_OUTCOMES = (
    select(_a.outcome, func.count())
    .where(_a.destination == bindparam("destination"), _a.started_at >= _since)
    .group_by(_a.outcome)
)
_USED = select(func.count()).where(
    _a.destination == bindparam("destination"), _a.started_at > _since
)
_AT = select(_d.seq, _d.born_at).where(_d.seq >= bindparam("seq")).order_by(_d.seq)
_BY_ROUTE = (
    select(_d.route, _d.kind, func.count(_d.event_id.distinct()))
    .where(_d.seq >= bindparam("seq"))
    .group_by(_d.route + "", _d.kind)
)
_LATEST = (
    select(_d.seq, _e.id, _e.kind, _e.at, _e.milestone_id, _m.title)
    .join(t.events, _e.id == _d.event_id)
    .outerjoin(t.milestones, _m.id == _e.milestone_id)
    .where(_d.route == bindparam("route"))
    .order_by(_d.seq.desc())
    .limit(bindparam("most"))
)


def starts(conn: Connection, now: datetime) -> list[RowJson]:
    """What starts within a day, soonest first."""
    rows = conn.execute(_STARTS, {"since": now, "until": now + _DAY})
    return [
        {
            "milestone_id": row.id,
            "title": row.title,
            "category": row.category,
            "type": row.type,
            "start": queries.stamp(row.fire_at),
        }
        for row in rows
    ]


# --- events by hour -----------------------------------------------------------


def hours_of(now: datetime) -> list[datetime]:
    """The beginnings of the last two days' hours, this one's last."""
    this = now.replace(minute=0, second=0, microsecond=0)
    return [this - back * _HOUR for back in reversed(range(_HOURS))]


def by_hour(conn: Connection, hours: Sequence[datetime]) -> dict[datetime, dict[str, int]]:
    """By hour and kind: how many events were seen in these hours, all in a row."""
    if not hours:
        return {}
    asked = {"since": hours[0], "until": hours[-1] + _HOUR}
    first = t.ticks(hours[0]) // _HOUR_TICKS
    found: dict[datetime, dict[str, int]] = {hour: {} for hour in hours}
    for number, kind, count in conn.execute(_BY_HOUR, asked):
        found[hours[number - first]][kind] = count
    return found


def hour_rows(found: Mapping[datetime, Mapping[str, int]]) -> list[RowJson]:
    """The same as rows: each kind is there."""
    return [
        {"hour": queries.stamp(hour)} | {kind.value: counts.get(kind.value, 0) for kind in Kind}
        for hour, counts in found.items()
    ]


# --- latency ------------------------------------------------------------------


def latency(conn: Connection, names: Iterable[str], now: datetime) -> RowJson:
    """How much was sent in the last day, and how long its newest part took."""
    names = list(names)
    asked = {"since": now - _DAY, "most": SAMPLE // max(1, len(names))}
    sent, took = 0, []
    for name in names:
        this = asked | {"destination": name}
        sent += conn.scalar(_SENT_SINCE, this) or 0
        took += [(at - seen).total_seconds() for at, seen in conn.execute(_NEWEST_SENT, this)]
    took.sort()
    return {
        "sent": sent,
        "p50_s": _quantile(took, 0.5),
        "p99_s": _quantile(took, 0.99),
    }


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)


# --- destinations -------------------------------------------------------------


def destinations(
    conn: Connection,
    now: datetime,
    *,
    services: Mapping[str, str],
    rates: Mapping[str, Rate | None],
) -> list[RowJson]:
    """Those of `status`, with what else there is to know."""
    return [
        row | _more(conn, str(row["name"]), now, services, rates)
        for row in queries.destination_rows(conn, now)
    ]


def _more(
    conn: Connection,
    name: str,
    now: datetime,
    services: Mapping[str, str],
    rates: Mapping[str, Rate | None],
) -> RowJson:
    asked = {"destination": name, "since": now - _DAY}
    outcomes = {row[0]: row[1] for row in conn.execute(_OUTCOMES, asked)}
    sent, under_way = outcomes.pop("sent", 0), outcomes.pop(None, 0)
    del under_way
    rate = rates.get(name)
    used = None
    if rate is not None:
        used = conn.scalar(_USED, {"destination": name, "since": now - rate.per})
    return {
        "service": services.get(name),
        "rate": None if rate is None else spelt(rate),
        "used": used,
        "sent_24h": sent,
        "failed_24h": sum(outcomes.values()),
        "tries": queries.try_rows(conn.execute(_TRIES, {"destination": name})),
    }


def spelt(rate: Rate) -> str:
    """As the configuration spells it: `1/s`, `10/m`."""
    seconds = rate.per.total_seconds()
    for unit, size in (("s", 1), ("m", 60), ("h", 3600), ("d", 86400)):
        if seconds == size:
            return f"{rate.count}/{unit}"
    return f"{rate.count}/{seconds:g}s"


# --- routes -------------------------------------------------------------------


def routes(conn: Connection, rules: Sequence[Route], now: datetime) -> list[RowJson]:
    """The routes in their order, and what each took lately."""
    lowest = _first_since(conn, now - _DAY)
    taken: dict[str, dict[str, int]] = {}
    for route, kind, count in conn.execute(_BY_ROUTE, {"seq": lowest}):
        taken.setdefault(route, {})[kind] = count
    return [
        {
            "name": rule.name,
            "match": _match(rule),
            "to": list(rule.to),
            "stop": rule.stop,
            "reminders": [format_duration(lead) for lead in rule.reminders],
            "events_24h": taken.get(rule.name, {}),
            "latest": _latest(conn, rule),
        }
        for rule in rules
    ]


def _match(rule: Route) -> RowJson:
    """Its keys and their patterns, as the configuration has them."""
    match = rule.match
    keys: dict[str, Any] = {
        "events": [kind.value for kind in Kind if kind in match.events],
        **{key: list(patterns) for key, patterns in match.fields},
        "changed": list(match.changed),
    }
    return {key: patterns for key, patterns in keys.items() if patterns}


def _latest(conn: Connection, rule: Route) -> list[RowJson]:
    """The newest events that it took, each once."""
    asked = {"route": rule.name, "most": LATEST_SHOWN * max(1, len(rule.to))}
    found: dict[str, RowJson] = {}
    for row in conn.execute(_LATEST, asked):
        found[row.id] = {
            "event_id": row.id,
            "kind": row.kind,
            "at": queries.stamp(row.at),
            "title": row.title,
            "milestone_id": row.milestone_id,
        }
    return list(found.values())[:LATEST_SHOWN]


def _first_since(conn: Connection, since: datetime) -> int:
    """
    The number of about the first delivery that was born since then.

    Numbers rise with the time but for what a suspension has made younger, so halving
    finds it without an index.
    """
    low, high = 0, (conn.scalar(select(func.max(_d.seq))) or 0) + 1
    asked = _AT.limit(1)
    while low < high:
        middle = (low + high) // 2
        row = conn.execute(asked, {"seq": middle}).first()
        if row is None or row.born_at >= since:
            high = middle
        else:
            low = row.seq + 1
    return low
