"""
What happens in `notifier demo`, in about half a minute.

Forty milestones are there at the start: the baseline, which is not announced. Then
something of every kind that has a message happens to a few of them.
"""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from notifier.clock import Clock
from notifier.demo.fake_api import Document, FakeApi, base_url, milestone, timestamp
from notifier.demo.receiver import destination_url

#: Signs the webhooks to the receiver.
SECRET = "whsec_bWlsZXN0b25lcyB3aXRob3V0IHJlZ3JldHM="  # noqa: S105 - of this demo alone
#: How long the scenario takes; the last messages may need a few seconds more.
LENGTH = timedelta(seconds=26)

_MILESTONES = 40
_LEAD_S = 8
_TEAMS = (
    *("Ashford", "Dunmore", "Farrow", "Glenrock", "Iverness", "Juniper", "Kestrel"),
    *("Northgate", "Redfield", "Thornton", "Underhill", "Vantage", "Yarrow", "Zephyr"),
)

# Fixed, so that the ids of the demo's events are the same each time.
_FOOTBALL = "0b4f2f0a-5f0e-4c62-9d0f-6a1c5c3f1e01"
_ELECTION = "1c5d3a7e-91b4-5e0b-8a8e-7b2d6d401f02"
_EARNINGS = "2d6e4b8f-02c5-4f1c-9b9f-8c3e7e512003"
_TENNIS = "3e7f5c90-13d6-402d-8ca0-9d4f8f623104"
_SOCCER = "4f806da1-24e7-413e-9db1-ae5090734205"
_GOLF = "50917eb2-35f8-424f-8ec2-bf61a1845306"
_SPEECH = "61a28fc3-4609-4350-9fd3-c072b2956407"
_BASKETBALL = "72b390d4-571a-4461-80e4-d183c3a67508"


def opening(now: datetime) -> list[Document]:
    """The milestones that are there when the scenario begins."""
    cast = [
        milestone(
            milestone_id=_FOOTBALL,
            title="Brightwater at Stonebridge",
            start=now + timedelta(seconds=17),
            tickers=("KXNFLGAME-BRISTO", "KXNFLSPREAD-BRISTO", "KXNFLTOTAL-BRISTO"),
        ),
        milestone(
            milestone_id=_ELECTION,
            title="Governor of Eastvale",
            start=_full_hour(now, 72),
            tickers=("KXGOVERNOR-EASTVALE",),
            category="Elections",
            type="political_race",
            notification_message="Polls are about to open.",
            details={"main_game_event_ticker": "KXGOVERNOR-EASTVALE"},
        ),
        milestone(
            milestone_id=_EARNINGS,
            title="Larkspur Robotics earnings call",
            start=_full_hour(now, 3),
            tickers=("KXEARNINGSMENTION-LARK",),
            category="Companies",
            type="company_report",
            notification_message="What will Larkspur Robotics say?",
            details={"company": "Larkspur Robotics", "quarter": "Q3"},
        ),
        milestone(
            milestone_id=_TENNIS,
            title="Merrow vs Quarry",
            start=_full_hour(now, 5),
            tickers=("KXATPMATCH-MERQUA",),
            type="tennis_tournament_singles",
            notification_message="The match is about to begin.",
            details={"tour": "ATP", "round": "Semifinal", "status": "scheduled"},
        ),
        milestone(
            milestone_id=_SOCCER,
            title="Harwick United vs Calder Rovers",
            start=_full_hour(now, -2),
            tickers=("KXUCLGAME-HARCAL",),
            type="soccer_tournament_multi_leg",
            notification_message="Who will emerge victorious?",
            details={"league": "Champions Cup", "status": "inprogress"},
        ),
        milestone(
            milestone_id=_GOLF,
            title="Pinebluff Open",
            start=_full_hour(now, 26),
            tickers=("KXPGATOUR-PINE",),
            type="golf_tournament",
            notification_message="Get ready: the first round is about to start.",
            details={"tour": "pga"},
        ),
    ]
    return cast + [
        milestone(
            milestone_id=f"8f000000-0000-4000-8000-{number:012d}",
            title=f"{_TEAMS[number % len(_TEAMS)]} at {_TEAMS[(3 * number + 1) % len(_TEAMS)]}",
            start=_full_hour(now, 7 * number - 90),
            tickers=(f"KXNHLGAME-{number}",),
            type="hockey_match",
        )
        for number in range(_MILESTONES - len(cast))
    ]


async def play(api: FakeApi, clock: Clock) -> None:
    """Run the scenario on an API that lists what `opening` gave."""
    begun, opened = clock.monotonic(), clock.now()
    for at_s, step in _STEPS:
        await clock.sleep(begun + at_s - clock.monotonic())
        step(api, opened, clock.now())
    await clock.sleep(begun + LENGTH.total_seconds() - clock.monotonic())


def configuration(api_port: int, receiver_port: int, database: Path) -> str:
    """The configuration of the demo: the terminal and a signed webhook."""
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
  webhook: {{url: "{destination_url(receiver_port, secret=SECRET)}"}}
routes:
  - name: story
    to: [terminal, webhook]
    reminders: [{_LEAD_S}s]
log: {{level: warning}}
"""


def _announce_speech(api: FakeApi, opened: datetime, now: datetime) -> None:
    api.add(
        milestone(
            milestone_id=_SPEECH,
            title="State of the Province address",
            start=_full_hour(opened, 30),
            tickers=("KXMENTION-ADDRESS",),
            category="Mentions",
            type="one_off_milestone",
            notification_message="What will the governor say?",
            details={"speaker": "Governor of Northgate"},
            last_updated_ts=timestamp(now),
        )
    )


def _announce_basketball(api: FakeApi, opened: datetime, now: datetime) -> None:
    api.add(
        milestone(
            milestone_id=_BASKETBALL,
            title="Oakhurst at Westmoor",
            start=opened + timedelta(seconds=24),
            tickers=("KXNBAGAME-OAKWES", "KXNBASPREAD-OAKWES"),
            type="basketball_game",
            details={"league": "NBA", "status": "scheduled"},
            last_updated_ts=timestamp(now),
        )
    )


def _open_more_markets(api: FakeApi, _opened: datetime, _now: datetime) -> None:
    api.update(
        _ELECTION,
        title="Governor of Eastvale (special election)",
        related_event_tickers=["KXGOVERNOR-EASTVALE", "KXGOVERNORMOV-EASTVALE"],
    )


def _move_earnings(api: FakeApi, opened: datetime, _now: datetime) -> None:
    api.move_start(_EARNINGS, _full_hour(opened, 3) + timedelta(minutes=90))


def _postpone_tennis(api: FakeApi, _opened: datetime, _now: datetime) -> None:
    api.update(_TENNIS, details={"status": "postponed"})


def _cancel_golf(api: FakeApi, _opened: datetime, _now: datetime) -> None:
    api.remove(_GOLF)


def _touch_election(api: FakeApi, _opened: datetime, _now: datetime) -> None:
    api.update(_ELECTION)


def _end_soccer(api: FakeApi, _opened: datetime, now: datetime) -> None:
    api.update(_SOCCER, end_date=timestamp(now))


#: Seconds and steps; each gets the time at which the scenario began, and the present.
#: Between them timers fire: reminders at 9 and 16 s, starts at 17 and 24 s.
_STEPS: tuple[tuple[float, Callable[[FakeApi, datetime, datetime], None]], ...] = (
    (3, _announce_speech),
    (6, _open_more_markets),
    (11, _move_earnings),
    (12.5, _announce_basketball),
    (13.5, _cancel_golf),
    (14.5, _postpone_tennis),
    (15, _touch_election),
    (20, _end_soccer),
)


def _full_hour(now: datetime, hours: int) -> datetime:
    """A full hour about so many hours away."""
    return now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=hours)
