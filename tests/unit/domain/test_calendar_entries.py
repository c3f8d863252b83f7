"""What a route's calendar and its feeds show of milestones and events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from message_samples import LINK, NEW_YORK, NOW, START, TICKER, event, milestone

from notifier.domain.calendar import (
    _DEFAULT_LENGTH,
    ListedMilestone,
    Status,
    calendar_entry,
    calendar_shows,
    feed_item,
    feed_kinds,
    feed_takes,
    may_show,
    window,
)
from notifier.domain.models import Kind, Milestone
from notifier.domain.rules import Match, Route, Templates

HOUR, QUARTER = timedelta(hours=1), timedelta(minutes=15)
GAMES = Route(
    name="games",
    to=("ops",),
    match=Match(events=frozenset({Kind.STARTED}), fields=(("type", ("football_game",)),)),
    reminders=(QUARTER,),
)
REST = Route(name="rest", to=("ops",))


def listed(of: Milestone | None = None, *, version: int = 1) -> ListedMilestone:
    return ListedMilestone(milestone=of or milestone(), version=version, changed_at=NOW)


def test_a_calendar_shows_what_the_route_fits_whatever_kinds_it_wants() -> None:
    chess = milestone(sort="chess_match")

    assert calendar_shows(milestone(), [GAMES], "games")
    assert not calendar_shows(chess, [GAMES], "games")
    assert calendar_shows(chess, [GAMES, REST], "rest")
    assert not calendar_shows(milestone(), [REST], "games")


@pytest.mark.parametrize(
    ("match", "is_left"),
    [
        pytest.param(Match(), False, id="it takes everything"),
        pytest.param(Match(events=frozenset({Kind.CREATED})), True, id="some kinds"),
        pytest.param(Match(changed=("start_date",)), True, id="some changes"),
        pytest.param(Match(fields=(("title", ("x",)),)), True, id="other titles"),
    ],
)
def test_what_an_earlier_route_takes_whole_and_stops_at_is_left_to_it(
    match: Match, *, is_left: bool
) -> None:
    first = Route(name="first", to=("ops",), match=match, stop=True)

    assert calendar_shows(milestone(), [first, REST], "rest") is is_left
    assert calendar_shows(milestone(), [replace(first, stop=False), REST], "rest")


def test_categories_and_types_that_cannot_fit_need_no_look() -> None:
    rule = replace(REST, match=Match(fields=(("category", ("Spo*",)), ("title", ("x",)))))

    assert may_show("sports", "anything", rule)
    assert not may_show("Politics", "anything", rule)


def test_an_entry_tells_what_a_message_would() -> None:
    shown = calendar_entry(listed(), GAMES, external_url=None)

    assert shown.uid == "a852dcb8@kalshi.milestones"
    assert shown.summary == "Syracuse at Pittsburgh"
    assert shown.description.splitlines() == [
        "The game is about to begin!",
        "Sports · football game · NCAAFB",
        LINK,
    ]
    assert shown.url == LINK
    assert (shown.start, shown.status) == (START, Status.CONFIRMED)
    assert shown.categories == ("Sports", "football_game")
    assert shown.alarms == (QUARTER,)


def test_an_entry_links_to_our_own_page_where_there_is_one() -> None:
    shown = calendar_entry(listed(), GAMES, external_url="https://n.example/x")

    assert shown.url == "https://n.example/x/milestones/a852dcb8"


@pytest.mark.parametrize(
    ("end", "shown"),
    [
        pytest.param(START + 3 * HOUR, START + 3 * HOUR, id="as Kalshi says"),
        pytest.param(None, START + _DEFAULT_LENGTH, id="none is said"),
        pytest.param(START, START + _DEFAULT_LENGTH, id="nothing lasts no time"),
        pytest.param(START - HOUR, START + _DEFAULT_LENGTH, id="nor less"),
    ],
)
def test_an_entry_ends_after_its_start(end: datetime | None, shown: datetime) -> None:
    assert calendar_entry(listed(milestone(end=end)), GAMES, external_url=None).end == shown


@pytest.mark.parametrize(
    ("word", "status", "summary"),
    [
        ("scheduled", Status.CONFIRMED, "Syracuse at Pittsburgh"),
        ("cancelled", Status.CANCELLED, "Cancelled: Syracuse at Pittsburgh"),
        ("Canceled", Status.CANCELLED, "Cancelled: Syracuse at Pittsburgh"),
        ("postponed", Status.TENTATIVE, "In doubt: Syracuse at Pittsburgh"),
        ("start_delayed", Status.TENTATIVE, "In doubt: Syracuse at Pittsburgh"),
        ("undelayed", Status.CONFIRMED, "Syracuse at Pittsburgh"),
    ],
)
def test_an_entry_says_whether_it_will_take_place(word: str, status: Status, summary: str) -> None:
    shown = calendar_entry(listed(milestone(details={"status": word})), GAMES, external_url=None)

    assert (shown.status, shown.summary) == (status, summary)
    says_so = f"Kalshi lists it as {word.lower()}." in shown.description
    assert says_so is (status is not Status.CONFIRMED)


def test_what_is_removed_is_cancelled_and_nobody_is_reminded() -> None:
    gone = replace(listed(), gone_at=NOW + HOUR)
    shown = calendar_entry(gone, GAMES, external_url=None)

    assert shown.status is Status.CANCELLED
    assert shown.alarms == ()
    assert shown.changed_at == NOW + HOUR
    assert "Kalshi no longer lists it." in shown.description


def test_the_sequence_rises_with_changes_removal_and_return() -> None:
    first, moved = listed(), listed(version=2)
    removed, back = replace(moved, gone_at=NOW), listed(version=3)

    numbers = [
        calendar_entry(one, GAMES, external_url=None).sequence
        for one in (first, moved, removed, back)
    ]

    assert numbers[0] == 0
    assert numbers == sorted(set(numbers))


def test_an_entry_without_a_title_or_ticker_is_still_one() -> None:
    bare = milestone(title="\u202e\n", message="", tickers=())
    shown = calendar_entry(listed(bare), GAMES, external_url=None)

    assert (shown.summary, shown.url) == ("Untitled", None)


def test_the_window_moves_once_a_day() -> None:
    morning = datetime(2026, 9, 26, 0, 1, tzinfo=UTC)
    evening = datetime(2026, 9, 26, 23, 59, tzinfo=UTC)

    assert window(morning) == window(evening)
    assert window(morning) != window(evening + timedelta(minutes=2))
    since, until = window(NOW)
    assert timedelta(days=7) <= NOW - since < timedelta(days=8)
    assert timedelta(days=365) <= until - NOW


def test_a_feed_tells_what_the_route_takes_even_if_all_have_it_already() -> None:
    started = event(Kind.STARTED)

    assert feed_takes(started, [REST, GAMES], "games")
    assert not feed_takes(event(Kind.CREATED), [REST, GAMES], "games")
    assert not feed_takes(started, [replace(REST, stop=True), GAMES], "games")
    assert not feed_takes(replace(started, missed=True), [GAMES], "games")


def test_a_route_can_take_its_kinds_and_its_reminders() -> None:
    assert feed_kinds(GAMES) == {Kind.STARTED, Kind.UPCOMING}
    assert feed_kinds(REST) == set(Kind) - {Kind.UPCOMING}


def test_a_story_is_told_as_its_message_was_and_never_changes() -> None:
    told = feed_item(event(Kind.CREATED), GAMES, zone=NEW_YORK, external_url=None)

    assert told.id == "evt_created_a852dcb8"
    assert "Syracuse at Pittsburgh" in told.title
    assert "15:30 EDT" in told.text
    assert f'<a href="{LINK}">' in told.html
    assert told.tags == ("created", "Sports", "football_game")
    assert TICKER in (told.url or "")


def test_a_story_uses_the_routes_template_and_escapes_what_is_foreign() -> None:
    rule = replace(GAMES, template=Templates(title="Now: {{ title }}"))
    of = milestone(title="<script>x</script>")
    told = feed_item(event(Kind.STARTED, of), rule, zone=NEW_YORK, external_url=None)

    assert told.title == "Now: <script>x</script>"
    assert "<script>" not in told.html
