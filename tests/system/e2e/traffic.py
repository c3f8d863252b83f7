"""Seeded changes of the stand-in's list, as fast as it takes them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import anyio

from e2e.village import Api, soon
from notifier.demo.fake_api import milestone
from notifier.domain.models import Json


@dataclass
class Story:
    """Seeded changes of the list, as fast as the API takes them."""

    api: Api
    random: Random
    #: Whether the service has read that milestone before.
    is_known: Callable[[str], bool]
    #: Never updated since hours: only sweeps show what happens to these.
    quiet: list[str] = field(default_factory=list)
    lively: list[str] = field(default_factory=list)
    #: Starts that were moved so near that they will come within the story.
    near: dict[str, str] = field(default_factory=dict)
    told: int = 0

    async def open(self) -> None:
        """What is there before anybody looks."""
        long_ago = soon(datetime.now(UTC), -6 * 3600)
        for n in range(40):
            key = f"old-{n:02d}"
            await self.api.tell("add", **self._game(key, last_updated_ts=long_ago))
            self.quiet.append(key)

    async def go_on(self) -> None:
        """One thing after another, until cancelled."""
        while True:
            await anyio.sleep(self.random.uniform(0.02, 0.2))
            with anyio.CancelScope(shield=True):
                await self._happen()

    async def _happen(self) -> None:
        self.told += 1
        what = self.random.choices(
            ("add", "burst", "update", "touch", "move", "start", "silent"),
            (4, 0.5, 8, 3, 2, 2, 2),
        )[0]
        if what in {"add", "burst"} or not self.lively:
            for _ in range(14 if what == "burst" else 1):
                await self._add()
        elif what == "silent":
            await self._tell("change_without_bump", self.quiet, fields={"title": self._text()})
        elif what == "update":
            fields = {"title": self._text(), "details": {"round": self._text()}}
            await self._tell("update", self.lively, fields=fields)
        elif what == "touch":
            await self._tell("touch", self.lively)
        elif what == "move":
            start = soon(datetime.now(UTC), self.random.randrange(7200, 90_000))
            await self._tell("move_start", self.lively, start=start)
        else:
            await self._bring_near()

    async def _add(self) -> None:
        key = f"new-{self.told}-{len(self.lively):03d}"
        await self.api.tell("add", **self._game(key))
        self.lively.append(key)

    async def _tell(self, what: str, keys: Sequence[str], **more: Any) -> None:
        await self.api.tell(what, id=self.random.choice(keys), **more)

    async def _bring_near(self) -> None:
        """
        Move a start so near that it comes soon; it is left alone from then on.

        One that is known: a start that is past when it is first seen is not told.
        """
        key = self.random.choice(self.lively)
        if not self.is_known(key):
            return
        self.lively.remove(key)
        start = soon(datetime.now(UTC), 4)
        await self.api.tell("move_start", id=key, start=start)
        self.near[key] = start

    def _game(self, key: str, **more: Json) -> dict[str, Json]:
        start = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
        return milestone(
            milestone_id=key,
            title=self._text(),
            start=start,
            tickers=("KXNFLGAME-A", "KXNFLGAME-B"),
            **more,
        )

    def _text(self) -> str:
        return f"Game {self.random.getrandbits(64):016x}"
