"""
A route's calendar: made once, then kept up with what happens.

It is made in pieces that hold nobody up, and looks what has happened since whenever it
is asked for: it makes anew only the entries of those milestones.

Where it has no room for all, what is ahead comes first: its entries are always all
there are between two places.
"""

from array import array
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from zlib import decompress

import anyio

from notifier.domain.calendar import (
    Listed,
    entry,
    lists,
    may_list,
    present,
    window,
)
from notifier.domain.models import Route
from notifier.storage.feed import Mark
from notifier.web.feeds import spell
from notifier.web.feeds.copy import Copy, copied
from notifier.web.feeds.parts import Desk, Place

#: Milestones that are looked at between two breaths of the event loop.
_PIECE = 50
#: After so much it is cheaper to begin again.
_TOO_MUCH = 2000
#: What changes without an event (the ends of a calendar's entries do not) is found
#: so late at most.
_TRUSTED = timedelta(hours=6)
#: Whoever keeps it ready makes it anew before that.
_RENEWED = timedelta(hours=5)
_NEXT = timedelta(microseconds=1)

#: By place: an entry as it is spelled.
_Blocks = dict[Place, bytes]
#: Waits, so that others get on.
_Pause = Callable[[], Awaitable[None]]


async def _at_once() -> None:
    """Somebody waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """How far a calendar goes, and how far the store had come then."""

    mark: Mark
    since: datetime
    until: datetime
    #: What starts from here on comes before all that is past.
    present: datetime
    #: Everything from the first place up to the second is in it.
    begin: Place
    end: Place
    made_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class _State:
    """A calendar, kept small."""

    reach: _Reach
    copy: Copy
    places: Sequence[Place]
    #: Of the head, then of each entry's block, in bytes.
    lengths: Sequence[int]

    def blocks(self) -> _Blocks:
        """The entries; takes milliseconds."""
        body = memoryview(decompress(self.copy.packed))
        found: _Blocks = {}
        at = self.lengths[0]
        lengths = islice(self.lengths, 1, None)
        for place, length in zip(self.places, lengths, strict=True):
            found[place] = bytes(body[at : at + length])
            at += length
        return found


class Calendar:
    """The calendar of one route."""

    def __init__(self, desk: Desk, rule: Route) -> None:
        self._desk = desk
        self._rule = rule
        self._state: _State | None = None
        self._last: Copy | None = None
        self._turn = anyio.Lock()

    async def copy(self) -> Copy:
        """It as it is now."""
        async with self._turn:
            # What happens from here on is found by the next request.
            mark, now = await self._desk.shelf.mark(), self._desk.now()
            known = self._state
            if known is not None and not self._is_good(known.reach, mark, now):
                known = self._state = None
            if known is None:
                self._state = await self._made(mark, now, _at_once)
            elif known.reach.mark != mark or known.reach.present != present(now):
                self._state = await self._kept_up(known, mark, now)
            else:
                return known.copy
            self._last = self._state.copy
            return self._last

    async def ready(self, pause: _Pause) -> None:
        """
        Make sure that nobody has to wait for it; `pause` comes between pieces.

        Whoever asks for it meanwhile is served with what there is.
        """
        mark, now = await self._desk.shelf.mark(), self._desk.now()
        if (known := self._state) is None or self._is_due(known.reach, mark, now):
            made = await self._made(mark, now, pause)
            async with self._turn:
                if self._state is known:
                    self._state = made
        await self.copy()

    def forget(self) -> None:
        """Make room for others; it can be made again."""
        self._state = None

    def _is_due(self, reach: _Reach, mark: Mark, now: datetime) -> bool:
        is_old = now - reach.made_at >= _RENEWED
        return is_old or not self._is_good(reach, mark, now)

    def _is_good(self, reach: _Reach, mark: Mark, now: datetime) -> bool:
        is_young = timedelta(0) <= now - reach.made_at <= _TRUSTED
        is_later = reach.since <= window(now)[0] < reach.until
        # Else the clock was set back: what comes first begins before its first place.
        is_later = is_later and reach.present <= present(now)
        return is_young and is_later and reach.mark.baselines == mark.baselines

    async def _made(self, mark: Mark, now: datetime, pause: _Pause) -> _State:
        since, until = window(now)
        first = (present(now), "")
        reach = _Reach(
            mark=mark,
            since=since,
            until=until,
            present=first[0],
            begin=first,
            end=first,
            made_at=now,
        )
        return await self._filled({}, reach, now, pause)

    async def _kept_up(self, known: _State, mark: Mark, now: datetime) -> _State:
        ids = await self._desk.shelf.changed(known.reach.mark.seq, most=_TOO_MUCH)
        if len(ids) == _TOO_MUCH:
            return await self._made(mark, now, _at_once)
        since, until = window(now)
        fresh: list[tuple[Place, bytes | None]] = []
        for some in _pieces(ids):
            fresh += await self._desk.shelf.these(some, self._block)
        reach = replace(
            known.reach,
            mark=mark,
            since=since,
            until=until,
            present=present(now),
            begin=max(known.reach.begin, (since, "")),
        )
        blocks = await self._desk.offload(partial(_renewed, known, frozenset(ids), fresh, reach))
        return await self._filled(blocks, reach, now, _at_once)

    async def _filled(self, blocks: _Blocks, reach: _Reach, now: datetime, pause: _Pause) -> _State:
        """Read on from where it reaches, as long as there is room."""
        end = await self._ahead(blocks, reach, pause)
        reach = replace(reach, end=end)
        if end == (reach.until, ""):
            begin = await self._behind(blocks, reach, pause)
            reach = replace(reach, begin=begin)
        return await self._desk.offload(partial(self._put, blocks, reach, now))

    async def _ahead(self, blocks: _Blocks, reach: _Reach, pause: _Pause) -> Place:
        """Add what comes after its end; how far that went."""
        place, until, most = reach.end, reach.until, self._desk.most
        first = (reach.present, "")
        room = most - sum(at >= first for at in blocks)
        if place >= (until, ""):
            return place if room < 0 else (until, "")
        sorts = await self._sorts(place[0], until) if room >= 0 else None
        while room >= 0 and sorts != []:
            rows = await self._desk.shelf.after(
                place, until, self._block, sorts=sorts, limit=_PIECE
            )
            found = {at: spelled for at, spelled in rows if spelled is not None}
            blocks |= found
            room -= sum(at >= first for at in found)
            if len(rows) < _PIECE:
                return (until, "")
            place = rows[-1][0]
            await pause()
        return place if room < 0 else (until, "")

    async def _behind(self, blocks: _Blocks, reach: _Reach, pause: _Pause) -> Place:
        """Add what comes before its beginning; how far that went."""
        place, since, most = reach.begin, reach.since, self._desk.most
        if len(blocks) > most or place <= (since, ""):
            return place
        sorts = await self._sorts(since, place[0] + _NEXT)
        while len(blocks) <= most and sorts != []:
            rows = await self._desk.shelf.before(
                place, since, self._block, sorts=sorts, limit=_PIECE
            )
            blocks |= {at: spelled for at, spelled in rows if spelled is not None}
            if len(rows) < _PIECE:
                return (since, "")
            place = rows[-1][0]
            await pause()
        return place if len(blocks) > most else (since, "")

    async def _sorts(self, since: datetime, until: datetime) -> list[tuple[str, str]] | None:
        """Which categories and types need a look; None: all."""
        keys = {key for key, _ in self._rule.match.fields}
        if not keys & {"category", "type"}:
            return None
        found = await self._desk.shelf.sorts(since, until)
        return [sort for sort in found if may_list(*sort, self._rule)]

    def _block(self, listed: Listed) -> bytes | None:
        if not lists(listed.milestone, self._desk.routes, self._rule.name):
            return None
        url = self._desk.external_url
        return spell.block(entry(listed, self._rule, external_url=url))

    def _put(self, blocks: _Blocks, reach: _Reach, now: datetime) -> _State:
        """It as one body, soonest first; what has no room is left out."""
        places, reach = _cut(sorted(blocks), reach, self._desk.most)
        parts = [spell.head(self._rule.name, self._said(len(places), reach))]
        parts += [blocks[place] for place in places]
        copy = copied(b"".join((*parts, spell.tail())), self._last, now=now)
        return _State(
            reach=reach,
            copy=copy,
            places=places,
            lengths=array("L", map(len, parts)),
        )

    def _said(self, shown: int, reach: _Reach) -> str:
        words = f"Milestones of the route {self._rule.name}."
        if reach.end < (reach.until, ""):
            return (
                f"{words} Only {shown:,} are shown: what is under way, and the next up "
                f"to {reach.end[0]:%Y-%m-%d %H:%M} UTC. Later ones appear as these go "
                "by; past ones are left out."
            )
        if reach.begin > (reach.since, ""):
            return f"{words} Only {shown:,} are shown: earlier ones are left out."
        return words


def _cut(places: Sequence[Place], reach: _Reach, most: int) -> tuple[Sequence[Place], _Reach]:
    """The places that there is room for, and how far they reach."""
    first = (reach.present, "")
    ahead = [place for place in places if place >= first]
    if len(ahead) > most:
        ahead = ahead[:most]
        return ahead, replace(reach, begin=first, end=ahead[-1])
    if len(places) > most:
        places = places[len(places) - most :]
        begin = min(first, places[0]) if places else first
        return places, replace(reach, begin=begin)
    return places, reach


def _pieces(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(ids), _PIECE):
        yield ids[first : first + _PIECE]


def _renewed(
    known: _State,
    gone: frozenset[str],
    fresh: Sequence[tuple[Place, bytes | None]],
    reach: _Reach,
) -> _Blocks:
    """The entries that are still within reach, with the fresh ones in their place."""
    kept: Mapping[Place, bytes] = known.blocks()
    blocks = {
        place: block
        for place, block in kept.items()
        if place[1] not in gone and place >= reach.begin
    }
    return blocks | {
        place: block
        for place, block in fresh
        if block is not None and reach.begin <= place <= reach.end
    }
