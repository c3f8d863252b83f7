from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_samples import (
    LINK,
    MOVED,
    START,
    UNSET,
    changed,
    event,
    lines,
    listed,
    milestone,
    put,
    read_html,
)

from notifier.domain.models import Change, Event, Format, Json, Kind
from notifier.domain.outgoing import RenderLevel

WHEN = "Starts Sat 26 Sep, 15:30 EDT (in 3 h 20 min)"
QUOTE = "“The game is about to begin!”"
ABOUT = "Sports · football game · NCAAFB"
POSTPONED = milestone(details={"status": "Postponed"})
SET = changed("start_date", "2000-01-01T00:00:00Z", "2026-09-26T19:30:00Z")
WITHDRAWN = changed("start_date", "2026-09-26T19:30:00Z", "2000-01-01T00:00:00Z")


def updated(*changes: Change) -> Event:
    return event(Kind.UPDATED, changes=changes)


def test_a_created_milestone_is_new_and_says_when_it_starts() -> None:
    message = put(event(Kind.CREATED))

    assert message.title == "New: Syracuse at Pittsburgh"
    assert lines(message) == [WHEN, QUOTE, ABOUT, LINK]
    assert not message.urgent
    assert not message.digest


def test_markdown_and_html_say_the_same_with_markup_of_their_own() -> None:
    markdown = put(event(Kind.CREATED), markup=Format.MARKDOWN)
    html = put(event(Kind.CREATED), markup=Format.HTML)

    assert markdown.body == (
        "Starts **Sat 26 Sep, 15:30 EDT** (in 3 h 20 min)  \n"
        f"{QUOTE}  \n{ABOUT}  \n[Open on Kalshi]({LINK})"
    )
    assert html.body == (
        "<p>Starts <b>Sat 26 Sep, 15:30 EDT</b> (in 3 h 20 min)<br>"
        f'{QUOTE}<br>{ABOUT}<br><a href="{LINK}">Open on Kalshi</a></p>'
    )


def test_the_start_is_shown_in_the_destinations_zone() -> None:
    message = put(event(Kind.CREATED), zone=ZoneInfo("Australia/Lord_Howe"))

    assert lines(message)[0] == "Starts Sun 27 Sep, 06:00 UTC+10:30 (in 3 h 20 min)"


def test_a_placeholder_start_is_not_a_time() -> None:
    message = put(event(Kind.CREATED, milestone(start=UNSET)))

    assert lines(message)[0] == "Start not set"
    assert "2000" not in message.title + message.body


def test_a_delayed_message_shows_the_milestone_as_it_is_now() -> None:
    was = event(Kind.CREATED)
    now = replace(was.milestone, title="Syracuse at Pitt", start=START + timedelta(hours=1))

    message = put(replace(was, present=now))

    assert message.title.startswith("New: Syracuse at Pitt")
    assert message.events[0].title == was.milestone.title


def test_a_net_change_says_how_many_updates_it_is() -> None:
    message = put(replace(updated(MOVED), supersedes=("evt_1", "evt_2")))

    assert "The net of 3 updates." in lines(message)


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        ([MOVED], "Moved: Syracuse at Pittsburgh – now Sat 26 Sep, 15:30 EDT"),
        ([SET], "Start set: Syracuse at Pittsburgh – Sat 26 Sep, 15:30 EDT"),
        (
            [MOVED, changed("details.status", "scheduled", "postponed")],
            "Postponed: Syracuse at Pittsburgh – now Sat 26 Sep, 15:30 EDT",
        ),
        (
            [changed("details.status", "scheduled", "cancelled")],
            "Cancelled: Syracuse at Pittsburgh",
        ),
        (
            [changed("details.status", "postponed", "scheduled")],
            "No longer postponed: Syracuse at Pittsburgh",
        ),
        ([changed("title", "TBD", "Syracuse")], "Renamed: Syracuse at Pittsburgh"),
        ([listed("primary_event_tickers", ("KXA",))], "New markets: Syracuse at Pittsburgh"),
        (
            [listed("primary_event_tickers", ("KXA",), ("KXB",))],
            "Markets changed: Syracuse at Pittsburgh",
        ),
        ([changed("details.status", "a", "inprogress")], "Updated: Syracuse at Pittsburgh"),
    ],
)
def test_the_title_of_an_update_names_the_most_important_change(
    changes: list[Change], title: str
) -> None:
    assert put(updated(*changes)).title == title


def test_a_moved_start_is_said_beside_the_new_one() -> None:
    assert lines(put(updated(MOVED))) == [
        "Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)",
        *(WHEN, QUOTE, ABOUT, LINK),
    ]


def test_a_start_that_is_set_or_withdrawn_is_said_once() -> None:
    withdrawn = put(event(Kind.UPDATED, milestone(start=UNSET), changes=(WITHDRAWN,)))

    assert lines(put(updated(SET)))[:2] == [
        "Start: set to Sat 26 Sep, 15:30 EDT (in 3 h 20 min)",
        QUOTE,
    ]
    assert withdrawn.title == "Start withdrawn: Syracuse at Pittsburgh"
    assert lines(withdrawn)[:2] == ["Start: no longer set (was Sat 26 Sep, 15:30 EDT)", QUOTE]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (changed("details.status", "live", "final"), "Status: live → final"),
        (changed("details.status", None, "scheduled"), "Status: set to scheduled"),
        (changed("details.status", "closed", None), "Status: cleared (was closed)"),
        (changed("title", "A at B", "C at D"), "Title: “A at B” → “C at D”"),
        (changed("type", "football_game", "race"), "Type: football game → race"),
        (changed("details.season.week", 3, 4.5), "Season week: 3 → 4.5"),
        (changed("details.neutral_site", False, True), "Neutral site: no → yes"),
        (changed("details.a~1b~0c", "x", "y"), "A.b~c: x → y"),
        (
            changed("end_date", None, "2026-09-27T02:30:00.123456Z"),
            "End: set to Sat 26 Sep, 22:30 EDT (in 10 h 20 min)",
        ),
        (
            changed("details.tv", None, [{"net": "ESPN", "hd": True}, None]),
            'Tv: set to [{net: "ESPN", hd: yes}, none]',
        ),
        (listed("primary_event_tickers", ("KXA", "KXB")), "+2 markets: KXA, KXB"),
        (
            listed("related_event_tickers", tuple("ABCDE"), ("Z",)),
            "+5 related markets: A, B, C and 2 more; −1 related market: Z",
        ),
        (changed("start_date", "soon", "later"), "Start: soon → later"),
        (
            changed("last_updated_ts", "0001-01-01T00:00:00Z", "2026-09-26T16:00:00Z"),
            "Last update: set to Sat 26 Sep, 12:00 EDT (10 min ago)",
        ),
    ],
)
def test_a_change_is_one_sentence(change: Change, text: str) -> None:
    assert lines(put(updated(change)))[0] == text


def test_tickers_that_were_added_to_both_lists_are_shown_once() -> None:
    fields = ("primary_event_tickers", "related_event_tickers")

    body = lines(put(updated(*(listed(field, ("KXA",)) for field in fields))))

    assert body[:2] == ["+1 market: KXA", WHEN]


def test_many_changes_are_listed_and_the_rest_counted() -> None:
    changes = [changed(f"details.f{n}", n, n + 1) for n in range(10)]

    body = lines(put(updated(*changes, MOVED)))

    assert body[0] == "- Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)"
    assert body[7:10] == ["- F6: 6 → 7", "- and 3 more changes", ""]


def nested(levels: int) -> Json:
    value: Json = "core"
    for _ in range(levels):
        value = {"inner": [value]}
    return value


@pytest.mark.parametrize(
    "value",
    [nested(400), 10**5000, float("nan"), "\ud800", []],
    ids=["deep", "long number", "no number", "half a character", "empty"],
)
def test_an_odd_value_is_shown_in_a_short_line(value: Json) -> None:
    [first, *_] = lines(put(updated(changed("details.odd", value, "x"))))

    assert first.startswith("Odd: ")
    assert first.endswith(" → x")
    assert len(first) < 120


@pytest.mark.parametrize(
    ("before_start", "words"),
    [
        (timedelta(minutes=14, seconds=59.5), "In 15 min"),
        (timedelta(days=1), "In 1 day"),
        (timedelta(0), "Starting now"),
    ],
)
def test_a_reminder_says_how_long_there_is(before_start: timedelta, words: str) -> None:
    message = put(event(Kind.UPCOMING), now=START - before_start)

    assert message.title == f"{words}: Syracuse at Pittsburgh"
    assert message.urgent


@pytest.mark.parametrize(
    ("late", "title", "when"),
    [
        (timedelta(seconds=60), "Started: Syracuse at Pittsburgh", ""),
        (timedelta(minutes=12), "Started 12 min ago: Syracuse at Pittsburgh", " (12 min ago)"),
    ],
)
def test_a_late_start_says_how_late_it_is(late: timedelta, title: str, when: str) -> None:
    message = put(event(Kind.STARTED, at=START), now=START + late)

    assert message.title == title
    assert lines(message)[0] == f"Started Sat 26 Sep, 15:30 EDT{when}"


def test_a_second_start_names_the_first() -> None:
    again = event(Kind.STARTED, at=START, again_from=START - timedelta(hours=3.5))

    message = put(again, now=START)

    assert message.title == (
        "Started again: Syracuse at Pittsburgh (announced before at 12:00 EDT)"
    )
    assert lines(message)[0] == ("Started Sat 26 Sep, 15:30 EDT; announced before at 12:00 EDT")


def test_a_start_that_kalshi_lists_as_postponed_says_so() -> None:
    message = put(event(Kind.STARTED, POSTPONED, at=START), now=START)

    assert message.title == "Started: Syracuse at Pittsburgh (Kalshi lists it as postponed)"
    assert lines(message)[1] == "Kalshi lists it as postponed."


def test_an_end_and_a_removal_say_when_it_was() -> None:
    end = START + timedelta(hours=3, minutes=32, seconds=11)
    ended = put(event(Kind.ENDED, at=end), now=end + timedelta(hours=20))
    removed = put(event(Kind.REMOVED))

    assert ended.title == "Ended: Syracuse at Pittsburgh"
    assert lines(ended)[0] == "Ended Sat 26 Sep, 19:02 EDT (20 h ago)"
    assert removed.title == "Removed: Syracuse at Pittsburgh"
    assert lines(removed)[:2] == [
        "Kalshi no longer lists it.",
        "Was to start Sat 26 Sep, 15:30 EDT",
    ]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("form", list(Format))
def test_every_message_carries_the_notification_message_title_type_and_link(
    kind: Kind, form: Format
) -> None:
    message = put(event(kind, changes=(MOVED,)), markup=form)

    assert "Syracuse at Pittsburgh" in message.title
    for part in ("The game is about to begin!", "football game", LINK):
        assert part in message.body


def test_a_test_is_marked() -> None:
    message = put(event(Kind.STARTED), test=True)

    assert message.title == "[TEST] Started: Syracuse at Pittsburgh"
    assert message.events[0].test


def test_the_title_opens_the_body_of_a_service_without_titles() -> None:
    message = put(event(Kind.CREATED), markup=Format.HTML, title=0)

    assert message.title == ""
    assert message.body.startswith("<p><b>New: Syracuse at Pittsburgh</b><br>Starts <b>")


def test_the_plain_form_has_no_markup() -> None:
    message = put(event(Kind.CREATED), level=RenderLevel.PLAIN, markup=Format.HTML)

    assert message.format is Format.TEXT
    assert lines(message) == [WHEN, QUOTE, ABOUT, LINK]


def test_the_link_leads_to_our_own_page_if_there_is_one_and_may_be_missing() -> None:
    ours = put(event(Kind.CREATED), external_url="https://n.example.com/")
    none = put(event(Kind.CREATED, milestone(tickers=())))

    assert lines(ours)[-1] == "https://n.example.com/milestones/a852dcb8"
    assert lines(none)[-1] == ABOUT


def test_a_title_is_one_line_without_a_smuggled_header() -> None:
    hostile = milestone(title="A at B\r\nBcc: all@example.com\u2028x")

    title = put(event(Kind.CREATED, hostile)).title

    assert title == "New: A at B Bcc: all@\u200bexample.com x"


def test_a_long_title_is_cut_before_the_words_around_it() -> None:
    long = milestone(title="Syracuse " * 100)

    title = put(event(Kind.UPDATED, long, changes=(MOVED,)), title=80).title

    assert title == (
        "Moved: Syracuse Syracuse Syracuse Syracuse Syracuse… – now Sat 26 Sep, 15:30 EDT"
    )


def test_a_milestone_without_texts_still_makes_a_message() -> None:
    empty = milestone(title="\u200b", message=" ", category="", sort="", details={})

    message = put(event(Kind.CREATED, empty))

    assert message.title == "New: Untitled milestone"
    assert lines(message) == [WHEN, LINK]


def test_a_long_message_is_cut_and_points_to_the_link_if_there_is_one() -> None:
    wordy = event(Kind.CREATED, milestone(message="word " * 1000))

    long, short, shorter = (lines(put(wordy, body=limit)) for limit in (600, 200, 60))

    assert long[0] == WHEN
    assert long[1].endswith("word… (cut; see link)")
    assert long[2:] == [ABOUT, LINK]
    assert short[0].endswith("word… (cut; see link)")
    assert short[1:] == [LINK]
    assert len(shorter) == 1
    assert shorter[0].endswith("word… (cut)")


def test_changes_that_do_not_fit_are_counted() -> None:
    changes = [changed(f"details.field_{n}", n, n + 1) for n in range(10)]

    body = lines(put(updated(*changes), body=240))

    assert body[3:6] == ["- Field 3: 3 → 4", "- and 6 more changes", ""]
    assert body[-3:] == [WHEN, QUOTE, LINK]


def test_a_text_message_service_gets_the_message_above_all() -> None:
    assert put(updated(MOVED), body=40).body == f"1 change\n{QUOTE}"


@pytest.mark.parametrize("form", list(Format))
def test_megabytes_are_cut(form: Format) -> None:
    huge = "<@x_\u202e& [y](z) " * 100_000
    monster = milestone(title=huge, message=huge, category=huge, tickers=(huge,))

    message = put(
        event(Kind.UPDATED, monster, changes=(changed("title", huge, huge),)), markup=form
    )

    assert len(message.title) <= 250
    assert len(message.body) <= 4000


@given(
    kind=st.sampled_from(Kind),
    markup=st.sampled_from(Format),
    texts=st.tuples(st.text(max_size=400), st.text(max_size=800)),
    room=st.integers(0, 500),
    top=st.integers(0, 120),
)
def test_a_message_of_any_text_fits(
    kind: Kind, markup: Format, texts: tuple[str, str], room: int, top: int
) -> None:
    title, text = texts
    odd = milestone(title=title, message=text, tickers=(title,))
    changes = (changed("title", text, title), MOVED)

    message = put(event(kind, odd, changes=changes), markup=markup, body=room, title=top, test=True)

    assert len(message.title) <= top
    assert len(message.body) <= room
    assert "\n" not in message.title
    if markup is Format.HTML:
        assert read_html(message.body).open == []
    if markup is Format.MARKDOWN:
        assert message.body.count("**") % 2 == 0
