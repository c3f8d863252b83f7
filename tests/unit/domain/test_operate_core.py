"""What is wrong, who is told, and in which words."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from notifier.domain.incidents import (
    Condition,
    DestinationView,
    Notice,
    NoticeKind,
    Open,
    OperatorPolicy,
    Told,
    Trouble,
    View,
    WatchView,
    can_be_sent_to,
    changes,
    conditions,
    ending,
    has_room,
    recipients,
    settle_notice,
)
from notifier.domain.models import (
    Ambiguous,
    Failed,
    Format,
    Kind,
    Limits,
    Outcome,
    Refused,
    Scope,
    Sent,
)
from notifier.domain.retry_policy import RETRY_SCHEDULE
from notifier.domain.rules import Rate
from notifier.messages.incident_text import (
    Found,
    Reader,
    back,
    is_maintenance,
    one_line,
    over,
    raised,
    rendered,
)

SECOND, MINUTE, HOUR = (
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
)
#: Thursday, 03:08 in New York.
NOW = datetime(2026, 11, 26, 8, 8, tzinfo=UTC)
READER = Reader(zone=ZoneInfo("America/New_York"), now=NOW)
POLICY = OperatorPolicy(to=("ops", "desk"), poll_every=30 * SECOND, full_read_every=24 * HOUR)


def _watch(name: str = "everything", **fields: object) -> WatchView:
    plain = WatchView(name=name, read_at=NOW - 10 * MINUTE)
    return replace(plain, **fields)  # type: ignore[arg-type]


def _down(name: str = "everything", error: str = "503") -> WatchView:
    since = NOW - 6 * MINUTE
    return _watch(name, failed=3, failed_since=since, error=error)


def _keys(view: View, **parts: object) -> list[str]:
    asked = {"now": NOW, "policy": POLICY, "begun": NOW - HOUR, "skew": None}
    return [one.key for one in conditions(view, **asked | parts)]  # type: ignore[arg-type]


# --- what is wrong ------------------------------------------------------------


def test_where_all_is_well_nothing_is_wrong() -> None:
    view = View(watches=(_watch(),), destinations=(DestinationView(name="ops"),))

    assert _keys(view, skew=5 * SECOND) == []


@pytest.mark.parametrize(
    ("watch", "is_down"),
    [
        pytest.param(_down(), True, id="down"),
        pytest.param(replace(_down(), failed=2), False, id="two reads"),
        pytest.param(replace(_down(), read_at=NOW - 119 * SECOND), False, id="four polls"),
        pytest.param(
            replace(_down(error="401 Unauthorized"), failed=1, read_at=NOW),
            True,
            id="refused",
        ),
        pytest.param(replace(_down(error="4012"), failed=1), False, id="another 401"),
        pytest.param(replace(_down(), read_at=None), True, id="never read"),
    ],
)
def test_kalshi_is_down_after_three_failures_and_four_polls(
    watch: WatchView, *, is_down: bool
) -> None:
    assert _keys(View(watches=(watch,))) == (["source"] if is_down else [])


def test_a_fresh_start_gives_kalshi_its_time() -> None:
    view = View(watches=(_down(),))

    assert _keys(view, begun=NOW - 20 * SECOND) == []
    assert _keys(view, begun=None) == ["source"]


def test_an_outage_lasts_until_a_read_is_complete() -> None:
    told = (Open(key="source", since=NOW - HOUR),)
    still = replace(_down(), failed=1, read_at=NOW - SECOND)

    assert _keys(View(watches=(still,), open=told)) == ["source"]
    assert _keys(View(watches=(_watch(),), open=told)) == []


@pytest.mark.parametrize(
    ("poll_every", "well", "keys"),
    [
        (30 * SECOND, 119 * SECOND, ["source"]),
        (30 * SECOND, 120 * SECOND, []),
        (5 * SECOND, 29 * SECOND, ["source"]),
        (5 * SECOND, 30 * SECOND, []),
    ],
)
def test_an_outage_is_over_after_as_long_as_it_takes_to_call_it_one(
    poll_every: timedelta, well: timedelta, keys: Sequence[str]
) -> None:
    told = (Open(key="source", since=NOW - HOUR),)
    view = View(watches=(_watch(good_since=NOW - well),), open=told)

    assert _keys(view, policy=replace(POLICY, poll_every=poll_every)) == keys


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({"suspended_since": NOW}, ["suspended:ops"]),
        ({"suspended_since": NOW, "gone": True}, ["gone:ops"]),
        ({"suspended_since": NOW, "open_since": NOW - HOUR}, ["suspended:ops"]),
        ({"open_since": NOW - 5 * MINUTE}, []),
        ({"open_since": NOW - 5 * MINUTE - SECOND}, ["failing:ops"]),
        ({"unsaid": 2}, []),
        ({"unsaid": 3}, ["failing:ops"]),
        ({"died": 1, "gone": True}, ["gone:ops", "dead:ops"]),
    ],
)
def test_of_a_destinations_troubles_the_worst_counts(
    fields: dict[str, object], keys: Sequence[str]
) -> None:
    one = replace(DestinationView(name="ops"), **fields)  # type: ignore[arg-type]

    assert _keys(View(destinations=(one,))) == keys


def test_after_a_downtime_a_breaker_has_its_five_minutes() -> None:
    broken = DestinationView(name="ops", open_since=NOW - 14 * HOUR)
    told = (Open(key="failing:ops", since=NOW - 14 * HOUR),)

    assert _keys(View(destinations=(broken,)), begun=NOW - MINUTE) == []
    assert _keys(View(destinations=(broken,)), begun=NOW - 6 * MINUTE) == ["failing:ops"]
    assert _keys(View(destinations=(broken,), open=told), begun=NOW) == ["failing:ops"]


def test_a_clock_of_which_nothing_is_known_is_as_it_was() -> None:
    told = View(open=(Open(key="clock", since=NOW),))

    assert _keys(told, skew=None) == ["clock"]
    assert _keys(View(), skew=None) == []
    assert _keys(told, skew=5 * SECOND) == []
    assert _keys(View(), skew=-6 * SECOND) == ["clock"]


# --- what has changed ---------------------------------------------------------


def test_what_is_told_already_is_not_raised_and_a_downtime_is_left_alone() -> None:
    view = View(
        watches=(_down(),),
        open=(
            Open(key="source", since=NOW),
            Open(key="clock", since=NOW),
            Open(key=f"catchup:{NOW.isoformat()}", since=NOW),
        ),
    )
    found = conditions(view, now=NOW, policy=POLICY, begun=None, skew=SECOND)

    changed = changes(view, found)

    assert changed.raised == ()
    assert [one.key for one in changed.cleared] == ["clock"]


@pytest.mark.parametrize(
    ("key", "view"),
    [
        pytest.param("suspended:ops", View(), id="destination left"),
        pytest.param("suspicious:everything", View(), id="watch left"),
        pytest.param(
            "dead:ops",
            View(destinations=(DestinationView(name="ops", dead=1),)),
            id="grew old",
        ),
        pytest.param(
            "failing:ops",
            View(destinations=(DestinationView(name="ops", suspended_since=NOW),)),
            id="turned into another",
        ),
    ],
)
def test_what_did_not_end_well_ends_in_silence(key: str, view: View) -> None:
    told = replace(view, open=(Open(key=key, since=NOW),))
    found = conditions(told, now=NOW, policy=POLICY, begun=None, skew=None)

    changed = changes(told, found)

    assert changed.cleared == ()
    assert [one.key for one in changed.lapsed] == [key]


# --- who is told --------------------------------------------------------------


def test_a_destination_hears_nothing_of_itself() -> None:
    of_ops = Condition(trouble=Trouble.DEAD, since=NOW, name="ops")
    # A watch may be called like a destination.
    of_watch = Condition(trouble=Trouble.SUSPICIOUS, since=NOW, name="ops")

    assert recipients(("ops", "desk"), of_ops) == ("desk",)
    assert recipients(("ops", "desk"), of_watch) == ("ops", "desk")


@pytest.mark.parametrize(
    ("state", "unsure", "lasted", "kind"),
    [
        ("delivered", False, MINUTE, NoticeKind.CLEARED),
        ("pending", False, MINUTE, None),
        ("pending", False, HOUR + SECOND, NoticeKind.OVER),
        ("pending", True, MINUTE, NoticeKind.OVER),
        ("dead", False, 80 * HOUR, NoticeKind.OVER),
    ],
)
def test_an_end_is_told_as_far_as_its_beginning_was(
    state: str, *, unsure: bool, lasted: timedelta, kind: NoticeKind | None
) -> None:
    one = Open(key="source", since=NOW - lasted)
    told = Told(
        key="source",
        destination="ops",
        since=one.since,
        state=state,
        may_have_arrived=unsure,
    )

    assert ending(one, told, now=NOW) is kind
    assert ending(one, None, now=NOW) is None
    assert ending(one, replace(told, since=NOW - 90 * HOUR), now=NOW) is None


# --- sending ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "may"),
    [
        (DestinationView(name="ops"), True),
        (DestinationView(name="ops", waiting=5), True),
        (DestinationView(name="ops", paused_until=NOW + SECOND), False),
        (DestinationView(name="ops", paused_until=NOW), True),
        (DestinationView(name="ops", gone=True), False),
        (DestinationView(name="ops", open_since=NOW, waiting=1), False),
        (DestinationView(name="ops", suspended_since=NOW, waiting=1), False),
        (DestinationView(name="ops", open_since=NOW), True),
    ],
)
def test_who_is_broken_is_left_to_the_deliveries_that_probe_it(
    one: DestinationView, *, may: bool
) -> None:
    assert can_be_sent_to(one, now=NOW) is may


def test_what_was_noted_before_the_clock_was_set_back_does_not_count() -> None:
    rate = Rate(count=2, per=MINUTE)

    assert not has_room(rate, [NOW, NOW - SECOND], NOW)
    assert has_room(rate, [NOW, NOW + HOUR], NOW)


@pytest.mark.parametrize(
    "outcome",
    [
        Failed(reason="no"),
        Refused(reason="no", scope=Scope.MESSAGE),
        Refused(reason="no", scope=Scope.DESTINATION),
    ],
)
def test_a_notice_is_tried_for_three_days_whatever_is_wrong(outcome: Outcome) -> None:
    notice, now, tries = _notice(), NOW, 0
    while True:
        tries += 1
        verdict = settle_notice(replace(notice, attempts=tries), outcome, now=now)
        if verdict.due_at is None:
            break
        now = verdict.due_at

    assert verdict.state == "dead"
    assert tries == len(RETRY_SCHEDULE) + 1
    assert now - NOW <= 72 * HOUR
    assert settle_notice(notice, Sent(), now=now).state == "delivered"


def test_what_may_have_arrived_goes_again_only_where_it_may() -> None:
    unsure, sure = Ambiguous(reason="no answer"), Ambiguous(reason="no", unsure=False)

    verdict = settle_notice(_notice(), unsure, now=NOW, drop_ambiguous=True)
    assert (verdict.state, verdict.reason, verdict.due_at) == (
        "dead",
        "it may have arrived: no answer",
        None,
    )
    again = [
        settle_notice(_notice(), unsure, now=NOW),
        settle_notice(_notice(), sure, now=NOW, drop_ambiguous=True),
    ]
    assert [one.state for one in again] == ["pending", "pending"]


def test_a_service_that_asks_for_patience_gets_it() -> None:
    hasty = Failed(reason="429", retry_after=SECOND)
    patient = Failed(reason="429", retry_after=9 * HOUR)

    assert settle_notice(_notice(), hasty, now=NOW).due_at == NOW + 5 * SECOND
    assert settle_notice(_notice(), patient, now=NOW).due_at == NOW + HOUR


def _notice(body: str = "One line.\nAnother *line* for <!channel>.") -> Notice:
    return Notice(
        key="source",
        kind=NoticeKind.RAISED,
        destination="ops",
        since=NOW,
        title="Kalshi cannot be read",
        body=body,
        born_at=NOW,
        attempts=1,
    )


# --- words --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "weekly"),
    [
        ("2026-11-26T08:00:00+00:00", True),
        ("2026-11-26T07:59:59+00:00", False),
        ("2026-11-26T10:00:00+00:00", False),
        ("2026-11-27T08:30:00+00:00", False),
        ("2026-07-02T07:00:00+00:00", True),
        ("2026-07-02T09:00:00+00:00", False),
    ],
)
def test_maintenance_is_thursday_morning_in_new_york(at: str, *, weekly: bool) -> None:
    assert is_maintenance(datetime.fromisoformat(at)) is weekly


@pytest.mark.parametrize(
    ("exchange", "hour", "says"),
    [
        ("maintenance", 8, "exchange is paused: probably its Thursday maintenance"),
        ("maintenance", 18, "Kalshi says that its exchange is paused."),
        ("unknown", 8, "It is the time of Kalshi's Thursday maintenance"),
        ("active", 8, "It is the time of Kalshi's Thursday maintenance"),
        ("active", 18, "exchange is open: only its list seems to fail"),
    ],
)
def test_an_outage_says_what_kalshi_says(exchange: str, hour: int, says: str) -> None:
    reader = replace(READER, now=NOW.replace(hour=hour))

    assert says in raised(_outage(), reader, exchange=exchange).body


def test_where_nothing_is_known_of_kalshi_nothing_is_said() -> None:
    reader = replace(READER, now=NOW.replace(hour=18))

    assert "exchange" not in raised(_outage(), reader, exchange="unknown").body


def _outage(**fields: object) -> Condition:
    plain = Condition(
        trouble=Trouble.SOURCE,
        since=NOW - 6 * MINUTE,
        reason="503 Service Unavailable",
        count=1,
        watches=("everything",),
    )
    return replace(plain, **fields)  # type: ignore[arg-type]


def test_every_trouble_has_words_for_its_beginning_and_its_end() -> None:
    for trouble in Trouble:
        one = replace(_outage(), trouble=trouble, name="ops", skew=9 * SECOND)
        told = Open(key=one.key, since=NOW - 90 * MINUTE)
        words = [
            raised(one, READER),
            over(told, NoticeKind.CLEARED, READER, found=None),
            over(told, NoticeKind.OVER, READER, found=None),
        ]

        for each in words:
            assert each.title
            assert all(line.strip() == line for line in each.lines)
            assert "{" not in each.title + each.body
        assert "from 01:38 to 03:08 EST (1 h 30 min)" in words[2].body
        assert "\n" not in one_line(one)


def test_nobodys_deliveries_are_not_mentioned() -> None:
    for waiting, says in ((0, "at most"), (1, "1 delivery waits, for 7 days at most")):
        one = _outage(trouble=Trouble.SUSPENDED, name="ops", count=waiting)

        assert (says in raised(one, READER).body) is bool(waiting)


def test_the_end_of_an_outage_says_what_it_held_back() -> None:
    one = Open(key="source", since=NOW - 130 * MINUTE)
    found = Found(events={Kind.CREATED: 3, Kind.UPDATED: 1_400}, on_time=1)

    words = over(one, NoticeKind.CLEARED, READER, found=found)

    assert words.title == "Kalshi answers again"
    assert words.body == (
        "Kalshi answers again after 2 h 10 min.\n"
        "Found meanwhile: 1,400 updated, 3 created; 1 start was announced on time."
    )


def test_a_downtime_is_told_in_full() -> None:
    found = Found(
        events={Kind.UPDATED: 8, Kind.CREATED: 4},
        late=1,
        missed=3,
        titles=("A", "B"),
        expired=2,
        going=10,
    )

    words = back(away=192 * MINUTE, found=found, has_read=True)

    assert words.title == "Back after 3 h 12 min"
    assert words.lines == (
        "Back after 3 h 12 min. Found: 12 changes (8 updated, 4 created).",
        "3 starts are over and were not announced: A, B and 1 more.",
        "1 start is announced late.",
        "2 deliveries came too late and expired.",
        "10 deliveries go out now.",
    )


def test_a_span_over_midnight_names_both_days() -> None:
    one = Open(key="source", since=NOW - 24 * HOUR)

    words = over(one, NoticeKind.OVER, READER, found=None)

    assert "from Wed 25 Nov, 03:08 EST to 03:08 EST (1 day)" in words.body


@pytest.mark.parametrize("markup", Format)
@pytest.mark.parametrize("titles", [0, 250])
def test_foreign_words_are_harmless_in_every_format(markup: Format, titles: int) -> None:
    limits = Limits(format=markup, title=titles, body=4_000)

    message = rendered(_notice(), limits, plain=False)

    assert (message.title == "") is (titles == 0)
    assert ("Kalshi cannot be read" in message.body) is (titles == 0)
    if markup is not Format.TEXT:
        assert "*line*" not in message.body.replace("**", "") or markup is Format.HTML
        assert "<!channel>" not in message.body.replace("\\<", "")


def test_a_notice_keeps_to_what_the_service_takes() -> None:
    notice = _notice("word " * 200 + "\nend")
    for markup in Format:
        for titles in (0, 10):
            limits = Limits(format=markup, title=titles, body=120)

            message = rendered(notice, limits, plain=False)

            assert 60 < len(message.body) <= 120
            assert len(message.title) <= titles


def test_a_plain_notice_has_no_markup_and_the_same_id() -> None:
    limits = Limits(format=Format.HTML, title=0, body=4_000)

    rich = rendered(_notice(), limits, plain=False)
    plain = rendered(_notice(), limits, plain=True)

    assert "<b>" in rich.body
    assert plain.format is Format.TEXT
    assert "<b>" not in plain.body
    assert plain.message_id == rich.message_id
