"""
`/metrics`: the tally and how things stand, as Prometheus reads them.

Labels are names of the configuration and words of ours: there are few of them, and
nothing of Kalshi's is among them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from notifier.domain.metrics import LATENCY_S, READ_S, REASONS, Histogram, Tally
from notifier.domain.models import Kind
from notifier.storage.database import RunInThread
from notifier.storage.tail import Gauges, Standing, Tail

PREFIX = "notifier_"
_READS = ("baseline", "full", "poll", "sweep")
_OUTCOMES = ("sent", "failed", "refused", "ambiguous", "cut_off")
_SUPPRESSED = ("silence", "quiet", "superseded", "expired", "dropped")


def metrics(
    tail: Tail,
    tally: Tally,
    *,
    version: str,
    skew: Callable[[], timedelta | None],
    offload: RunInThread,
) -> list[BaseRoute]:
    """`/metrics`, in the text format that the reader prefers."""

    async def scraped(request: Request) -> Response:
        gauges = await tail.catch_up()
        accept = request.headers.get("accept", "")
        told = partial(spelled, tally, gauges, version=version, skew=skew(), accept=accept)
        body, media = await offload(told)
        return Response(body, headers={"content-type": media, "cache-control": "no-store"})

    return [Route("/metrics", scraped)]


def spelled(
    tally: Tally,
    gauges: Gauges,
    *,
    version: str,
    skew: timedelta | None,
    accept: str = "",
) -> tuple[bytes, str]:
    """All metrics as text, and its media type."""
    registry = CollectorRegistry()
    registry.register(_Told([*_facts(tally, gauges, version), *_clock(skew)]))
    ProcessCollector(registry=registry)
    encode, media = choose_encoder(accept)
    return encode(registry), media


class _Told(Collector):
    """What was collected already."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> Iterable[Metric]:
        return self._found


def _facts(tally: Tally, gauges: Gauges, version: str) -> Iterator[Metric]:
    yield _gauge("build_info", "The program.", {(version,): 1.0}, ("version",))
    yield from _configuration(tally)
    yield from _reading(tally, gauges)
    yield from _telling(tally, gauges)
    yield from _waiting(gauges)


def _configuration(tally: Tally) -> Iterator[Metric]:
    yield _gauge(
        "config_last_reload_successful",
        "Whether the last reload of the configuration was a good one.",
        {(): float(not tally.reload_failed)},
    )
    loaded = tally.reloaded_at or tally.began_at
    if loaded is not None:
        yield _gauge(
            "config_last_reload_success_timestamp_seconds",
            "Since when the configuration has been in force.",
            {(): loaded.timestamp()},
        )


def _reading(tally: Tally, gauges: Gauges) -> Iterator[Metric]:
    runs = {(kind, result): 0 for kind in _READS for result in ("complete", "failed")}
    yield _counter(
        "read_runs",
        "Reads of the list that have ended.",
        runs | dict(tally.reads),
        ("kind", "result"),
    )
    yield _histogram(
        "read_duration_seconds",
        "How long complete reads took, from their first request.",
        {(kind,): tally.read_s.get(kind, Histogram(READ_S)) for kind in _READS},
        ("kind",),
    )
    yield _gauge(
        "read_last_success_timestamp_seconds",
        "When the last complete read began, of the watch that waits longest.",
        {(kind,): at.timestamp() for kind, at in gauges.read_at.items()},
        ("kind",),
    )
    yield _gauge("milestones", "Milestones that are listed.", {(): float(gauges.milestones)})
    yield _counter(
        "events",
        "Events that were stored.",
        {(kind.value,): tally.events[kind.value] for kind in Kind},
        ("kind",),
    )


def _telling(tally: Tally, gauges: Gauges) -> Iterator[Metric]:
    homes = gauges.destinations
    # What is there from the beginning shows its first rise.
    tried = {(name, outcome): 0 for name in homes for outcome in _OUTCOMES}
    failed = {(name, reason): 0 for name in homes for reason in REASONS}
    yield _counter(
        "notifications",
        "Requests to destinations, each with one event or many.",
        tried | dict(tally.tries),
        ("destination", "outcome"),
    )
    yield _counter(
        "notifications_failed",
        "Those of them that were not sent, as far as is known.",
        failed | dict(tally.failures),
        ("destination", "reason"),
    )
    yield _counter(
        "notifications_suppressed",
        "Deliveries that ended without being sent.",
        {(reason,): tally.untold[reason] for reason in _SUPPRESSED},
        ("reason",),
    )
    yield _counter(
        "dead_lettered",
        "Deliveries that were given up.",
        {(): tally.untold["dead"]},
    )
    yield _counter(
        "repeats_possible",
        "Requests that may have arrived though no answer came.",
        {(name,): tally.repeats[name] for name in {*homes, *tally.repeats}},
        ("destination",),
    )
    yield _histogram(
        "notification_latency_seconds",
        "From when an event was seen until it was sent.",
        {
            (name,): tally.latency_s.get(name, Histogram(LATENCY_S))
            for name in {*homes, *tally.latency_s}
        },
        ("destination",),
    )
    yield _histogram(
        "start_lateness_seconds",
        "From the start of a milestone until that was sent.",
        {(): tally.lateness_s},
    )


def _waiting(gauges: Gauges) -> Iterator[Metric]:
    homes, label = gauges.destinations, ("destination",)

    def each(value: Callable[[Standing], float]) -> dict[tuple[str, ...], float]:
        return {(name,): value(one) for name, one in homes.items()}

    yield _gauge("pending", "Deliveries that wait.", each(lambda one: one.pending), label)
    yield _gauge(
        "held",
        "Those of them that quiet hours or a digest keep back.",
        each(lambda one: one.held),
        label,
    )
    yield _gauge(
        "oldest_pending_age_seconds",
        "For how long the oldest has been owed that is not kept back.",
        each(lambda one: _age(one.oldest, gauges.now)),
        label,
    )
    yield _gauge(
        "dead_letters",
        "Deliveries that were given up and wait for a person.",
        each(lambda one: one.dead),
        label,
    )
    yield _gauge(
        "destination_suspended",
        "Whether the destination refuses everything.",
        each(lambda one: float(one.suspended)),
        label,
    )
    yield _gauge(
        "destination_down",
        "Whether the destination seems to be down: only probes go there.",
        each(lambda one: float(one.open)),
        label,
    )


def _clock(skew: timedelta | None) -> Iterator[Metric]:
    if skew is not None:
        yield _gauge(
            "clock_offset_seconds",
            "How far the machine's clock is behind Kalshi's; corrected for.",
            {(): skew.total_seconds()},
        )


def _age(since: datetime | None, now: datetime) -> float:
    return 0.0 if since is None else max(0.0, (now - since).total_seconds())


# --- families -----------------------------------------------------------------

_Labels = tuple[str, ...]
Key = TypeVar("Key", bound=tuple[str, ...])


def _gauge(name: str, words: str, values: Mapping[Key, float], labels: _Labels = ()) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, words, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _counter(name: str, words: str, values: Mapping[Key, float], labels: _Labels = ()) -> Metric:
    family = CounterMetricFamily(PREFIX + name, words, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value)
    return family


def _histogram(
    name: str, words: str, values: Mapping[Key, Histogram], labels: _Labels = ()
) -> Metric:
    family = HistogramMetricFamily(PREFIX + name, words, labels=labels)
    for key, value in sorted(values.items()):
        family.add_metric(key, value.buckets, value.total)
    return family
