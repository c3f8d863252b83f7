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

from notifier.domain.models import Event, Format, Kind
from notifier.domain.outgoing import RenderLevel

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

    rendered = put(*many(Kind.CREATED, 2), event(Kind.CREATED, tennis), both, event(Kind.ENDED))

    assert rendered.title == "5 milestones: 3 created, 1 updated, 1 ended"
    assert rendered.digest
    assert lines(rendered) == [
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

    rendered = lines(put(one, other))

    assert rendered == [
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
    rendered = put(event(Kind.CREATED), event(Kind.UPDATED, changes=(MOVED,)))

    assert rendered.title == "2 events: 1 created, 1 updated"


def test_late_repeated_and_doubtful_starts_say_so_in_their_lines() -> None:
    doubtful = milestone(name="d", details={"status": "delayed", "league": "NCAAFB"})
    again = event(Kind.STARTED, at=START, again_from=START - timedelta(hours=1))

    rendered = lines(
        put(
            again,
            event(Kind.STARTED, doubtful, at=START),
            now=START + timedelta(minutes=5),
        )
    )

    assert rendered[1].endswith("Sat 26 Sep, 15:30 EDT (5 min ago), announced before at 14:30 EDT")
    assert rendered[2].endswith("(5 min ago) – Kalshi lists it as delayed")


def test_what_does_not_fit_is_counted_by_kind() -> None:
    rendered = lines(put(*many(Kind.CREATED, 100), *many(Kind.UPDATED, 23), body=900))

    shown = [line for line in rendered if line.startswith("- ")]
    assert 5 < len(shown) < 20
    rest = 123 - len(shown)
    assert rendered[-1] == f"and {rest} more: 100 created, {rest - 100} updated"


def test_at_most_fifty_lines_are_shown() -> None:
    rendered = lines(put(*many(Kind.CREATED, 60), body=100_000))

    assert len([line for line in rendered if line.startswith("- ")]) == 50
    assert rendered[-1] == "and 10 more created"


def test_titles_are_links_where_that_costs_no_lines() -> None:
    events = many(Kind.CREATED, 3)

    roomy = put(*events, markup=Format.MARKDOWN)
    tight = put(*events, markup=Format.MARKDOWN, body=260)

    assert "- [Team 0 at Home](https://kalshi.com/markets/" in roomy.body
    assert "- Team 2 at Home – " in tight.body
    assert "kalshi.com" not in tight.body


def test_html_digests_are_clean_lists_and_lead_to_the_rest() -> None:
    few = put(*many(Kind.CREATED, 2), markup=Format.HTML, body=300)
    lot = put(*many(Kind.CREATED, 60), markup=Format.HTML, external_url="https://n.example")

    assert few.body == (
        f"<p><b>New: Sports · football game · NCAAFB (2)</b> {GAME}</p>"
        "<ul><li>Team 0 at Home – Sat 26 Sep, 15:30 EDT</li>"
        "<li>Team 1 at Home – Sat 26 Sep, 15:30 EDT</li></ul>"
    )
    assert lot.body.endswith('<br><a href="https://n.example/">See them all</a></p>')


def test_counts_hold_no_foreign_text() -> None:
    rendered = put(
        *many(Kind.CREATED, 7, title="<b>evil</b>"),
        *many(Kind.ENDED, 1),
        level=RenderLevel.COUNTS,
        markup=Format.HTML,
    )

    assert rendered.format is Format.TEXT
    assert rendered.title == "8 milestones: 7 created, 1 ended"
    assert rendered.body == "- 7 created\n- 1 ended\n\nhttps://kalshi.com/"
    assert rendered.digest


def test_counts_of_one_kind_or_event_are_a_digest_without_foreign_text() -> None:
    single = put(event(Kind.CREATED), level=RenderLevel.COUNTS)
    two = put(*many(Kind.CREATED, 2, title="evil"), level=RenderLevel.COUNTS)

    assert single.digest
    assert single.body == "1 created\nhttps://kalshi.com/"
    assert "evil" not in two.title + two.body
    assert two.title == "2 milestones: 2 created"


def test_a_test_digest_is_marked() -> None:
    rendered = put(*many(Kind.CREATED, 2), test=True, title=0, markup=Format.MARKDOWN)

    assert rendered.body.startswith("**\\[TEST\\] 2 created: Team 0 at Home, ")


def test_a_digest_carries_every_event_for_machines() -> None:
    events = many(Kind.CREATED, 60)

    rendered = put(*events, body=200)

    assert [each.id for each in rendered.events] == [each.id for each in events]


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

    rendered = put(*events, markup=form, body=room, title=top)

    assert len(rendered.title) <= top
    assert len(rendered.body) <= room
    if form is Format.HTML:
        page = read_html(rendered.body)
        assert page.open == []
        assert page.seen <= {"p", "b", "ul", "li", "a", "br"}
    if form is Format.MARKDOWN:
        assert rendered.body.count("**") % 2 == 0


@given(room=st.integers(60, 3000))
@pytest.mark.parametrize("form", list(Format))
def test_shown_and_counted_events_are_all_there_are(form: Format, room: int) -> None:
    rendered = put(*many(Kind.CREATED, 40), markup=form, body=room)

    bullet = "<li>" if form is Format.HTML else "- "
    shown = rendered.body.count(f"{bullet}Team") + rendered.body.count("[Team")
    shown += rendered.body.count('">Team')
    rest = 40 - shown
    assert ("created" in rendered.body) == (rest > 0)
    if rest == 40:
        assert "40 created" in rendered.body
    elif rest:
        assert f"{rest} more created" in rendered.body
