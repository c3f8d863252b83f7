"""Figures for the status, the first page, and the pages of destinations and routes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from notifier.domain.models import Kind
from notifier.domain.parsing import format_duration
from notifier.domain.rules import Rate, Route
from notifier.storage import queries
from notifier.storage import schema as t
from notifier.storage.queries import fetch, row_query
from notifier.storage.rows import (
    ActiveSilenceRow,
    AttemptRow,
    DestinationRow,
    DestinationStatus,
    HourRow,
    IncidentRow,
    LatencyRow,
    LatestEvent,
    MilestoneCount,
    Patterns,
    ReadSummary,
    RouteRow,
    StartRow,
    StatusRow,
    WatchStatus,
)
from notifier.storage.sql import sql

#: Starts in the status, and on the first page.
NEXT_STARTS, STARTS_SHOWN = 5, 200
LATEST_EVENTS = 5
#: Messages from which the latency is computed, at most: the newest.
LATENCY_SAMPLE = 2000
_HOURS = 48
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)
_HOUR_TICKS = 3_600_000_000
_FAR_FUTURE = datetime(9999, 1, 1, tzinfo=UTC)

# --- status -------------------------------------------------------------------

_PRESENT = "gone_at IS NULL AND watches <> 0"
_COUNT_MILESTONES = sql(f"SELECT COUNT(*) FROM milestones WHERE {_PRESENT}")
_COUNT_BY_TYPE = row_query(f"""
SELECT category, type, COUNT(*) AS milestones FROM milestones WHERE {_PRESENT}
GROUP BY category, type ORDER BY category, type
""")
_WATCHES = row_query("""
SELECT name, baselined_at, watermark, polled_at, swept_at, full_at, sweep_only
FROM watches ORDER BY id
""")
_LAST_READ = row_query("""
SELECT kind, ended_at, pages, rows, events, error FROM reads
WHERE watch = :watch ORDER BY id DESC LIMIT 1
""")
#: Materialized: SQLite shall not walk all events by the index of their kinds.
_COUNT_EVENTS = sql("""
WITH recent AS MATERIALIZED (SELECT kind FROM events WHERE seen_at >= :since)
SELECT kind, COUNT(*) AS number FROM recent GROUP BY kind
""")
_COUNT_QUARANTINE = sql("SELECT COUNT(*) FROM quarantine")
_STARTS = row_query("""
SELECT m.id AS milestone_id, m.title, m.category, m.type, c.fire_at AS start
FROM timers c JOIN milestones m ON m.id = c.milestone_id
WHERE c.kind = 'start' AND c.fire_at > :since AND c.fire_at <= :until
ORDER BY c.fire_at LIMIT :limit
""")
_COUNT_STARTS = sql("SELECT COUNT(*) FROM timers WHERE kind = 'start' AND fire_at > :now")
#: A downtime that is still to be told is no incident any more.
_INCIDENTS = row_query("""
SELECT key, since, words FROM conditions WHERE key NOT LIKE 'catchup:%' ORDER BY since, key
""")
#: The destinations in force, then those that are not and are owed something.
_DESTINATIONS = row_query("""
WITH open AS MATERIALIZED (
  SELECT destination,
    SUM(CASE WHEN state = 'pending' THEN 1 ELSE 0 END) AS pending,
    SUM(CASE WHEN state = 'leased' THEN 1 ELSE 0 END) AS leased,
    SUM(CASE WHEN state = 'pending' AND held IS NOT NULL AND due_at > :now THEN 1 ELSE 0 END)
      AS held,
    MIN(CASE WHEN state = 'pending' AND attempts > 0 THEN due_at END) AS next_try_at
  FROM deliveries WHERE state IN ('pending', 'leased') GROUP BY destination
), dead AS (
  SELECT destination, COUNT(*) AS n FROM deliveries WHERE state = 'dead' GROUP BY destination
), dropped AS (
  SELECT destination, COUNT(*) AS n FROM deliveries
  WHERE state = 'dropped' AND settled_at >= :dropped_since GROUP BY destination
), names AS (
  SELECT name FROM destinations UNION SELECT destination FROM open WHERE pending > 0
)
SELECT names.name, s.name IS NOT NULL AS configured, COALESCE(open.pending, 0) AS pending,
  COALESCE(open.held, 0) AS held, COALESCE(open.leased, 0) AS leased,
  COALESCE(dead.n, 0) AS dead, COALESCE(dropped.n, 0) AS dropped_24h,
  (SELECT MAX(sent_at) FROM deliveries
   WHERE destination = names.name AND sent_at IS NOT NULL) AS last_sent_at,
  s.paused_until, s.suspended_since, COALESCE(s.gone, FALSE) AS gone, s.open_since,
  COALESCE(s.reason,
    (SELECT CASE WHEN outcome <> 'sent' THEN reason END FROM attempts
     WHERE destination = s.name AND outcome IS NOT NULL
     ORDER BY started_at DESC, seq DESC LIMIT 1)) AS reason,
  CASE WHEN s.name IS NOT NULL THEN open.next_try_at END AS next_try_at
FROM names
LEFT JOIN destinations s ON s.name = names.name
LEFT JOIN open ON open.destination = names.name
LEFT JOIN dead ON dead.destination = names.name
LEFT JOIN dropped ON dropped.destination = names.name
ORDER BY s.name IS NULL, names.name
""")
_DESTINATION_NAMES = sql("SELECT name FROM destinations ORDER BY name")


def status(conn: Connection, now: datetime, *, milestones: int | None) -> StatusRow:
    """
    Return the state of everything that is watched, owed and next.

    `milestones` is their number, which takes longest to count; None: not known yet.
    """
    events = conn.execute(_COUNT_EVENTS, {"since": now - _DAY})
    return StatusRow(
        milestones=milestones,
        watches=[
            WatchStatus(
                **row._asdict(),
                last_read=next(iter(fetch(conn, _LAST_READ, ReadSummary, watch=row.name)), None),
            )
            for row in conn.execute(_WATCHES)
        ],
        events_24h={row.kind: row.number for row in events},
        destinations=destination_status(conn, now),
        quarantined=conn.scalar(_COUNT_QUARANTINE) or 0,
        next_starts=starts(conn, now, _FAR_FUTURE, limit=NEXT_STARTS),
        conditions=fetch(conn, _INCIDENTS, IncidentRow),
        silences=[
            ActiveSilenceRow(id=one.id, until=one.until, match=one.match, why=one.why)
            for one in queries.silences(conn, now)
        ],
    )


def count_milestones(conn: Connection) -> int:
    """The number of milestones that are present and watched."""
    return conn.scalar(_COUNT_MILESTONES) or 0


def count_by_type(conn: Connection) -> list[MilestoneCount]:
    """The number of milestones of each category and type, by name."""
    return fetch(conn, _COUNT_BY_TYPE, MilestoneCount)


def count_starts(conn: Connection, now: datetime) -> int:
    """The number of starts that lie ahead."""
    return conn.scalar(_COUNT_STARTS, {"now": now}) or 0


def destination_status(conn: Connection, now: datetime) -> list[DestinationStatus]:
    """The state of each destination: those in force, then those that are owed something."""
    params = {"now": now, "dropped_since": now - _DAY}
    return fetch(conn, _DESTINATIONS, DestinationStatus, **params)


def destination_names(conn: Connection) -> list[str]:
    """The destinations in force, by name."""
    return list(conn.scalars(_DESTINATION_NAMES))


def starts(
    conn: Connection, after: datetime, until: datetime, *, limit: int = STARTS_SHOWN
) -> list[StartRow]:
    """The starts after an instant and up to another, soonest first."""
    params = {"since": after, "until": until, "limit": limit}
    return fetch(conn, _STARTS, StartRow, **params)


# --- the first page -----------------------------------------------------------

_BY_HOUR = sql("""
SELECT seen_at / 3600000000 AS hour, kind, COUNT(*) FROM events
WHERE seen_at >= :since AND seen_at < :until GROUP BY hour, kind
""")
_COUNT_SENT = sql("""
SELECT COUNT(*) FROM deliveries WHERE destination = :destination AND sent_at >= :since
""")
_TOOK = sql("""
SELECT d.sent_at - e.seen_at FROM deliveries d JOIN events e ON e.id = d.event_id
WHERE d.destination = :destination AND d.sent_at >= :since ORDER BY d.sent_at DESC LIMIT :limit
""")


def hours(conn: Connection, now: datetime) -> list[HourRow]:
    """The events of each of the last 48 hours, this one last."""
    last = now.replace(minute=0, second=0, microsecond=0)
    found: dict[int, dict[str, int]] = {}
    params = {"since": last - (_HOURS - 1) * _HOUR, "until": last + _HOUR}
    for number, kind, count in conn.execute(_BY_HOUR, params):
        found.setdefault(number, {})[kind] = count
    begins = [last - back * _HOUR for back in reversed(range(_HOURS))]
    return [HourRow(hour=hour, **found.get(t.ticks(hour) // _HOUR_TICKS, {})) for hour in begins]


def latency(conn: Connection, names: Sequence[str], now: datetime) -> LatencyRow:
    """The number of messages sent in the last day, and how long the newest of them took."""
    sent, seconds = 0, list[float]()
    limit = LATENCY_SAMPLE // max(1, len(names))
    for name in names:
        params = {"destination": name, "since": now - _DAY}
        sent += conn.scalar(_COUNT_SENT, params) or 0
        seconds += [took / 1e6 for took in conn.scalars(_TOOK, params | {"limit": limit})]
    seconds.sort()
    return LatencyRow(sent=sent, p50_s=_quantile(seconds, 0.5), p99_s=_quantile(seconds, 0.99))


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)


# --- destinations -------------------------------------------------------------

_COUNT_ATTEMPTS = sql("""
SELECT COALESCE(SUM(CASE WHEN outcome = 'sent' THEN 1 ELSE 0 END), 0) AS sent,
  COALESCE(SUM(CASE WHEN outcome <> 'sent' THEN 1 ELSE 0 END), 0) AS failed, COUNT(*) AS started
FROM attempts WHERE destination = :destination AND started_at >= :since
""")
_LATEST_ATTEMPTS = row_query("""
SELECT started_at AS at, COALESCE(outcome, 'no answer yet') AS outcome, status, reason, members
FROM attempts WHERE destination = :destination ORDER BY started_at DESC, seq DESC LIMIT 20
""")


def destinations(
    conn: Connection,
    now: datetime,
    services: Mapping[str, str],
    rates: Mapping[str, Rate | None],
) -> list[DestinationRow]:
    """The state of each destination with its service, rate, and latest attempts."""

    def attempts(name: str, since: datetime) -> Any:
        params = {"destination": name, "since": since}
        return conn.execute(_COUNT_ATTEMPTS, params).one()

    def row(state: DestinationStatus) -> DestinationRow:
        rate, day = rates.get(state.name), attempts(state.name, now - _DAY)
        return DestinationRow(
            **{field: getattr(state, field) for field in state.__struct_fields__},
            service=services.get(state.name),
            rate=None if rate is None else format_rate(rate),
            used=None if rate is None else attempts(state.name, now - rate.per).started,
            sent_24h=day.sent,
            failed_24h=day.failed,
            tries=fetch(conn, _LATEST_ATTEMPTS, AttemptRow, destination=state.name),
        )

    return [row(state) for state in destination_status(conn, now)]


def format_rate(rate: Rate) -> str:
    """A rate as in the configuration: `1/s`, `10/m`."""
    seconds = rate.per.total_seconds()
    units: Mapping[float, str] = {1: "s", 60: "m", 3600: "h", 86400: "d"}
    return f"{rate.count}/{units.get(seconds) or f'{seconds:g}s'}"


# --- routes -------------------------------------------------------------------

_COUNT_BY_ROUTE = sql("""
SELECT route, kind, COUNT(DISTINCT event_id) FROM deliveries
WHERE event_id IN (SELECT id FROM events WHERE seen_at >= :since) GROUP BY route, kind
""")
#: An event is there once for each destination.
_LATEST_OF_ROUTE = row_query("""
SELECT e.id AS event_id, e.kind, e.at, m.title, e.milestone_id
FROM deliveries d JOIN events e ON e.id = d.event_id LEFT JOIN milestones m ON m.id = e.milestone_id
WHERE d.route = :route ORDER BY d.seq DESC LIMIT :limit
""")


def routes(conn: Connection, configured: Sequence[Route], now: datetime) -> list[RouteRow]:
    """The routes in their order, with the events that each matched in the last day."""
    counts: dict[str, dict[str, int]] = {}
    for name, kind, count in conn.execute(_COUNT_BY_ROUTE, {"since": now - _DAY}):
        counts.setdefault(name, {})[kind] = count
    return [
        RouteRow(
            name=route.name,
            match=_match(route),
            to=route.to,
            stop=route.stop,
            reminders=[format_duration(lead) for lead in route.reminders],
            events_24h=counts.get(route.name, {}),
            latest=_latest(conn, route),
        )
        for route in configured
    ]


def _match(route: Route) -> Patterns:
    """The keys and patterns of a route, as in the configuration."""
    keys = {
        "events": [kind.value for kind in Kind if kind in route.match.events],
        **{key: list(patterns) for key, patterns in route.match.fields},
        "changed": list(route.match.changed),
    }
    return {key: patterns for key, patterns in keys.items() if patterns}


def _latest(conn: Connection, route: Route) -> list[LatestEvent]:
    limit = LATEST_EVENTS * max(1, len(route.to))
    rows = fetch(conn, _LATEST_OF_ROUTE, LatestEvent, route=route.name, limit=limit)
    return list({row.event_id: row for row in rows}.values())[:LATEST_EVENTS]
