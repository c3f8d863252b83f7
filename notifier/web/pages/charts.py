"""
(what happened, what lies ahead) -> where each mark of a picture stands.

Across, everything is in percent, so that a picture fits every width and its letters
keep their size; down, in pixels. The templates draw, the style sheet colours.
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
from notifier.web.pages.filters import counted, stamp, titled

_HOUR = timedelta(hours=1)
_AHEAD = timedelta(hours=24)
#: So many starts at most are told; the picture ends with the last of them.
_MOST = 200
#: Lanes of the timeline; what is rarer shares the last one.
_LANES = 6
_LANE_PX, _HEAD_PX, _FOOT_PX = 48, 6, 26
#: Starts that are nearer to each other than this part of the picture share one mark.
_TOGETHER = 1 / 120
#: Radius of a mark for one start, and for very many.
_SMALL, _LARGE = 5.0, 13.0
#: Titles that the words of one mark name.
_NAMED = 4
#: In a picture of no more hours each has its words.
_FEW = 8

_BARS_PX = 150
#: Nearer to an edge, in percent, the words of an hour would be cut.
_EDGE = 2.0
#: Numbers at the top of an axis, in units of its power of ten.
_STEPS = (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """A line across time, and its words."""

    x: float
    at: str
    words: str
    #: Left out where there is little room.
    minor: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Starts of one kind at one time."""

    x: float
    radius: float
    count: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """Starts of one type of milestone."""

    y: int
    words: str
    marks: Sequence[Mark]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """The next starts: of 24 hours, or of as long as is known of."""

    hours: int
    height: int
    lanes: Sequence[Lane]
    ticks: Sequence[Tick]
    words: str


def timeline(starts: Sequence[StartRow], *, now: datetime, zone: ZoneInfo) -> Timeline:
    """The next starts by type; those that happen together are one mark."""
    length = _length(starts, now)
    hours = length // _HOUR
    lanes = [
        Lane(
            y=_HEAD_PX + i * _LANE_PX,
            words=f"{name} ({len(rows)})",
            marks=list(_marks(rows, length, now=now, zone=zone)),
        )
        for i, (name, rows) in enumerate(_by_type(starts))
    ]
    busiest = ", ".join(lane.words for lane in lanes)
    return Timeline(
        hours=hours,
        height=_HEAD_PX + len(lanes) * _LANE_PX + _FOOT_PX,
        lanes=lanes,
        ticks=list(_hours(now, length, zone, every=3 if hours > _FEW else 1)),
        words=f"{counted(len(starts), 'start')} in the next {counted(hours, 'hour')}: {busiest}.",
    )


def _length(starts: Sequence[StartRow], now: datetime) -> timedelta:
    """A day; or until the last start that is told, where there are more."""
    last = starts[-1].start if len(starts) >= _MOST else None
    if last is None:
        return _AHEAD
    hours = math.ceil((last - now) / _HOUR)
    return min(max(hours, 1) * _HOUR, _AHEAD)


def _by_type(starts: Sequence[StartRow]) -> Iterator[tuple[str, list[StartRow]]]:
    """The commonest types first; what is left shares the last lane."""
    known: defaultdict[str, list[StartRow]] = defaultdict(list)
    for row in starts:
        known[readable(clean(row.type or row.category, 40)) or "other"].append(row)
    ranked = sorted(known.items(), key=lambda item: (-len(item[1]), item[0]))
    if len(ranked) <= _LANES:
        yield from ranked
        return
    yield from ranked[: _LANES - 1]
    rest = [row for _, rows in ranked[_LANES - 1 :] for row in rows]
    yield "other", sorted(rest, key=lambda row: row.start)


def _marks(
    rows: Sequence[StartRow], length: timedelta, *, now: datetime, zone: ZoneInfo
) -> Iterator[Mark]:
    group: list[tuple[datetime, StartRow]] = []
    for row in rows:
        start = row.start
        if not now <= start <= now + length:
            continue
        if group and start - group[0][0] > length * _TOGETHER:
            yield _mark(group, length, now=now, zone=zone)
            group = []
        group.append((start, row))
    if group:
        yield _mark(group, length, now=now, zone=zone)


def _mark(
    group: Sequence[tuple[datetime, StartRow]],
    length: timedelta,
    *,
    now: datetime,
    zone: ZoneInfo,
) -> Mark:
    first, count = group[0][0], len(group)
    middle = first + (group[-1][0] - first) / 2
    named = "; ".join(titled(row) for _, row in group[:_NAMED])
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    radius = _SMALL if count == 1 else min(_LARGE, _SMALL + 2.2 * math.sqrt(count))
    return Mark(
        x=_percent(middle - now, length),
        radius=round(radius, 1),
        count=count,
        words=f"{instant(first, zone=zone, now=now)}: {named}{more}",
    )


def _percent(part: timedelta, whole: timedelta) -> float:
    return round(100 * (part / whole), 2)


def _hours(begin: datetime, length: timedelta, zone: ZoneInfo, *, every: int) -> Iterator[Tick]:
    """Full hours of that zone's clocks."""
    at = begin.replace(minute=0, second=0, microsecond=0)
    while (at := at + _HOUR) <= begin + length:
        wall, x = on_the_wall(at, zone), _percent(at - begin, length)
        if wall.hour % every or not _EDGE <= x <= 100 - _EDGE:
            continue
        yield Tick(
            x=x,
            at=stamp(at),
            words=f"{wall:%H:%M}",
            minor=bool(wall.hour % (2 * every)),
        )


# --- events per hour ----------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """The events of one kind in one hour."""

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """The events of one hour."""

    x: float
    width: float
    segments: Sequence[Segment]
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line at a number of events."""

    y: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Events per hour, by kind."""

    height: int
    #: Where the bars stand, and the axis is.
    floor: int
    bars: Sequence[Bar]
    lines: Sequence[Line]
    ticks: Sequence[Tick]
    totals: Mapping[str, int]
    words: str


def bars(hours: Sequence[HourRow], *, zone: ZoneInfo, now: datetime) -> Bars:
    """Events per hour; nothing at all makes an empty picture."""
    totals: Counter[str] = Counter()
    for row in hours:
        totals.update({kind.value: _count(row, kind) for kind in Kind})
    most = max((_total(row) for row in hours), default=0)
    top = _round_up(most)
    floor = _BARS_PX + 14
    width = 100 / max(len(hours), 1)
    begin = hours[0].hour if hours else None
    return Bars(
        height=floor + _FOOT_PX - 4,
        floor=floor,
        bars=[
            Bar(
                x=round(i * width + width * 0.12, 3),
                width=round(width * 0.76, 3),
                segments=list(_segments(row, top, floor)),
                words=_hour_words(row, zone=zone, now=now),
            )
            for i, row in enumerate(hours)
        ],
        lines=[
            Line(y=floor - _BARS_PX * share, words=counted(int(top * share), "event"))
            for share in (0.5, 1.0)
            if most and top * share >= 1
        ],
        ticks=[] if begin is None else list(_hours(begin, _HOUR * len(hours), zone, every=6)),
        totals={kind.value: totals[kind.value] for kind in Kind},
        words=f"{counted(totals.total(), 'event')} in the last {len(hours)} hours, "
        f"{number_words(most)} in the busiest hour.",
    )


def number_words(most: int) -> str:
    """How many were in the busiest hour."""
    return f"{most:,} of them" if most else "none"


def _count(row: HourRow, kind: Kind) -> int:
    return int(getattr(row, kind.value))


def _total(row: HourRow) -> int:
    return sum(_count(row, kind) for kind in Kind)


def _round_up(most: int) -> int:
    """The next number that reads well on an axis; half of it is a number as well."""
    power: int = 10 ** (len(str(most)) - 1)
    return next(
        round(step * power)
        for step in _STEPS
        if step * power >= max(most, 2) and step * power % 2 == 0
    )


def _segments(row: HourRow, top: int, floor: int) -> Iterator[Segment]:
    """From the axis upwards, in the order of the kinds."""
    y = float(floor)
    for kind in Kind:
        if count := _count(row, kind):
            height = _BARS_PX * count / top
            y -= height
            yield Segment(kind=kind.value, y=round(y, 1), height=round(height, 1))


def _hour_words(row: HourRow, *, zone: ZoneInfo, now: datetime) -> str:
    hour = f"{instant(row.hour, zone=zone, now=now)}: "
    kinds = [f"{_count(row, kind)} {kind.value}" for kind in Kind if _count(row, kind)]
    return hour + (", ".join(kinds) or "no events")
