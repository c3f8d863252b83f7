"""
A route's calendar: made once, then kept up with what happens.

It is made in pieces that hold nobody up. Between two requests nothing is done; the
next one looks what has happened since, and makes anew only the entries of those
milestones.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from zlib import decompress

import anyio

from notifier.core.feed import (
    Listed,
    entry,
    lists,
    may_list,
    window,
)
from notifier.core.model import Route
from notifier.web.feeds import spell
from notifier.web.feeds.copy import Copy, copied
from notifier.web.feeds.parts import Desk, Mark, Place

#: Milestones that are looked at between two breaths of the event loop.
_PIECE = 50
#: After so much it is cheaper to begin again.
_TOO_MUCH = 2000
#: What changes without an event (the ends of a calendar's entries do not) is found
#: so late at most.
_TRUSTED = timedelta(hours=6)

#: By place: an entry as it is spelled.
_Blocks = dict[Place, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reach:
    """How far a calendar goes, and how far the store had come then."""

    mark: Mark
    since: datetime
    until: datetime
    #: Everything up to here is in it.
    to: Place
    #: It has no room for what comes after.
    is_full: bool
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
                self._state = await self._made(mark, now)
            elif known.reach.mark != mark or known.reach.since != window(now)[0]:
                self._state = await self._kept_up(known, mark, now)
            else:
                return known.copy
            self._last = self._state.copy
            return self._last

    def forget(self) -> None:
        """Make room for others; it can be made again."""
        self._state = None

    def _is_good(self, reach: _Reach, mark: Mark, now: datetime) -> bool:
        is_young = timedelta(0) <= now - reach.made_at <= _TRUSTED
        is_later = reach.since <= window(now)[0] < reach.until
        return is_young and is_later and reach.mark.baselines == mark.baselines

    async def _made(self, mark: Mark, now: datetime) -> _State:
        since, until = window(now)
        reach = _Reach(
            mark=mark,
            since=since,
            until=until,
            to=(since, ""),
            is_full=False,
            made_at=now,
        )
        return await self._filled({}, reach, now)

    async def _kept_up(self, known: _State, mark: Mark, now: datetime) -> _State:
        ids = await self._desk.shelf.changed(known.reach.mark.seq, most=_TOO_MUCH)
        if len(ids) == _TOO_MUCH:
            return await self._made(mark, now)
        since, until = window(now)
        fresh: list[tuple[Place, bytes | None]] = []
        for some in _pieces(ids):
            fresh += await self._desk.shelf.these(some, self._block)
        old = known.reach
        # What an earlier `until` left out begins where that one ended.
        to = old.to if old.is_full else max(old.to, (old.until, ""))
        reach = _Reach(
            mark=mark,
            since=since,
            until=until,
            to=to,
            is_full=False,
            made_at=old.made_at,
        )
        blocks = await self._desk.offload(
            partial(_renewed, known, frozenset(ids), fresh, reach)
        )
        return await self._filled(blocks, reach, now)

    async def _filled(self, blocks: _Blocks, reach: _Reach, now: datetime) -> _State:
        """Read on from where it reaches, as long as there is room."""
        place, until = reach.to, reach.until
        sorts = await self._sorts(place[0], until)
        is_full = len(blocks) > self._desk.most
        while not is_full and sorts != []:
            rows = await self._desk.shelf.after(
                place, until, self._block, sorts=sorts, limit=_PIECE
            )
            for at, spelled in rows:
                if spelled is not None:
                    blocks[at] = spelled
            if len(rows) < _PIECE:
                break
            place = rows[-1][0]
            is_full = len(blocks) > self._desk.most
        return await self._desk.offload(partial(self._put, blocks, reach, now))

    async def _sorts(
        self, since: datetime, until: datetime
    ) -> list[tuple[str, str]] | None:
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
        places = sorted(blocks)
        is_full = len(places) > self._desk.most
        places = places[: self._desk.most]
        parts = [spell.head(self._rule.name, self._said(places, is_full=is_full))]
        parts += [blocks[place] for place in places]
        copy = copied(b"".join((*parts, spell.tail())), self._last, now=now)
        return _State(
            reach=_Reach(
                mark=reach.mark,
                since=reach.since,
                until=reach.until,
                to=places[-1] if is_full else (reach.until, ""),
                is_full=is_full,
                made_at=reach.made_at,
            ),
            copy=copy,
            places=places,
            lengths=array("L", map(len, parts)),
        )

    def _said(self, places: Sequence[Place], *, is_full: bool) -> str:
        words = f"Milestones of the route {self._rule.name}."
        if not is_full:
            return words
        last = places[-1][0]
        return (
            f"{words} Only the first {len(places):,} are shown, up to "
            f"{last:%Y-%m-%d %H:%M} UTC; later ones appear as these go by."
        )


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
    since = (reach.since, "")
    blocks = {
        place: block
        for place, block in kept.items()
        if place[1] not in gone and place >= since
    }
    return blocks | {
        place: block
        for place, block in fresh
        if block is not None and since <= place <= reach.to
    }
