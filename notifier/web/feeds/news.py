"""
What a route's feeds tell: the newest events that the route takes.

Not only what was sent for this route: whoever has a message from an earlier route
gets none from this one, but a feed is nobody's destination.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice

import anyio

from notifier.domain.calendar import MOST_STORIES, Story, kinds_told, story, tells
from notifier.domain.models import Event, Route
from notifier.web.feeds.copy import Copy, copied
from notifier.web.feeds.parts import Desk

#: Events that are looked at between two breaths of the event loop.
_PIECE = 50
#: So far back is looked for what a route takes.
_FURTHEST = 10_000

Spell = Callable[[Sequence[Story]], bytes]


class News:
    """What one route takes, newest first."""

    def __init__(self, desk: Desk, rule: Route) -> None:
        self._desk = desk
        self._rule = rule
        self._stories: list[Story] | None = None
        self._seq = 0
        #: By the form of a feed.
        self._copies: dict[str, Copy] = {}
        self._stale: set[str] = set()
        self._turn = anyio.Lock()

    async def copy(self, form: str, spell: Spell) -> Copy:
        """The feed of that form as it is now."""
        async with self._turn:
            mark = await self._desk.shelf.mark()
            if self._stories is None or mark.seq > self._seq:
                await self._look(mark.seq)
            if form not in self._copies or form in self._stale:
                self._copies[form] = await self._desk.offload(partial(self._made, form, spell))
                self._stale.discard(form)
            return self._copies[form]

    def forget(self) -> None:
        """Make room for others; it can be made again."""
        self._stories = None

    async def _look(self, newest: int) -> None:
        known = self._stories
        above = newest - _FURTHEST if known is None else self._seq
        fresh = await self._found(above, newest + 1)
        self._stories = [*fresh, *islice(known or (), MOST_STORIES)][:MOST_STORIES]
        self._seq = newest
        if fresh or known is None:
            self._stale |= self._copies.keys()

    async def _found(self, above: int, below: int) -> list[Story]:
        found: list[Story] = []
        while len(found) < MOST_STORIES:
            rows = await self._desk.shelf.events(
                self._story,
                above=above,
                below=below,
                kinds=kinds_told(self._rule),
                limit=_PIECE,
            )
            found += [told for _, told in rows if told is not None]
            if len(rows) < _PIECE:
                break
            below = rows[-1][0]
        return found

    def _story(self, event: Event) -> Story | None:
        desk = self._desk
        if not tells(event, desk.routes, self._rule.name):
            return None
        url = desk.external_url
        return story(event, self._rule, zone=desk.zone, external_url=url)

    def _made(self, form: str, spell: Spell) -> Copy:
        body = spell(self._stories or ())
        return copied(body, self._copies.get(form), now=self._desk.now())
