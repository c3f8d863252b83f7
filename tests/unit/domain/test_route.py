import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.models import Change, Event, Json, Kind, Milestone, RouteTrace
from notifier.domain.routing import deliveries, leads, matches_any, route
from notifier.domain.rules import Match, Route

START = datetime(2026, 11, 22, 18, tzinfo=UTC)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
M15, H1, D1 = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


def milestone(
    *,
    category: str = "Sports",
    title: str = "Kansas City at Denver",
    details: Mapping[str, Json] | None = None,
    doc: Mapping[str, Json] | None = None,
) -> Milestone:
    details = {"league": "NFL"} if details is None else details
    return Milestone(
        id="m-1",
        category=category,
        type="football_game",
        title=title,
        message="The game is about to begin.",
        start=START,
        end=None,
        updated=None,
        primary_tickers=("KXNFLGAME-26NOV22KCDEN",),
        related_tickers=("KXNFLSPREAD-26NOV22KCDEN", "KXMVP-26"),
        details=details,
        doc={"category": category, "title": title, "details": details, **(doc or {})},
        raw=b"{}",
    )


def event(
    kind: Kind = Kind.CREATED,
    *,
    of: Milestone | None = None,
    changes: Sequence[Change] = (),
    lead: timedelta | None = None,
    missed: bool = False,
    at: datetime = NOW,
) -> Event:
    return Event(
        id="evt_1",
        kind=kind,
        milestone=of or milestone(),
        at=at,
        seen_at=NOW,
        changes=tuple(changes),
        lead=lead,
        missed=missed,
    )


def changed(*fields: str) -> Event:
    return event(Kind.UPDATED, changes=[Change(field=f, before="a", after="b") for f in fields])


def rule(
    name: str = "r",
    *,
    to: tuple[str, ...] = ("ops",),
    events: frozenset[Kind] = frozenset(),
    changed: tuple[str, ...] = (),
    stop: bool = False,
    reminders: tuple[timedelta, ...] = (),
    **fields: tuple[str, ...] | str,
) -> Route:
    pairs = {
        key.replace("__", "."): (patterns,) if isinstance(patterns, str) else patterns
        for key, patterns in fields.items()
    }
    return Route(
        name=name,
        to=to,
        match=Match(events=events, fields=tuple(pairs.items()), changed=changed),
        stop=stop,
        reminders=reminders,
    )


def only(event: Event, rule: Route) -> RouteTrace:
    (trace,) = route(event, [rule])
    return trace


# --- match --------------------------------------------------------------------


def test_a_route_without_match_takes_everything() -> None:
    assert only(event(), rule()) == RouteTrace(route="r", matched=True, why="matched", to=("ops",))


def test_one_value_of_a_key_is_enough() -> None:
    assert only(event(), rule(category=("Politics", "Sports"))).matched


def test_every_key_must_fit() -> None:
    trace = only(event(), rule(category="Sports", type="tennis_match"))

    assert not trace.matched
    assert trace.why == "type is football_game, wants tennis_match"


def test_every_value_that_failed_is_told() -> None:
    wants = rule(category=("Politics", "Economics", "World"), title="~^Denver")

    assert only(event(), wants).why == (
        "category is Sports, wants Politics, Economics or World; "
        "title is Kansas City at Denver, wants ~^Denver"
    )


@pytest.mark.parametrize(
    ("pattern", "value", "fits"),
    [
        pytest.param("sports", "Sports", True, id="case does not matter"),
        pytest.param("Sport", "Sports", False, id="a glob is about the whole value"),
        pytest.param("Sport*", "Sports", True, id="star"),
        pytest.param("Sport?", "Sports", True, id="question mark"),
        pytest.param("S[a-p]orts", "sPorts", True, id="brackets"),
        pytest.param("[[]a]", "[a]", True, id="a bracket in brackets is literal"),
        pytest.param("a*b", "a\nb", True, id="star spans lines"),
        pytest.param("a.b", "aXb", False, id="a dot is a dot"),
        pytest.param("STRASSE", "straße", True, id="case folds as people write"),
        pytest.param("~^sport", "Sports", True, id="a regex minds no case"),
        pytest.param("~port", "Sports", True, id="a regex is searched for"),
        pytest.param("~^port", "Sports", False, id="an anchor holds"),
        pytest.param("", "Sports", False, id="nothing fits nothing"),
    ],
)
def test_patterns_fit_as_written(pattern: str, value: str, *, fits: bool) -> None:
    assert matches_any((pattern,), value) is fits


@given(st.text())
def test_any_text_without_marks_fits_itself_in_any_case(text: str) -> None:
    plain = re.sub(r"^~+|[*?\[]", "", text)

    assert matches_any((plain.upper(),), plain.lower()) == (
        plain.upper().casefold() == plain.lower().casefold()
    )
    assert matches_any((plain,), plain)


@given(st.text(), st.text(), st.text())
def test_a_star_stands_for_any_text(before: str, middle: str, after: str) -> None:
    before, after = (re.sub(r"[*?\[~]", "", t) for t in (before, after))

    assert matches_any((f"{before}*{after}",), before + middle + after)


def test_any_ticker_of_either_list_counts() -> None:
    assert only(event(), rule(tickers="kxnflspread*")).matched
    assert only(event(), rule(tickers="KXMVP-26")).matched


def test_tickers_that_do_not_fit_are_named() -> None:
    assert only(event(), rule(tickers="KXNBA*")).why == (
        "tickers are KXNFLGAME-26NOV22KCDEN, KXNFLSPREAD-26NOV22KCDEN, KXMVP-26, wants KXNBA*"
    )


@pytest.mark.parametrize(
    ("key", "pattern", "doc"),
    [
        pytest.param("details.league", "nfl", {}, id="a detail"),
        pytest.param("source_id", "sr:*", {"source_id": "sr:1"}, id="a plain field"),
        pytest.param("x.week", "12", {"x": {"week": 12}}, id="a number"),
        pytest.param("x.live", "true", {"x": {"live": True}}, id="a boolean"),
        pytest.param("x.teams", "DEN", {"x": {"teams": ["KC", "DEN"]}}, id="a list"),
        pytest.param("x.teams.id", "2", {"x": {"teams": [{"id": 1}, {"id": 2}]}}, id="inside"),
        pytest.param("x.a~1b", "1", {"x": {"a.b": "1"}}, id="a dot inside a key"),
    ],
)
def test_a_path_reaches_into_the_milestone(key: str, pattern: str, doc: Mapping[str, Json]) -> None:
    wants = Route(name="r", to=("ops",), match=Match(fields=((key, (pattern,)),)))

    assert only(event(of=milestone(doc=doc)), wants).matched


@pytest.mark.parametrize("value", [None, {}, {"a": 1}, []])
def test_what_is_absent_fits_no_pattern(value: Json) -> None:
    trace = only(event(of=milestone(details={"league": value})), rule(details__league="*"))

    assert trace.why == "details.league is absent, wants *"


def test_a_foreign_text_is_cut_in_a_reason() -> None:
    trace = only(event(of=milestone(title="x\n" * 100_000)), rule(title="y"))

    assert len(trace.why) < 120
    assert "\n" not in trace.why


# --- kinds --------------------------------------------------------------------


def test_a_kind_that_is_not_wanted_is_told_in_words() -> None:
    wants = rule(events=frozenset({Kind.ENDED, Kind.CREATED, Kind.STARTED}))

    assert only(changed("title"), wants).why == ("kind is updated, wants created, started or ended")


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.UPCOMING])
def test_all_kinds_but_reminders_come_without_events(kind: Kind) -> None:
    assert only(event(kind, lead=None), rule()).matched


def test_a_reminder_goes_to_the_routes_that_asked_for_its_lead() -> None:
    asked = rule("asked", reminders=(D1, M15), events=frozenset({Kind.CREATED}))
    other = rule("other", reminders=(H1,), to=("desk",))
    none = rule("none", to=("desk",), events=frozenset({Kind.UPCOMING}))

    traces = route(event(Kind.UPCOMING, lead=M15), [asked, other, none])

    assert [trace.matched for trace in traces] == [True, False, False]
    assert traces[1].why == "the reminder is 15m before the start, wants 1h"
    assert traces[2].why == "kind is upcoming, and this route has no reminders"


def test_the_rest_of_the_match_still_holds_for_a_reminder() -> None:
    wants = rule(reminders=(M15,), category="Politics")

    assert not only(event(Kind.UPCOMING, lead=M15), wants).matched


def test_all_leads_are_known_once() -> None:
    assert leads([rule(reminders=(D1, M15)), rule(reminders=(M15, H1)), rule()]) == (
        M15,
        H1,
        D1,
    )


# --- changes ------------------------------------------------------------------


def test_changed_restricts_updates_and_nothing_else() -> None:
    wants = rule(changed=("start_date",))

    assert only(changed("title", "start_date"), wants).matched
    assert only(changed("title"), wants).why == "title changed, wants start_date"
    assert only(event(Kind.STARTED), wants).matched


def test_an_update_of_ignored_fields_alone_is_not_told() -> None:
    assert only(changed("details.status"), rule()).why == (
        "only details.status changed, which is ignored"
    )
    assert only(changed("source_ids.source_1_id", "source_id"), rule()).why == (
        "only source_ids.source_1_id and source_id changed, which are ignored"
    )


def test_many_ignored_fields_are_counted() -> None:
    fields = [f"source_ids.s{number}" for number in range(9)]

    assert only(changed(*fields), rule()).why == (
        "only source_ids.s0, source_ids.s1, source_ids.s2 and 6 more changed, which are ignored"
    )


def test_one_field_that_is_not_ignored_tells_the_update() -> None:
    assert only(changed("details.status", "title"), rule()).matched


def test_changed_beats_ignore_changes() -> None:
    assert only(changed("details.status"), rule(changed=("details.*",))).matched


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("scheduled", "cancelled", True),
        ("scheduled", "canceled", True),
        ("scheduled", "Postponed", True),
        ("inprogress", "abandoned", True),
        ("inprogress", "SUSPENDED", True),
        ("scheduled", "start_delayed", True),
        ("delayed", "inprogress", True),
        (None, "postponed", True),
        ("cancelled", None, True),
        ("delayed", "postponed", True),
        ("scheduled", "inprogress", False),
        ("scheduled", "undelayed", False),
        (["cancelled"], 5, False),
    ],
)
def test_a_grave_status_is_never_ignored(before: Json, after: Json, *, told: bool) -> None:
    change = Change(field="details.status", before=before, after=after)

    assert only(event(Kind.UPDATED, changes=[change]), rule()).matched is told


def test_a_grave_status_does_not_widen_changed() -> None:
    change = Change(field="details.status", before="scheduled", after="cancelled")
    wants = rule(changed=("start_date",))

    assert not only(event(Kind.UPDATED, changes=[change]), wants).matched


def test_a_bare_timestamp_is_told_to_those_who_asked_for_timestamps() -> None:
    assert only(changed("last_updated_ts"), rule()).matched


def test_an_update_without_changes_is_not_ignored() -> None:
    assert only(event(Kind.UPDATED), rule()).matched


def test_ignoring_nothing_tells_every_update() -> None:
    everything = Route(name="r", to=("ops",), ignore_changes=())

    assert only(changed("details.status"), everything).matched


# --- the walk -----------------------------------------------------------------


def test_the_first_route_that_names_a_destination_has_it() -> None:
    traces = route(
        event(),
        [rule("a", to=("x", "y")), rule("b", to=("y", "z")), rule("c", to=("z",))],
    )

    assert [trace.to for trace in traces] == [("x", "y"), ("z",), ()]
    assert traces[1].why == "matched; y has it from a"


def test_a_route_that_stops_ends_the_walk_if_it_matched() -> None:
    traces = route(
        event(),
        [
            rule("politics", stop=True, category="Politics"),
            rule("games", stop=True),
            rule("rest", to=("desk",)),
        ],
    )

    assert [trace.matched for trace in traces] == [False, True, False]
    assert traces[2] == RouteTrace(
        route="rest", matched=False, why="not reached: games stopped the walk"
    )


def test_no_routes_owe_nothing() -> None:
    assert route(event(), []) == ()


# --- deliveries ---------------------------------------------------------------


def owed(event: Event, *rules: Route) -> list[tuple[str, str, datetime | None]]:
    return [
        (delivery.destination, delivery.route, delivery.expires_at)
        for delivery in deliveries(
            event,
            route(event, rules),
            due_at=NOW + M15,
            now=NOW,
            started_grace=timedelta(minutes=30),
        )
    ]


def test_a_delivery_says_all_that_the_store_needs() -> None:
    traces = route(event(), [rule()])

    (delivery,) = deliveries(event(), traces, due_at=NOW + M15, now=NOW, started_grace=H1)

    assert (delivery.event_id, delivery.milestone_id) == ("evt_1", "m-1")
    assert (delivery.due_at, delivery.created_at) == (NOW + M15, NOW)
    assert delivery.kind is Kind.CREATED
    assert delivery.id.startswith("dlv_")


def test_each_destination_is_owed_an_event_once_by_the_first_route() -> None:
    rules = [rule("a", to=("x", "x")), rule("b", to=("x", "y"))]

    assert owed(event(), *rules) == [("x", "a", None), ("y", "b", None)]


def test_a_delivery_of_the_same_event_to_the_same_place_has_the_same_id() -> None:
    first, second = (
        deliveries(event(), route(event(), [rule(name)]), due_at=due, now=due, started_grace=H1)[
            0
        ].id
        for name, due in (("a", NOW), ("b", START))
    )

    assert first == second


def test_a_start_expires_after_its_grace() -> None:
    ((_, _, expires_at),) = owed(event(Kind.STARTED, at=START), rule())

    assert expires_at == START + timedelta(minutes=30)


@pytest.mark.parametrize(
    ("lead", "expires_at"),
    [
        pytest.param(D1, START - D1 + timedelta(minutes=30), id="half an hour later"),
        pytest.param(M15, START, id="not after the start"),
    ],
)
def test_a_reminder_expires(lead: timedelta, expires_at: datetime) -> None:
    reminder = event(Kind.UPCOMING, lead=lead, at=START - lead)

    assert owed(reminder, rule(reminders=(lead,))) == [("ops", "r", expires_at)]


@pytest.mark.parametrize("kind", [Kind.CREATED, Kind.UPDATED, Kind.ENDED, Kind.REMOVED])
def test_other_kinds_do_not_expire(kind: Kind) -> None:
    assert owed(event(kind), rule()) == [("ops", "r", None)]


def test_a_missed_event_is_owed_to_nobody() -> None:
    assert owed(event(Kind.STARTED, missed=True), rule()) == []
