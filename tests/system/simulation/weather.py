"""What happens to Kalshi's list."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from random import Random

import anyio
from servers.faulty_api import FaultyApi

from notifier.demo.fake_api import NEVER, Document, timestamp
from notifier.domain.models import Json
from simulation import rows
from simulation.machine import VirtualClock

#: A list as it was some time ago.
OLD = "old"
_SECOND = timedelta(seconds=1)
_MINUTE = timedelta(minutes=1)
_STATUS = ("scheduled", "inprogress", "complete", "postponed")
_TYPES = (
    ("Sports", "football_game"),
    ("sports", "cricket_match"),
    ("Politics", "one_off_milestone"),
)


class Weather:
    """Creates, changes, moves and removes milestones."""

    def __init__(
        self,
        api: FaultyApi,
        *,
        clock: VirtualClock,
        chance: Random,
        says: Callable[[str], None],
    ) -> None:
        self._api = api
        self._world = api
        self._clock = clock
        self._chance = chance
        self._says = says
        self._numbers = iter(range(1, 1_000_000))
        self._removed: list[Document] = []
        #: Starts that have moved and may move back.
        self._away: list[tuple[str, Json]] = []
        #: Changed without a newer `last_updated_ts`: polls need not show them.
        self.quiet: set[str] = set()
        #: There, but on no page for a while.
        self.shy: set[str] = set()
        #: Starts fall between now and then, so that somebody is there to see some.
        self.horizon = timedelta(minutes=10)
        self._acts = (
            *(self._add, self._add, self._reword, self._reword, self._move, self._move),
            *(self._status, self._touch, self._quietly, self._end, self._end),
            *(self._remove, self._bring_back, self._tickers, self._snapshot),
            *(self._move_a_little, self._many_at_once, self._move_a_little),
            *(self._roll_back, self._hide),
            *(self._move_away, self._move_back, self._move_back),
        )

    def populate(self, count: int) -> None:
        """The list at the beginning."""
        self._world.load([self._doc() for _ in range(count)])
        self._snapshot()

    async def blow(self, *, mean_s: float) -> None:
        """Go on for ever, one thing about every `mean_s` seconds."""
        while True:
            await anyio.sleep(self._chance.expovariate(1 / mean_s))
            self.gust()

    def gust(self) -> None:
        """Let one thing happen."""
        act = self._chance.choice(self._acts)
        act()
        self._says(f"world {act.__name__.strip('_')}")

    def calm_down(self) -> None:
        """What is there is shown again."""
        self.shy.clear()

    # --- what may happen ---

    def _add(self) -> None:
        self._world.add(self._doc())

    def _many_at_once(self) -> None:
        start = self._start()
        for _ in range(self._chance.randrange(2, 9)):
            self._world.add(self._doc() | {"start_date": timestamp(start)})

    def _reword(self) -> None:
        words = str(self._chance.random())
        key = self._chance.choice(("title", "notification_message", "source_id"))
        self._bump(self._any(), **{key: words})

    def _move(self) -> None:
        self._bump(self._any(), start_date=timestamp(self._start()))

    def _move_a_little(self) -> None:
        one = self._any_of(self._around_now()) or self._any()
        before = datetime.fromisoformat(str(self._world.document(one)["start_date"]))
        seconds = self._chance.choice((-300, -60, -5, 5, 60, 300, 899, 901, 1800))
        self._bump(one, start_date=timestamp(before + seconds * _SECOND))

    def _move_away(self) -> None:
        """What has just been reminded of, if anything has."""
        one = self._any_of(self._just_reminded()) or self._any()
        self._away.append((one, self._world.document(one)["start_date"]))
        later = self._clock.now() + self._chance.uniform(30, 90) * _MINUTE
        self._bump(one, start_date=timestamp(later.replace(microsecond=0)))

    def _move_back(self) -> None:
        """To where it was: what has been said of that is not said again."""
        if self._away:
            one, before = self._away.pop()
            if one in self._world:
                self._bump(one, start_date=before)

    def _status(self) -> None:
        status = self._chance.choice(_STATUS)
        self._bump(self._any(), details={"status": status})

    def _touch(self) -> None:
        self._bump(self._any())

    def _quietly(self) -> None:
        """There and back again: the same bytes may come twice."""
        one = self._any_of(self.quiet) or self._any()
        self.quiet.add(one)
        words = self._chance.choice(("quiet", "silent"))
        self._world.change_without_bump(one, title=words)

    def _roll_back(self) -> None:
        """An older version is the right one."""
        one, now = self._any(), self._clock.now()
        self.quiet.add(one)
        before = timestamp(now - self._chance.uniform(1, 90) * _MINUTE)
        words = str(self._chance.random())
        self._world.change_without_bump(one, title=words, last_updated_ts=before)

    def _hide(self) -> None:
        one = self._any()
        self.shy.add(one)
        self.quiet.add(one)
        if len(self.shy) > 3:
            self.shy.remove(self._chance.choice(sorted(self.shy)))

    def _end(self) -> None:
        now = self._clock.now()
        one = self._any()
        end = self._chance.choice(
            (
                None,
                timestamp(now - self._chance.uniform(0, 120) * _SECOND),
                timestamp(now - 30 * 60 * _MINUTE),
                timestamp(now + self._chance.uniform(0, 300) * _SECOND),
                "2000-01-02T00:00:00Z",
            )
        )
        more: Document = {"title": "over"} if self._chance.random() < 0.2 else {}
        self._bump(one, end_date=end, **more)

    def _remove(self) -> None:
        one = self._any()
        self._removed.append(self._world.document(one))
        self._world.remove(one)
        if len(self._world) < 30:
            self._add()

    def _bring_back(self) -> None:
        if self._removed:
            doc = self._removed.pop(self._chance.randrange(len(self._removed)))
            if str(doc["id"]) not in self._world:
                self.quiet.add(self._world.add(doc))

    def _tickers(self) -> None:
        one = self._any()
        names = [f"KXT{self._chance.randrange(5)}-A" for _ in range(3)]
        self._bump(one, related_event_tickers=[*names])

    def _snapshot(self) -> None:
        self._api.take_snapshot(OLD)

    def _bump(self, one: str, **fields: Json) -> None:
        self._world.update(one, **fields)
        if one not in self.shy:
            self.quiet.discard(one)

    # --- values ---

    def loud(self) -> dict[str, bytes]:
        """What every poll has shown, or is to show now."""
        found = {one: self._world.raw(one) or b"" for one in self._world}
        return {
            one: raw
            for one, raw in found.items()
            if one not in self.quiet and NEVER.encode() not in raw
        }

    def _any(self) -> str:
        return self._chance.choice(list(self._world))

    def _any_of(self, ids: Iterable[str]) -> str | None:
        """One of these, if any of them is there."""
        there = sorted(one for one in ids if one in self._world)
        return self._chance.choice(there) if there else None

    def _around_now(self) -> list[str]:
        """What has just started, or will very soon."""
        now = self._clock.now()
        return [
            one
            for one in self._world
            if abs(rows.start(self._world.document(one)) - now) < 20 * _MINUTE
        ]

    def _just_reminded(self) -> list[str]:
        """What starts in a little less than the longer of the leads of `story`."""
        now = self._clock.now()
        return [
            one
            for one in self._world
            if 9.5 * _MINUTE < rows.start(self._world.document(one)) - now < 10 * _MINUTE
        ]

    def _start(self) -> datetime:
        now = self._clock.now().replace(microsecond=0)
        soon = self._chance.uniform(0, self.horizon.total_seconds()) * _SECOND
        late = self._chance.uniform(0, 3600) * _SECOND
        when = self._chance.choice(
            (now + soon, now + soon, now + soon, now - late, now + 30 * late)
        )
        if self._chance.random() < 0.05:
            return datetime(2000, 1, 1, tzinfo=now.tzinfo)
        return when.replace(microsecond=0)

    def _doc(self) -> Document:
        number = next(self._numbers)
        category, kind = self._chance.choice(_TYPES)
        start = self._start()
        stem = "SIM" if number % 29 == 0 else "KX"
        doc: Document = {
            "id": f"m{number}",
            "category": category,
            "type": kind,
            "title": f"Game {number}",
            "notification_message": "The game is about to begin.",
            "start_date": timestamp(start),
            "primary_event_tickers": [f"{stem}GAME-{number}"],
            "related_event_tickers": [f"{stem}GAME-{number}"],
            "details": {"status": "scheduled", "league": "NFL"},
            "last_updated_ts": timestamp(self._clock.now()),
        }
        if self._chance.random() < 0.1:
            doc["last_updated_ts"] = NEVER
        if self._chance.random() < 0.3:
            doc["end_date"] = None
        return doc
