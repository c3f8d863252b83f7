"""
The metrics of the process, counted by the workers where things happen.

Counters and histograms begin anew with the process; a reload of the configuration
keeps them. Gauges are set from the database at each scrape. Labels are names of the
configuration and fixed words: no text of Kalshi's is one.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

from notifier.domain.models import Ambiguous, Event, Failed, Kind, Outcome, Refused, Sent, State
from notifier.storage.gauges import Gauges

#: Seconds; what quiet hours or a digest hold takes hours.
_LATENCY = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
    *(300.0, 900.0, 3600.0, 14400.0, 86400.0),
)
_LATENESS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0)
_DURATION = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0)
_READS = ("baseline", "full", "poll", "sweep")
_OUTCOMES = ("sent", "failed", "refused", "ambiguous", "cut_off")
_REASONS = (
    *("no_answer", "cut_off", "refused"),
    *("rate_limited", "unavailable", "unreachable"),
)
_SUPPRESSED = ("silence", "quiet", "superseded", "expired", "dropped")
_TOO_MANY_REQUESTS = 429

# A counter's time of creation would be a second series for each.
disable_created_metrics()  # type: ignore[no-untyped-call]  # untyped upstream


class Metrics:
    """All metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"notifier_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"notifier_{name}", text, labels, registry=registry)

        def histogram(name: str, text: str, buckets: Sequence[float], *labels: str) -> Histogram:
            return Histogram(f"notifier_{name}", text, labels, buckets=buckets, registry=registry)

        self._build_info = gauge("build_info", "The program.", "version")
        self._reload_successful = gauge(
            "config_last_reload_successful", "Whether the last reload was accepted."
        )
        self._reloaded_at = gauge(
            "config_last_reload_success_timestamp_seconds",
            "When the configuration in force was loaded.",
        )
        self._reads = counter("read_runs", "Reads of the list that ended.", "kind", "result")
        self._read_duration = histogram(
            "read_duration_seconds", "Duration of complete reads.", _DURATION, "kind"
        )
        self._last_read = gauge(
            "read_last_success_timestamp_seconds",
            "When the last complete read began, of the watch that waits longest.",
            "kind",
        )
        self._milestones = gauge("milestones", "Milestones that are listed.")
        self._events = counter("events", "Events that were stored.", "kind")
        self._attempts = counter(
            "notifications",
            "Requests to destinations, each with one event or many.",
            *("destination", "outcome"),
        )
        self._failures = counter(
            "notifications_failed", "Requests that were not sent.", "destination", "reason"
        )
        self._suppressed = counter(
            "notifications_suppressed", "Deliveries that ended without being sent.", "reason"
        )
        self._dead = counter("dead_lettered", "Deliveries that were given up.")
        self._repeats = counter(
            "repeats_possible",
            "Requests that may have arrived though no answer came.",
            "destination",
        )
        self._latency = histogram(
            "notification_latency_seconds",
            "From when an event was seen until it was sent.",
            _LATENCY,
            "destination",
        )
        self._lateness = histogram(
            "start_lateness_seconds", "From a milestone's start until it was sent.", _LATENESS
        )
        self._pending = gauge("pending", "Pending deliveries.", "destination")
        self._held = gauge(
            "held", "Pending deliveries that quiet hours or a digest hold.", "destination"
        )
        self._oldest = gauge(
            "oldest_pending_age_seconds",
            "Age of the oldest pending delivery that is not held.",
            "destination",
        )
        self._dead_letters = gauge("dead_letters", "Dead letters.", "destination")
        self._is_suspended = gauge(
            "destination_suspended", "Whether the destination is suspended.", "destination"
        )
        self._is_down = gauge(
            "destination_down", "Whether the destination's circuit breaker is open.", "destination"
        )
        #: Registered once the offset is known: 0 would be a statement.
        self._clock_offset = Gauge(
            "notifier_clock_offset_seconds",
            "How far the machine's clock is behind Kalshi's; it is corrected for.",
            registry=None,
        )
        self._is_offset_known = False
        # A series that begins at 0 shows its first increase.
        for kind in Kind:
            self._events.labels(kind.value)
        for read in _READS:
            self._read_duration.labels(read)
            for result in ("complete", "failed"):
                self._reads.labels(read, result)
        for reason in _SUPPRESSED:
            self._suppressed.labels(reason)

    def started(self, version: str, destinations: Iterable[str], now: datetime) -> None:
        """Begin, or go on with another configuration."""
        self._build_info.labels(version).set(1)
        self._reload_successful.set(1)
        self._reloaded_at.set(now.timestamp())
        for name in destinations:
            self._repeats.labels(name)
            self._latency.labels(name)
            for outcome in _OUTCOMES:
                self._attempts.labels(name, outcome)
            for reason in _REASONS:
                self._failures.labels(name, reason)

    def reload_rejected(self) -> None:
        """A new configuration was refused; the one before stays in force."""
        self._reload_successful.set(0)

    def count_events(self, events: Iterable[Event]) -> None:
        """Events that were committed."""
        for event in events:
            self._events.labels(event.kind.value).inc()

    def count_read(self, kind: str, took: timedelta | None) -> None:
        """A read that ended; `took` is None when it failed."""
        self._reads.labels(kind, "failed" if took is None else "complete").inc()
        if took is not None:
            self._read_duration.labels(kind).observe(took.total_seconds())

    def count_attempt(
        self, destination: str, outcome: Outcome, events: Iterable[Event], *, at: datetime
    ) -> None:
        """An attempt that was settled, and the events of its message."""
        name = type(outcome).__name__.lower()
        self._attempts.labels(destination, name).inc()
        if not isinstance(outcome, Sent):
            self._failures.labels(destination, _failure(outcome)).inc()
            if isinstance(outcome, Ambiguous):
                self._repeats.labels(destination).inc()
            return
        for event in events:
            # The clock is corrected now and then: what is negative counts as nothing.
            latency = max(0.0, (at - event.seen_at).total_seconds())
            self._latency.labels(destination).observe(latency)
            if event.kind is Kind.STARTED:
                self._lateness.observe(max(0.0, (at - event.at).total_seconds()))

    def count_cut_off(self, destination: str, attempts: int) -> None:
        """Attempts whose lease ran out: each may have arrived."""
        self._attempts.labels(destination, "cut_off").inc(attempts)
        self._failures.labels(destination, "cut_off").inc(attempts)
        self._repeats.labels(destination).inc(attempts)

    def count_unsent(self, state: State, reason: str | None, deliveries: int = 1) -> None:
        """Deliveries that ended without being sent."""
        if state is State.DEAD:
            self._dead.inc(deliveries)
        elif state is not State.DELIVERED:
            self._suppressed.labels(_suppression(state, reason or "")).inc(deliveries)

    def exposition(
        self, gauges: Gauges, clock_offset: timedelta | None, accept: str
    ) -> tuple[bytes, str]:
        """All metrics in the format that `accept` prefers, and its media type."""
        self._milestones.set(gauges.milestones)
        self._last_read.clear()
        for kind, when in gauges.read_at.items():
            self._last_read.labels(kind).set(when.timestamp())
        by_destination = (
            *(self._pending, self._held, self._oldest),
            *(self._dead_letters, self._is_suspended, self._is_down),
        )
        for family in by_destination:
            family.clear()
        for name, one in gauges.destinations.items():
            age = 0.0 if one.oldest is None else (gauges.now - one.oldest).total_seconds()
            values = (one.pending, one.held, max(0.0, age), one.dead, one.suspended, one.open)
            for family, value in zip(by_destination, values, strict=True):
                family.labels(name).set(value)
        if clock_offset is not None:
            self._clock_offset.set(clock_offset.total_seconds())
            if not self._is_offset_known:
                self.registry.register(self._clock_offset)
                self._is_offset_known = True
        encode, media_type = choose_encoder(accept)
        return encode(self.registry), media_type


def _failure(outcome: Ambiguous | Failed | Refused) -> str:
    """The class of a failure, of which there are few."""
    match outcome:
        case Ambiguous():
            return "no_answer"
        case Refused():
            return "refused"
        case Failed(status=status) if status == _TOO_MANY_REQUESTS:
            return "rate_limited"
        case Failed(status=None):
            return "unreachable"
        case _:
            return "unavailable"


def _suppression(state: State, reason: str) -> str:
    if reason.startswith("silenced"):
        return "silence"
    # What is of no use after quiet hours expires at their beginning.
    return "quiet" if reason.startswith("quiet hours") else state.value
