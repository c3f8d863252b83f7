from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from message_samples import (
    MOVED,
    NOW,
    START,
    changed,
    event,
    lines,
    milestone,
    put,
    read_html,
)

from notifier.domain.deliveries import RenderLevel
from notifier.domain.models import Event, Format, Kind

BOTH = "Start: moved from Sat 12:00 to 15:30 EDT (3 h 30 min later) and 1 more change"
GAME = "“The game is about to begin!”"


def many(kind: Kind, number: int, **same: str) -> list[Event]:
    return [
        event(
            kind,
            milestone(name=f"{kind.value}{n}", title=same.get("title", f"Team {n} at Home")),
            changes=(MOVED,) if kind is Kind.UPDATED else (),
            at=START if kind is Kind.STARTED else NOW,
        )
        for n in range(number)
    ]


def test_many_events_make_one_message_grouped_by_kind_and_sort() -> None:
    tennis = milestone(
        name="t", title="A vs B", sort="tennis_match", message="Who wins?", details={}
    )
    more = changed("title", "x", "y")
    both = event(Kind.UPDATED, milestone(name="u9"), changes=(MOVED, more))

    told = put(*many(Kind.CREATED, 2), event(Kind.CREATED, tennis), both, event(Kind.ENDED))

    assert told.title == "5 milestones: 3 created, 1 updated, 1 ended"
    assert told.digest
    assert lines(told) == [
        f"Updated: Sports · football game · NCAAFB {GAME}",
        f"- Syracuse at Pittsburgh – {BOTH}",
        "",
        f"New: Sports · football game · NCAAFB (2) {GAME}",
        "- Team 0 at Home – Sat 26 Sep, 15:30 EDT",
        "- Team 1 at Home – Sat 26 Sep, 15:30 EDT",
        "",
        "New: Sports · tennis match “Who wins?”",
        "- A vs B – Sat 26 Sep, 15:30 EDT",
        "",
        f"Ended: Sports · football game · NCAAFB {GAME}",
        "- Syracuse at Pittsburgh – Sat 26 Sep, 12:10 EDT",
    ]


def test_messages_that_differ_stand_with_their_milestones() -> None:
    one, other = (
        event(Kind.CREATED, milestone(name=name, title=name, message=f"Will {name} win?"))
        for name in ("Ann", "Bob")
    )

    told = lines(put(one, other))

    assert told == [
        "New: Sports · football game · NCAAFB (2)",
        "- Ann – Sat 26 Sep, 15:30 EDT “Will Ann win?”",
        "- Bob – Sat 26 Sep, 15:30 EDT “Will Bob win?”",
    ]


def test_a_digest_of_one_kind_names_the_first() -> None:
    started = put(*many(Kind.STARTED, 9), now=START)
    coming = put(*many(Kind.UPCOMING, 2), now=START - timedelta(minutes=15))

    assert started.title == ("9 started: Team 0 at Home, Team 1 at Home, Team 2 at Home and 6 more")
    assert started.urgent
    assert coming.title == "2 starting in 15 min: Team 0 at Home, Team 1 at Home"
    assert lines(coming)[1] == "- Team 0 at Home – in 15 min, Sat 26 Sep, 15:30 EDT"


def test_several_events_of_one_milestone_are_not_several_milestones() -> None:
    told = put(event(Kind.CREATED), event(Kind.UPDATED, changes=(MOVED,)))

    assert told.title == "2 events: 1 created, 1 updated"


def test_late_repeated_and_doubtful_starts_say_so_in_their_lines() -> None:
    doubtful = milestone(name="d", details={"status": "delayed", "league": "NCAAFB"})
    again = event(Kind.STARTED, at=START, again_from=START - timedelta(hours=1))

    told = lines(
        put(
            again,
            event(Kind.STARTED, doubtful, at=START),
            now=START + timedelta(minutes=5),
        )
    )

    assert told[1].endswith("Sat 26 Sep, 15:30 EDT (5 min ago), announced before at 14:30 EDT")
    assert told[2].endswith("(5 min ago) – Kalshi lists it as delayed")


def test_what_does_not_fit_is_counted_by_kind() -> None:
    told = lines(put(*many(Kind.CREATED, 100), *many(Kind.UPDATED, 23), body=900))

    shown = [line for line in told if line.startswith("- ")]
    assert 5 < len(shown) < 20
    rest = 123 - len(shown)
    assert told[-1] == f"and {rest} more: 100 created, {rest - 100} updated"


def test_at_most_fifty_lines_are_shown() -> None:
    told = lines(put(*many(Kind.CREATED, 60), body=100_000))

    assert len([line for line in told if line.startswith("- ")]) == 50
    assert told[-1] == "and 10 more created"


def test_titles_are_links_where_that_costs_no_lines() -> None:
    events = many(Kind.CREATED, 3)

    roomy = put(*events, markup=Format.MARKDOWN)
    tight = put(*events, markup=Format.MARKDOWN, body=260)

    assert "- [Team 0 at Home](https://kalshi.com/markets/" in roomy.body
    assert "- Team 2 at Home – " in tight.body
    assert "kalshi.com" not in tight.body


def test_the_rest_can_be_seen_on_our_own_page() -> None:
    told = put(*many(Kind.CREATED, 60), markup=Format.HTML, external_url="https://n.example")

    assert told.body.endswith('<br><a href="https://n.example/">See them all</a></p>')


def test_html_digests_are_clean_lists() -> None:
    told = put(*many(Kind.CREATED, 2), markup=Format.HTML, body=300)

    assert told.body == (
        f"<p><b>New: Sports · football game · NCAAFB (2)</b> {GAME}</p>"
        "<ul><li>Team 0 at Home – Sat 26 Sep, 15:30 EDT</li>"
        "<li>Team 1 at Home – Sat 26 Sep, 15:30 EDT</li></ul>"
    )


def test_counts_hold_no_foreign_text() -> None:
    told = put(
        *many(Kind.CREATED, 7, title="<b>evil</b>"),
        *many(Kind.ENDED, 1),
        level=RenderLevel.COUNTS,
        markup=Format.HTML,
    )

    assert told.format is Format.TEXT
    assert told.title == "8 milestones: 7 created, 1 ended"
    assert told.body == "- 7 created\n- 1 ended\n\nhttps://kalshi.com/"
    assert told.digest


def test_a_single_event_as_counts_is_still_a_digest() -> None:
    told = put(event(Kind.CREATED), level=RenderLevel.COUNTS)

    assert told.digest
    assert told.body == "1 created\nhttps://kalshi.com/"


def test_counts_of_one_kind_name_nothing_that_was_refused() -> None:
    told = put(*many(Kind.CREATED, 2, title="evil"), level=RenderLevel.COUNTS)

    assert "evil" not in told.title + told.body
    assert told.title == "2 milestones: 2 created"


def test_a_test_digest_is_marked() -> None:
    told = put(*many(Kind.CREATED, 2), test=True, title=0, markup=Format.MARKDOWN)

    assert told.body.startswith("**\\[TEST\\] 2 created: Team 0 at Home, ")


def test_a_digest_carries_every_event_for_machines() -> None:
    events = many(Kind.CREATED, 60)

    told = put(*events, body=200)

    assert [each.id for each in told.events] == [each.id for each in events]


@given(
    titles=st.lists(st.text(max_size=150), min_size=2, max_size=12),
    message=st.text(max_size=200),
    form=st.sampled_from(Format),
    room=st.integers(0, 1500),
    top=st.integers(0, 100),
)
def test_a_digest_fits_and_its_markup_is_whole(
    titles: list[str], message: str, form: Format, room: int, top: int
) -> None:
    kinds = list(Kind)
    events = [
        event(
            kinds[n % len(kinds)],
            milestone(name=str(n), title=title, message=message, tickers=(title,)),
            changes=(changed("title", message, title),),
        )
        for n, title in enumerate(titles)
    ]

    told = put(*events, markup=form, body=room, title=top)

    assert len(told.title) <= top
    assert len(told.body) <= room
    if form is Format.HTML:
        page = read_html(told.body)
        assert page.open == []
        assert page.seen <= {"p", "b", "ul", "li", "a", "br"}
    if form is Format.MARKDOWN:
        assert told.body.count("**") % 2 == 0


@given(room=st.integers(60, 3000))
@pytest.mark.parametrize("form", list(Format))
def test_shown_and_counted_events_are_all_there_are(form: Format, room: int) -> None:
    told = put(*many(Kind.CREATED, 40), markup=form, body=room)

    bullet = "<li>" if form is Format.HTML else "- "
    shown = told.body.count(f"{bullet}Team") + told.body.count("[Team")
    shown += told.body.count('">Team')
    rest = 40 - shown
    assert ("created" in told.body) == (rest > 0)
    if rest == 40:
        assert "40 created" in told.body
    elif rest:
        assert f"{rest} more created" in told.body
