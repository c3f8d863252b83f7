from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_samples import (
    LINK,
    MOVED,
    NOW,
    START,
    TICKER,
    UNSET,
    changed,
    event,
    lines,
    listed,
    milestone,
    put,
    read_html,
)

from notifier.domain.deliveries import RenderLevel
from notifier.domain.models import Change, Event, Format, Json, Kind

WHEN = "Starts Sat 26 Sep, 15:30 EDT (in 3 h 20 min)"
QUOTE = "“The game is about to begin!”"
ABOUT = "Sports · football game · NCAAFB"
POSTPONED = milestone(details={"status": "Postponed"})


def test_a_created_milestone_is_new_and_says_when_it_starts() -> None:
    told = put(event(Kind.CREATED))

    assert told.title == "New: Syracuse at Pittsburgh"
    assert lines(told) == [WHEN, QUOTE, ABOUT, LINK]
    assert not told.urgent
    assert not told.digest


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


@pytest.mark.parametrize(
    ("zone", "when"),
    [
        ("Europe/Paris", "Starts Sat 26 Sep, 21:30 CEST (in 3 h 20 min)"),
        ("Asia/Kolkata", "Starts Sun 27 Sep, 01:00 IST (in 3 h 20 min)"),
        ("Australia/Lord_Howe", "Starts Sun 27 Sep, 06:00 UTC+10:30 (in 3 h 20 min)"),
    ],
)
def test_the_start_is_told_in_the_destinations_zone(zone: str, when: str) -> None:
    assert lines(put(event(Kind.CREATED), zone=ZoneInfo(zone)))[0] == when


def test_a_placeholder_start_is_not_a_time() -> None:
    told = put(event(Kind.CREATED, milestone(start=UNSET)))

    assert lines(told)[0] == "Start not set"
    assert "2000" not in told.title + told.body


def test_what_was_told_late_is_new_as_it_is_by_now() -> None:
    was = event(Kind.CREATED)
    now = replace(was.milestone, title="Syracuse at Pitt", start=START + timedelta(hours=1))

    told = put(replace(was, present=now))

    assert told.title.startswith("New: Syracuse at Pitt")
    assert told.events[0].title == was.milestone.title


def test_a_net_change_says_how_many_updates_it_is() -> None:
    update = event(Kind.UPDATED, changes=(MOVED,))
    told = put(replace(update, supersedes=("evt_1", "evt_2")))

    assert "The net of 3 updates." in lines(told)


def test_a_moved_start_says_from_when_to_when() -> None:
    told = put(event(Kind.UPDATED, changes=(MOVED,)))

    assert told.title == "Moved: Syracuse at Pittsburgh – now Sat 26 Sep, 15:30 EDT"
    assert lines(told) == [
        "Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)",
        *(WHEN, QUOTE, ABOUT, LINK),
    ]


@pytest.mark.parametrize(
    ("changes", "title"),
    [
        pytest.param(
            (changed("details.status", "scheduled", "cancelled"),),
            "Cancelled: Syracuse at Pittsburgh",
            id="cancelled",
        ),
        pytest.param(
            (MOVED, changed("details.status", "scheduled", "postponed")),
            "Postponed: Syracuse at Pittsburgh – now Sat 26 Sep, 15:30 EDT",
            id="postponed to a known date",
        ),
        pytest.param(
            (changed("details.status", "postponed", "scheduled"),),
            "No longer postponed: Syracuse at Pittsburgh",
            id="back",
        ),
        pytest.param(
            (changed("start_date", "2000-01-01T00:00:00Z", "2026-09-26T19:30:00Z"),),
            "Start set: Syracuse at Pittsburgh – Sat 26 Sep, 15:30 EDT",
            id="start set",
        ),
        pytest.param(
            (changed("title", "TBD", "Syracuse at Pittsburgh"),),
            "Renamed: Syracuse at Pittsburgh",
            id="renamed",
        ),
        pytest.param(
            (listed("primary_event_tickers", ("KXA",)),),
            "New markets: Syracuse at Pittsburgh",
            id="markets added",
        ),
        pytest.param(
            (listed("primary_event_tickers", ("KXA",), ("KXB",)),),
            "Markets changed: Syracuse at Pittsburgh",
            id="markets swapped",
        ),
        pytest.param(
            (changed("details.status", "scheduled", "inprogress"),),
            "Updated: Syracuse at Pittsburgh",
            id="anything else",
        ),
    ],
)
def test_the_title_of_an_update_names_what_matters_most(
    changes: tuple[Change, ...], title: str
) -> None:
    assert put(event(Kind.UPDATED, changes=changes)).title == title


def test_a_start_that_is_set_or_withdrawn_is_told_once() -> None:
    set_ = changed("start_date", "2000-01-01T00:00:00Z", "2026-09-26T19:30:00Z")
    gone = changed("start_date", "2026-09-26T19:30:00Z", "2000-01-01T00:00:00Z")

    told = put(event(Kind.UPDATED, changes=(set_,)))
    taken = put(event(Kind.UPDATED, milestone(start=UNSET), changes=(gone,)))

    assert lines(told)[:2] == [
        "Start: set to Sat 26 Sep, 15:30 EDT (in 3 h 20 min)",
        QUOTE,
    ]
    assert taken.title == "Start withdrawn: Syracuse at Pittsburgh"
    assert lines(taken)[:2] == [
        "Start: no longer set (was Sat 26 Sep, 15:30 EDT)",
        QUOTE,
    ]


@pytest.mark.parametrize(
    ("change", "said"),
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
        (
            listed("primary_event_tickers", ("KXA", "KXB")),
            "+2 markets: KXA, KXB",
        ),
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
def test_a_change_is_told_in_plain_words(change: Change, said: str) -> None:
    assert lines(put(event(Kind.UPDATED, changes=(change,))))[0] == said


def test_tickers_that_joined_both_lists_are_told_once() -> None:
    both = (
        listed("primary_event_tickers", ("KXA",)),
        listed("related_event_tickers", ("KXA",)),
    )

    told = lines(put(event(Kind.UPDATED, changes=both)))

    assert told[:2] == ["+1 market: KXA", WHEN]


def test_many_changes_are_listed_and_the_rest_counted() -> None:
    changes = tuple(changed(f"details.f{n}", n, n + 1) for n in range(10))

    told = lines(put(event(Kind.UPDATED, changes=(*changes, MOVED))))

    assert told[0] == "- Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later)"
    assert told[7:10] == ["- F6: 6 → 7", "- and 3 more changes", ""]


def deep(levels: int) -> Json:
    value: Json = "core"
    for _ in range(levels):
        value = {"inner": [value]}
    return value


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(deep(400), id="deep"),
        pytest.param(10**5000, id="long number"),
        pytest.param(float("nan"), id="no number"),
        pytest.param("\ud800", id="half a character"),
        pytest.param([], id="empty"),
    ],
)
def test_no_value_is_too_odd_to_be_told(value: Json) -> None:
    change = changed("details.odd", value, "x")

    told = lines(put(event(Kind.UPDATED, changes=(change,))))

    assert told[0].startswith("Odd: ")
    assert told[0].endswith(" → x")
    assert len(told[0]) < 120


@pytest.mark.parametrize(
    ("before_start", "title"),
    [
        (timedelta(minutes=15), "In 15 min: Syracuse at Pittsburgh"),
        (timedelta(minutes=14, seconds=59.5), "In 15 min: Syracuse at Pittsburgh"),
        (timedelta(days=1), "In 1 day: Syracuse at Pittsburgh"),
        (timedelta(0), "Starting now: Syracuse at Pittsburgh"),
    ],
)
def test_a_reminder_says_how_long_there_is(before_start: timedelta, title: str) -> None:
    told = put(event(Kind.UPCOMING), now=START - before_start)

    assert told.title == title
    assert told.urgent


@pytest.mark.parametrize(
    ("late", "title", "when"),
    [
        (timedelta(milliseconds=50), "Started: Syracuse at Pittsburgh", ""),
        (timedelta(seconds=60), "Started: Syracuse at Pittsburgh", ""),
        (
            timedelta(minutes=12),
            "Started 12 min ago: Syracuse at Pittsburgh",
            " (12 min ago)",
        ),
    ],
)
def test_a_start_is_told_as_late_as_it_is(late: timedelta, title: str, when: str) -> None:
    told = put(event(Kind.STARTED, at=START), now=START + late)

    assert told.title == title
    assert lines(told)[0] == f"Started Sat 26 Sep, 15:30 EDT{when}"


def test_a_second_start_names_the_first() -> None:
    again = event(Kind.STARTED, at=START, again_from=START - timedelta(hours=3.5))

    told = put(again, now=START)

    assert told.title == ("Started again: Syracuse at Pittsburgh (announced before at 12:00 EDT)")
    assert lines(told)[0] == ("Started Sat 26 Sep, 15:30 EDT; announced before at 12:00 EDT")


def test_a_start_that_kalshi_lists_as_postponed_says_so() -> None:
    told = put(event(Kind.STARTED, POSTPONED, at=START), now=START)

    assert told.title == ("Started: Syracuse at Pittsburgh (Kalshi lists it as postponed)")
    assert lines(told)[1] == "Kalshi lists it as postponed."


def test_an_end_says_when_it_was() -> None:
    at = START + timedelta(hours=3, minutes=32, seconds=11)

    told = put(event(Kind.ENDED, at=at), now=at + timedelta(hours=20))

    assert told.title == "Ended: Syracuse at Pittsburgh"
    assert lines(told)[0] == "Ended Sat 26 Sep, 19:02 EDT (20 h ago)"


def test_a_removal_says_that_kalshi_no_longer_lists_it() -> None:
    told = put(event(Kind.REMOVED))

    assert told.title == "Removed: Syracuse at Pittsburgh"
    assert lines(told)[:2] == [
        "Kalshi no longer lists it.",
        "Was to start Sat 26 Sep, 15:30 EDT",
    ]


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("form", list(Format))
def test_every_message_carries_the_notification_message_title_type_and_link(
    kind: Kind, form: Format
) -> None:
    told = put(event(kind, changes=(MOVED,)), markup=form)

    assert "Syracuse at Pittsburgh" in told.title
    for part in ("The game is about to begin!", "football game", LINK):
        assert part in told.body


def test_a_test_is_marked() -> None:
    told = put(event(Kind.STARTED, at=NOW), test=True)

    assert told.title == "[TEST] Started: Syracuse at Pittsburgh"
    assert told.events[0].test


def test_where_a_service_has_no_titles_the_title_opens_the_body() -> None:
    told = put(event(Kind.CREATED), markup=Format.HTML, title=0)

    assert told.title == ""
    assert told.body.startswith("<p><b>New: Syracuse at Pittsburgh</b><br>Starts <b>")


def test_the_plain_form_has_no_markup() -> None:
    told = put(event(Kind.CREATED), level=RenderLevel.PLAIN, markup=Format.HTML)

    assert told.format is Format.TEXT
    assert lines(told) == [WHEN, QUOTE, ABOUT, LINK]


def test_our_own_page_is_linked_when_there_is_one() -> None:
    told = put(event(Kind.CREATED), external_url="https://n.example.com/")

    assert lines(told)[-1] == "https://n.example.com/milestones/a852dcb8"


def test_a_milestone_without_tickers_has_no_link() -> None:
    assert lines(put(event(Kind.CREATED, milestone(tickers=()))))[-1] == ABOUT


def test_a_title_is_one_line_that_smuggles_no_header() -> None:
    hostile = milestone(title="A at B\r\nBcc: all@example.com\u2028x")

    title = put(event(Kind.CREATED, hostile)).title

    assert title == "New: A at B Bcc: all@\u200bexample.com x"


def test_a_long_title_gives_way_before_what_happened_to_it() -> None:
    long = milestone(title="Syracuse " * 100)

    title = put(event(Kind.UPDATED, long, changes=(MOVED,)), title=80).title

    assert title == (
        "Moved: Syracuse Syracuse Syracuse Syracuse Syracuse… – now Sat 26 Sep, 15:30 EDT"
    )


def test_a_milestone_without_words_still_makes_a_message() -> None:
    empty = milestone(title="\u200b", message=" ", category="", sort="", details={})

    told = put(event(Kind.CREATED, empty))

    assert told.title == "New: Untitled milestone"
    assert lines(told) == [WHEN, LINK]


def test_a_long_message_is_cut_and_says_where_the_rest_is() -> None:
    wordy = milestone(message="word " * 1000)

    told = lines(put(event(Kind.CREATED, wordy), body=600))

    assert told[0] == WHEN
    assert told[1].endswith("word… (cut; see link)")
    assert told[2:] == [ABOUT, LINK]


def test_a_cut_message_points_to_a_link_only_if_there_is_one() -> None:
    wordy = event(Kind.CREATED, milestone(message="word " * 1000))

    short, shorter = put(wordy, body=200), put(wordy, body=60)

    assert lines(short)[0].endswith("word… (cut; see link)")
    assert lines(short)[1] == LINK
    assert len(lines(shorter)) == 1
    assert shorter.body.endswith("word… (cut)")


def test_changes_that_do_not_fit_are_counted() -> None:
    changes = tuple(changed(f"details.field_{n}", n, n + 1) for n in range(10))

    told = lines(put(event(Kind.UPDATED, changes=changes), body=240))

    assert told[3:6] == ["- Field 3: 3 → 4", "- and 6 more changes", ""]
    assert told[-3:] == [WHEN, QUOTE, LINK]


def test_a_text_message_service_gets_the_message_above_all() -> None:
    told = put(event(Kind.UPDATED, changes=(MOVED,)), body=40)

    assert told.body == f"1 change\n{QUOTE}"


@pytest.mark.parametrize("form", list(Format))
def test_megabytes_are_cut_early(form: Format) -> None:
    huge = "<@x_\u202e& [y](z) " * 100_000
    monster = milestone(title=huge, message=huge, category=huge, tickers=(huge,))
    change = changed("title", huge, huge)

    told = put(event(Kind.UPDATED, monster, changes=(change,)), markup=form)

    assert len(told.title) <= 250
    assert len(told.body) <= 4000


@given(
    kind=st.sampled_from(Kind),
    markup=st.sampled_from(Format),
    words=st.tuples(st.text(max_size=400), st.text(max_size=800)),
    room=st.integers(0, 500),
    top=st.integers(0, 120),
)
def test_whatever_kalshi_says_the_message_fits(
    kind: Kind, markup: Format, words: tuple[str, str], room: int, top: int
) -> None:
    title, message = words
    odd = milestone(title=title, message=message, tickers=(title,))
    changes = (changed("title", message, title), MOVED)

    told = put(
        event(kind, odd, changes=changes),
        markup=markup,
        body=room,
        title=top,
        test=True,
    )

    assert len(told.title) <= top
    assert len(told.body) <= room
    assert "\n" not in told.title
    if markup is Format.HTML:
        assert read_html(told.body).open == []
    if markup is Format.MARKDOWN:
        assert told.body.count("**") % 2 == 0


PAGES = Path(__file__).parents[4] / "shared" / "kalshi" / "pages"


def real(row: dict[str, Json]) -> Event:
    end, details = row.get("end_date"), row["details"]
    tickers = row["primary_event_tickers"]
    assert isinstance(details, dict)
    assert isinstance(tickers, list)
    found = milestone(
        name=str(row["id"]),
        category=str(row["category"]),
        sort=str(row["type"]),
        title=str(row["title"]),
        message=str(row["notification_message"]),
        start=datetime.fromisoformat(str(row["start_date"])),
        end=datetime.fromisoformat(end) if isinstance(end, str) else None,
        tickers=tuple(str(ticker) for ticker in tickers),
        details=details,
    )
    return event(Kind.CREATED, found)


@pytest.mark.skipif(not PAGES.exists(), reason="the captured pages are not here")
def test_real_milestones_read_well() -> None:
    page = msgspec.json.decode((PAGES / "milestones_list.json").read_bytes())
    rows = page.get("response", page)["milestones"]

    for told in (put(real(row)) for row in rows):
        assert told.title.startswith("New: ")
        assert 3 <= len(lines(told)) <= 4


def test_the_sample_ticker_is_what_the_link_shows() -> None:
    assert LINK.endswith(TICKER)
