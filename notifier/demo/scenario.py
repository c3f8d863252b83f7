"""
The story that `notifier demo` tells, in about half a minute.

At first there are forty milestones, which make the baseline and are announced by
nothing. Then one thing after the other happens to a few of them: all that there is a
message for.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from notifier.clock import Clock
from notifier.demo import sink
from notifier.demo.population import milestone, population
from notifier.demo.standin import base_url
from notifier.demo.world import Doc, World, stamp
from notifier.domain.models import Json

#: Signs the webhooks to the sink; as secret as a demo needs.
SECRET = "whsec_bWlsZXN0b25lcyB3aXRob3V0IHJlZ3JldHM="  # noqa: S105 - opens nothing
#: How long the story takes. What it sets going may need a few seconds more.
LENGTH = timedelta(seconds=26)

_MILESTONES = 40
_LEAD_S = 8

# Who plays. Their ids, so that a start says which one it moves.
_FOOTBALL = "0b4f2f0a-5f0e-4c62-9d0f-6a1c5c3f1e01"
_ELECTION = "1c5d3a7e-91b4-5e0b-8a8e-7b2d6d401f02"
_EARNINGS = "2d6e4b8f-02c5-4f1c-9b9f-8c3e7e512003"
_TENNIS = "3e7f5c90-13d6-402d-8ca0-9d4f8f623104"
_SOCCER = "4f806da1-24e7-413e-9db1-ae5090734205"
_GOLF = "50917eb2-35f8-424f-8ec2-bf61a1845306"
_SPEECH = "61a28fc3-4609-4350-9fd3-c072b2956407"
_DERBY = "72b390d4-571a-4461-80e4-d183c3a67508"


def opening(now: datetime) -> list[Doc]:
    """The milestones that are there when the story begins."""
    cast = list(_cast(now))
    others = population(_MILESTONES - len(cast), seed=7, now=now)
    return [*cast, *islice(others, _MILESTONES - len(cast))]


async def play(world: World, clock: Clock) -> None:
    """Let the story happen to a world that began with `opening`."""
    begun = clock.monotonic()
    opened = clock.now()
    for scene in _SCENES:
        await clock.sleep(begun + scene.at_s - clock.monotonic())
        scene.happen(world, opened, clock.now())
    await clock.sleep(begun + LENGTH.total_seconds() - clock.monotonic())


def configuration(api_port: int, sink_port: int, database: Path) -> str:
    """The configuration to watch it with: the terminal and a signed webhook."""
    store = json.dumps(f"sqlite:///{database.resolve()}").replace("${", "$${")
    return f"""\
source:
  base_url: {base_url(api_port)}
  poll_every: 1s
  sweep_every: 2s
  rate: 20/s
store: {store}
destinations:
  terminal: {{url: "terminal://"}}
  sink: {{url: "{sink.url(sink_port, secret=SECRET)}"}}
routes:
  - name: story
    to: [terminal, sink]
    reminders: [{_LEAD_S}s]
log: {{level: warning}}
"""


def _cast(now: datetime) -> Iterator[Doc]:
    yield milestone(
        milestone_id=_FOOTBALL,
        title="Brightwater at Stonebridge",
        start=now + timedelta(seconds=17),
        tickers=("KXNFLGAME-BRISTO", "KXNFLSPREAD-BRISTO", "KXNFLTOTAL-BRISTO"),
    )
    yield milestone(
        milestone_id=_ELECTION,
        title="Governor of Eastvale",
        start=_hour(now, 72),
        tickers=("KXGOVERNOR-EASTVALE",),
        category="Elections",
        type="political_race",
        notification_message="Polls are about to open.",
        details={"main_game_event_ticker": "KXGOVERNOR-EASTVALE"},
    )
    yield milestone(
        milestone_id=_EARNINGS,
        title="Larkspur Robotics earnings call",
        start=_hour(now, 3),
        tickers=("KXEARNINGSMENTION-LARK",),
        category="Companies",
        type="company_report",
        notification_message="What will Larkspur Robotics say?",
        details={"company": "Larkspur Robotics", "quarter": "Q3"},
    )
    yield milestone(
        milestone_id=_TENNIS,
        title="Merrow vs Quarry",
        start=_hour(now, 5),
        tickers=("KXATPMATCH-MERQUA",),
        type="tennis_tournament_singles",
        notification_message="The match is about to begin.",
        details={"tour": "ATP", "round": "Semifinal", "status": "scheduled"},
    )
    yield milestone(
        milestone_id=_SOCCER,
        title="Harwick United vs Calder Rovers",
        start=_hour(now, -2),
        tickers=("KXUCLGAME-HARCAL",),
        type="soccer_tournament_multi_leg",
        notification_message="Who will emerge victorious?",
        details={"league": "Champions Cup", "status": "inprogress"},
    )
    yield milestone(
        milestone_id=_GOLF,
        title="Pinebluff Open",
        start=_hour(now, 26),
        tickers=("KXPGATOUR-PINE",),
        type="golf_tournament",
        notification_message="Get ready: the first round is about to start.",
        details={"tour": "pga"},
    )


# --- what happens -------------------------------------------------------------


def _a_speech_is_announced(world: World, opened: datetime, now: datetime) -> None:
    world.add(
        milestone(
            milestone_id=_SPEECH,
            title="State of the Province address",
            start=_hour(opened, 30),
            tickers=("KXMENTION-ADDRESS",),
            category="Mentions",
            type="one_off_milestone",
            notification_message="What will the governor say?",
            details={"speaker": "Governor of Northgate"},
            last_updated_ts=stamp(now),
        )
    )


def _more_markets_open(world: World, _opened: datetime, _now: datetime) -> None:
    tickers: Sequence[Json] = ["KXGOVERNOR-EASTVALE", "KXGOVERNORMOV-EASTVALE"]
    world.update(
        _ELECTION,
        title="Governor of Eastvale (special election)",
        related_event_tickers=tickers,
    )


def _the_call_moves(world: World, opened: datetime, _now: datetime) -> None:
    world.move_start(_EARNINGS, _hour(opened, 3) + timedelta(minutes=90))


def _a_derby_is_announced(world: World, opened: datetime, now: datetime) -> None:
    world.add(
        milestone(
            milestone_id=_DERBY,
            title="Oakhurst at Westmoor",
            start=opened + timedelta(seconds=24),
            tickers=("KXNBAGAME-OAKWES", "KXNBASPREAD-OAKWES"),
            type="basketball_game",
            details={"league": "NBA", "status": "scheduled"},
            last_updated_ts=stamp(now),
        )
    )


def _rain(world: World, _opened: datetime, _now: datetime) -> None:
    world.update(_TENNIS, details={"status": "postponed"})


def _the_open_is_called_off(world: World, _opened: datetime, _now: datetime) -> None:
    world.remove(_GOLF)


def _nothing_really(world: World, _opened: datetime, _now: datetime) -> None:
    world.touch(_ELECTION)


def _the_match_is_over(world: World, _opened: datetime, now: datetime) -> None:
    world.update(_SOCCER, end_date=stamp(now))


@dataclass(frozen=True, slots=True)
class _Scene:
    at_s: float
    #: The world, when the story began, and now.
    happen: Callable[[World, datetime, datetime], None]


#: Between them, by themselves: reminders at 9 and 16 s, starts at 17 and 24 s.
_SCENES = (
    _Scene(3, _a_speech_is_announced),
    _Scene(6, _more_markets_open),
    _Scene(11, _the_call_moves),
    _Scene(12.5, _a_derby_is_announced),
    _Scene(13.5, _the_open_is_called_off),
    _Scene(14.5, _rain),
    _Scene(15, _nothing_really),
    _Scene(20, _the_match_is_over),
)


def _hour(now: datetime, hours: int) -> datetime:
    """A full hour about so many hours away."""
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours)
