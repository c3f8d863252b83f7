"""
Milestones in numbers, spread as the real list spreads them.

Source: counts over the whole list, 2026-08-30: 137,200 milestones, 90 % Sports,
2.8 % in the future, 17 % within the last month, about 1 kB each.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import accumulate
from random import Random

from notifier.demo.fake_api import NEVER, Document, milestone, timestamp

EVERYTHING = 137_200

#: type, category, how many of 137,200, ticker stem.
_TYPES: Sequence[tuple[str, str, int, str]] = (
    ("tennis_tournament_singles", "Sports", 49_875, "KXATPMATCH"),
    ("one_off_milestone", "Mentions", 8_054, "KXMENTION"),
    ("one_off_milestone", "Politics", 5_000, "KXPOLITICS"),
    ("one_off_milestone", "Science and Technology", 2_000, "KXTECH"),
    ("one_off_milestone", "Science & Technology", 1_000, "KXTECH"),
    ("basketball_game", "Sports", 15_564, "KXNBAGAME"),
    ("soccer_tournament_multi_leg", "Sports", 15_546, "KXUCLGAME"),
    ("esports_match", "Sports", 11_406, "KXCS2GAME"),
    ("football_game", "Sports", 7_500, "KXNFLGAME"),
    ("baseball_game", "Sports", 8_400, "KXMLBGAME"),
    ("hockey_match", "Sports", 7_300, "KXNHLGAME"),
    ("cricket_match", "sports", 3_936, "KXT20MATCH"),
    ("political_race", "Elections", 917, "KXSENATE"),
    ("company_report", "Companies", 530, "KXEARNINGSMENTION"),
    ("golf_tournament", "Sports", 172, "KXPGATOUR"),
)
_WEIGHTS = list(accumulate(count for _, _, count, _ in _TYPES))
_MESSAGES = (
    "The game is about to begin.",
    "Who will emerge victorious?",
    "The match is about to begin.",
    "What will they say?",
)
_NAMES = (
    "Ashford",
    "Brightwater",
    "Calder",
    "Dunmore",
    "Eastvale",
    "Farrow",
    "Glenrock",
    "Harwick",
    "Iverness",
    "Juniper",
    "Kestrel",
    "Larkspur",
    "Merrow",
    "Northgate",
    "Oakhurst",
    "Pinebluff",
    "Quarry",
    "Redfield",
    "Stonebridge",
    "Thornton",
    "Underhill",
    "Vantage",
    "Westmoor",
    "Yarrow",
    "Zephyr",
)
_KINDS_OF_MARKET = ("", "SPREAD", "TOTAL", "1H", "FIRST", "OT", "2H", "TEAMTOTAL")
_UUID_PARTS = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
_DAY = timedelta(days=1)

#: Shares of the whole.
_TO_COME = 0.028
_WITHIN_A_MONTH = 0.2
_NEVER_UPDATED = 0.02
_END_IS_NULL = 0.3


def population(n: int, *, seed: int, now: datetime) -> Iterator[Document]:
    """That many milestones around `now`; the same arguments give the same ones."""
    random = Random(seed)
    for number in range(n):
        if number < min(8, n // 20):
            yield _simulation(random, now)
        else:
            yield _one(random, now)


def _one(random: Random, now: datetime) -> Document:
    [(kind, category, _, stem)] = random.choices(_TYPES, cum_weights=_WEIGHTS)
    home, away = random.sample(_NAMES, 2)
    start = _start(random, now)
    tickers = _tickers(random, stem, start, home, away)
    doc: Document = {
        "category": category,
        "details": _details(random, tickers[0], kind),
        "id": _uuid(random),
        "last_updated_ts": _updated(random, start, now),
        "notification_message": random.choice(_MESSAGES),
        "primary_event_tickers": list(tickers),
        "related_event_tickers": list(tickers),
        "source_id": _uuid(random),
        "source_ids": {"source_3_id": _uuid(random)},
        "start_date": timestamp(start),
        "title": f"{away} at {home}",
        "type": kind,
    }
    if kind == "political_race":
        doc |= {
            "start_date": "2000-01-01T00:00:00Z",
            "end_date": "2000-01-02T00:00:00Z",
        }
    elif random.random() < _END_IS_NULL:  # absent in the others
        doc["end_date"] = None
    return doc


def _simulation(random: Random, now: datetime) -> Document:
    """Kalshi's own, in production: old, always just updated, first in the list."""
    return milestone(
        milestone_id=_uuid(random),
        title="Indiana at New York",
        start=datetime(2024, 5, 9, tzinfo=now.tzinfo),
        tickers=("SIMNBAGAME",),
        last_updated_ts=timestamp(now),
        type="basketball_game",
    )


def _start(random: Random, now: datetime) -> datetime:
    place = random.random()
    if place < _TO_COME:
        days = random.expovariate(1 / 20)
    elif place < _WITHIN_A_MONTH:
        days = -30 * random.random()
    else:
        days = -30 - 500 * random.random()
    when = now + days * _DAY
    return when.replace(minute=30 * random.randrange(2), second=0, microsecond=0)


def _updated(random: Random, start: datetime, now: datetime) -> str:
    if random.random() < _NEVER_UPDATED:
        return NEVER
    latest = min(start, now - timedelta(hours=1))
    return timestamp(latest - random.random() * _DAY)


def _tickers(random: Random, stem: str, start: datetime, home: str, away: str) -> Sequence[str]:
    day = start.strftime("%y%b%d").upper()
    match = f"{day}{away[:3]}{home[:3]}".upper()
    count = min(1 + int(random.expovariate(1 / 4)), len(_KINDS_OF_MARKET))
    return [f"{stem}{market}-{match}" for market in _KINDS_OF_MARKET[:count]]


def _details(random: Random, ticker: str, kind: str) -> Document:
    return {
        "away_team_id": _uuid(random),
        "home_team_id": _uuid(random),
        "league": kind.partition("_")[0].upper(),
        "main_game_event_ticker": ticker,
        "season": {"type": "REG", "week": random.randrange(1, 20), "year": 2026},
        "session_id": f"{_uuid(random)}_{random.randrange(10**11)}",
        "status": random.choice(("scheduled", "created", "inprogress", "complete")),
    }


def _uuid(random: Random) -> str:
    digits = f"{random.getrandbits(128):032x}"
    return "-".join(digits[a:b] for a, b in _UUID_PARTS)
