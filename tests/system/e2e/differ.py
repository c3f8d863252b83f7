"""
What should have been told, from the pages that the API served.

It shares nothing with the program's own differ.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from e2e.village import Page
from notifier.domain.models import Json

#: Two lanes read side by side: of two answers so close together either may be
#: committed first, and the older one is then rightly not believed.
_CLOSE = timedelta(seconds=1)


@dataclass(frozen=True, kw_only=True)
class Sight:
    """One milestone on one page that was served."""

    at: datetime
    lane: str
    content: str
    start: str
    #: Nobody can tell whether the page came, and was committed before a death.
    maybe: bool


def content(row: Mapping[str, Json]) -> str:
    kept = {
        key: sorted(map(str, value)) if isinstance(value, list) else value
        for key, value in row.items()
        if key != "last_updated_ts" and value is not None
    }
    return json.dumps(kept, sort_keys=True)


#: From one request to another the wire failed: nobody knows which answers came.
Span = tuple[int, int]


def sights(
    pages: Sequence[Page], deaths: Sequence[int], lost_on_the_way: Sequence[Span] = ()
) -> dict[str, list[Sight]]:
    """By milestone: what was shown of it, in the order of the API."""
    beginnings = [begin for begin, _ in lost_on_the_way]
    uncertain = {number for at in (*deaths, *beginnings) for number in _last_of_lanes(pages, at)}
    uncertain |= {n for begin, end in lost_on_the_way for n in range(begin, end + 1)}
    found: dict[str, list[Sight]] = defaultdict(list)
    for page in pages:
        for row in page.rows:
            found[str(row["id"])].append(
                Sight(
                    at=page.at,
                    lane=page.lane,
                    content=content(row),
                    start=str(row["start_date"]),
                    maybe=page.number in uncertain,
                )
            )
    return found


def _last_of_lanes(pages: Sequence[Page], death: int) -> Iterator[int]:
    """The pages that each lane was on when the process died."""
    for lane in ("poll", "sweep"):
        served = [p.number for p in pages if p.lane == lane and p.number <= death]
        yield from served[-1:]


def _is_overtaken(sight: Sight, later: Sequence[Sight]) -> bool:
    return any(
        other.lane != sight.lane
        and other.content != sight.content
        and other.at - sight.at <= _CLOSE
        for other in later
    )


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The fewest mistakes that explain what was told."""

    #: Changes that were shown and not told.
    lost: int
    #: Changes that were told and not shown.
    spurious: int

    @property
    def size(self) -> int:
        return self.lost + self.spurious


_NONE = Gap(lost=0, spurious=0)


def gap(seen: Sequence[Sight], told: Sequence[str], *, is_known: bool) -> Gap:
    """
    How what was told of a milestone differs from what was shown of it.

    A milestone that was known before anything was told begins in silence.
    """
    if is_known:
        return _distance(seen, [seen[0].content, *told])
    surely = next((n for n, one in enumerate(seen) if not one.maybe), len(seen))
    if not told:
        return Gap(lost=int(surely < len(seen)), spurious=0)
    beginnings = [n for n, one in enumerate(seen[: surely + 1]) if one.content == told[0]]
    if not beginnings:
        return _distance(seen, [seen[0].content, *told])
    return min((_distance(seen[n:], told) for n in beginnings), key=lambda one: one.size)


def _distance(seen: Sequence[Sight], chain: Sequence[str]) -> Gap:
    """The fewest mistakes, given that the chain begins where the sights do."""
    reached = {0: _NONE}
    for n, sight in enumerate(seen):
        may_skip = sight.maybe or _is_overtaken(sight, seen[n + 1 : n + 40])
        following: dict[int, Gap] = {}
        for at, so_far in reached.items():
            for to, price in _steps(sight, chain, at, may_skip=may_skip):
                cost = Gap(
                    lost=so_far.lost + price.lost,
                    spurious=so_far.spurious + price.spurious,
                )
                if to not in following or cost.size < following[to].size:
                    following[to] = cost
        reached = following
    ends = [
        Gap(lost=one.lost, spurious=one.spurious + len(chain) - 1 - at)
        for at, one in reached.items()
    ]
    return min(ends, key=lambda one: one.size)


def _steps(
    sight: Sight, chain: Sequence[str], at: int, *, may_skip: bool
) -> Iterator[tuple[int, Gap]]:
    """Where a sight may lead, and at what price."""
    if sight.content == chain[at]:
        yield at, _NONE
        return
    yield at, _NONE if may_skip else Gap(lost=1, spurious=0)
    for to in range(at + 1, len(chain)):
        if chain[to] == sight.content:
            yield to, Gap(lost=0, spurious=to - at - 1)
