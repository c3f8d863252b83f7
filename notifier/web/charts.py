"""
Geometry of the charts on the overview: upcoming starts, and events per hour.

Horizontal positions are in percent, so that a chart fits every width without scaling its
text; vertical ones are in pixels. The template draws the SVG, the style sheet colours it.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.domain.models import Kind
from notifier.messages.escaping import clean
from notifier.messages.humanize import instant, on_the_wall, readable
from notifier.storage.rows import HourRow, StartRow
from notifier.web.filters import counted, format_instant, title_of

_HOUR = timedelta(hours=1)
_DAY = timedelta(hours=24)
#: The query returns at most this many starts; the timeline ends with the last of them.
_MAX_STARTS = 200
#: Rows of the timeline; rarer types share the last one.
_MAX_LANES = 6
_LANE_PX, _TOP_PX, _BOTTOM_PX = 48, 6, 26
#: Starts within this share of the timeline are drawn as one mark.
_MERGE_WITHIN = 1 / 120
_MIN_RADIUS, _MAX_RADIUS = 5.0, 13.0
#: Titles that the label of a mark lists.
_MAX_TITLES = 4
#: Up to this length, the timeline has a label for each hour.
_SHORT_HOURS = 8
_BARS_PX = 150
#: A label closer than this to an edge, in percent, would be cut off.
_EDGE = 2.0
#: The top of an axis: one of these times a power of ten.
_AXIS_STEPS = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A full hour on the time axis."""

    x: float
    at: str
    label: str
    #: Hidden on narrow screens.
    minor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One or more starts at about the same time."""

    x: float
    radius: float
    count: int
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The starts of one type of milestone."""

    y: int
    label: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The starts of the next 24 hours, or of fewer hours if there are very many."""

    hours: int
    height: int
    lanes: Sequence[Lane]
    ticks: Sequence[Tick]
    label: str


def timeline(starts: Sequence[StartRow], *, now: datetime, zone: ZoneInfo) -> Timeline:
    """Lay out the next starts by type."""
    length = _DAY
    if len(starts) >= _MAX_STARTS:
        length = min(max(math.ceil((starts[-1].start - now) / _HOUR), 1) * _HOUR, _DAY)
    hours = length // _HOUR
    lanes = [
        Lane(
            y=_TOP_PX + i * _LANE_PX,
            label=f"{name} ({len(rows)})",
            marks=list(_marks(rows, length, now=now, zone=zone)),
        )
        for i, (name, rows) in enumerate(_by_type(starts))
    ]
    busiest = ", ".join(lane.label for lane in lanes)
    return Timeline(
        hours=hours,
        height=_TOP_PX + len(lanes) * _LANE_PX + _BOTTOM_PX,
        lanes=lanes,
        ticks=list(_ticks(now, length, zone, every=3 if hours > _SHORT_HOURS else 1)),
        label=f"{counted(len(starts), 'start')} in the next {counted(hours, 'hour')}: {busiest}.",
    )


def _by_type(starts: Sequence[StartRow]) -> Iterator[tuple[str, list[StartRow]]]:
    """Group starts by type, the most frequent first; rare types share the last group."""
    groups: defaultdict[str, list[StartRow]] = defaultdict(list)
    for row in starts:
        groups[readable(clean(row.type or row.category, 40)) or "other"].append(row)
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ranked) <= _MAX_LANES:
        yield from ranked
        return
    yield from ranked[: _MAX_LANES - 1]
    rare = [row for _, rows in ranked[_MAX_LANES - 1 :] for row in rows]
    yield "other", sorted(rare, key=lambda row: row.start)


def _marks(
    rows: Sequence[StartRow], length: timedelta, *, now: datetime, zone: ZoneInfo
) -> Iterator[Mark]:
    """Merge starts that are close together into one mark each."""
    groups: list[list[StartRow]] = []
    for row in rows:
        if not now <= row.start <= now + length:
            continue
        if groups and row.start - groups[-1][0].start <= length * _MERGE_WITHIN:
            groups[-1].append(row)
        else:
            groups.append([row])
    for group in groups:
        first, count = group[0].start, len(group)
        middle = first + (group[-1].start - first) / 2
        titles = "; ".join(title_of(row) for row in group[:_MAX_TITLES])
        more = f" and {count - _MAX_TITLES} more" if count > _MAX_TITLES else ""
        radius = _MIN_RADIUS
        if count > 1:
            radius = min(_MAX_RADIUS, _MIN_RADIUS + 2.2 * math.sqrt(count))
        yield Mark(
            x=_percent(middle - now, length),
            radius=round(radius, 1),
            count=count,
            label=f"{instant(first, zone=zone, now=now)}: {titles}{more}",
        )


def _ticks(begin: datetime, length: timedelta, zone: ZoneInfo, *, every: int) -> Iterator[Tick]:
    """Every n-th full hour of the zone's clocks."""
    at = begin.replace(minute=0, second=0, microsecond=0)
    while (at := at + _HOUR) <= begin + length:
        local, x = on_the_wall(at, zone), _percent(at - begin, length)
        if local.hour % every == 0 and _EDGE <= x <= 100 - _EDGE:
            minor = bool(local.hour % (2 * every))
            yield Tick(x=x, at=format_instant(at), label=f"{local:%H:%M}", minor=minor)


def _percent(part: timedelta, whole: timedelta) -> float:
    return round(100 * (part / whole), 2)


# --- events per hour ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The events of one kind within a bar."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The events of one hour."""

    x: float
    width: float
    segments: Sequence[Segment]
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GridLine:
    """A horizontal line at a number of events."""

    y: float
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Events per hour, stacked by kind."""

    height: int
    #: The position of the time axis.
    axis: int
    bars: Sequence[Bar]
    lines: Sequence[GridLine]
    ticks: Sequence[Tick]
    totals: Mapping[str, int]
    label: str


def bar_chart(hours: Sequence[HourRow], *, zone: ZoneInfo, now: datetime) -> BarChart:
    """Lay out the events per hour."""
    counts = [{kind.value: int(getattr(row, kind.value)) for kind in Kind} for row in hours]
    totals = sum(map(Counter, counts), Counter[str]())
    busiest = max((sum(one.values()) for one in counts), default=0)
    top, axis = _axis_top(busiest), _BARS_PX + 14
    width = 100 / max(len(hours), 1)
    return BarChart(
        height=axis + _BOTTOM_PX - 4,
        axis=axis,
        bars=[
            Bar(
                x=round(i * width + width * 0.12, 3),
                width=round(width * 0.76, 3),
                segments=list(_segments(by_kind, top, axis)),
                label=f"{instant(row.hour, zone=zone, now=now)}: "
                + (", ".join(f"{n} {kind}" for kind, n in by_kind.items() if n) or "no events"),
            )
            for i, (row, by_kind) in enumerate(zip(hours, counts, strict=True))
        ],
        lines=[
            GridLine(y=axis - _BARS_PX * share, label=counted(int(top * share), "event"))
            for share in (0.5, 1.0)
            if busiest and top * share >= 1
        ],
        ticks=list(_ticks(hours[0].hour, _HOUR * len(hours), zone, every=6)) if hours else [],
        totals={kind.value: totals[kind.value] for kind in Kind},
        label=f"{counted(totals.total(), 'event')} in the last {len(hours)} hours, "
        f"at most {busiest:,} in one hour.",
    )


def _axis_top(count: int) -> int:
    """The next round, even number: half of it is the lower grid line."""
    power: int = 10 ** (len(str(count)) - 1)
    candidates = (round(step * power) for step in _AXIS_STEPS)
    return next(one for one in candidates if one >= max(count, 2) and one % 2 == 0)


def _segments(counts: Mapping[str, int], top: int, axis: int) -> Iterator[Segment]:
    """Stack the kinds from the axis upwards."""
    y = float(axis)
    for kind, count in counts.items():
        if count:
            height = _BARS_PX * count / top
            y -= height
            yield Segment(kind=kind, y=round(y, 1), height=round(height, 1))
