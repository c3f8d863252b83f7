"""What a silence keeps from whom."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from message_samples import changed, event, milestone

from notifier.domain.models import Event, Kind
from notifier.domain.rules import Silence
from notifier.domain.silences import (
    create_silence,
    find_silence,
    format_keys,
    keys_of,
    silenced_reason,
)

NOW = datetime(2026, 11, 23, 19, tzinfo=UTC)
UNTIL = datetime(2026, 11, 24, 7, tzinfo=UTC)
BEHIND = timezone(timedelta(hours=-5))
GAME = milestone(category="Sports", sort="football_game", details={"league": "Pro Football"})
ELECTION = milestone(category="Elections", sort="election", details={})


def silence(keys: Mapping[str, Any], *, why: str = "too noisy", until: datetime = UNTIL) -> Silence:
    return create_silence(keys, why=why, created_at=NOW, until=until)


def falls(keys: Mapping[str, Sequence[str]], one: Event, *, to: str = "ops") -> bool:
    return find_silence(one, to, [silence(keys)]) is not None


@pytest.mark.parametrize(
    ("keys", "game", "election"),
    [
        ({"category": ["sports"]}, True, False),
        ({"category": ["Sports", "Elections"]}, True, True),
        ({"category": ["*"]}, True, True),
        ({"type": ["football*"]}, True, False),
        ({"type": ["~^elect"]}, False, True),
        ({"details.league": ["Pro *"]}, True, False),
        ({"category": ["Sports"], "type": ["election"]}, False, False),
    ],
    ids=lambda value: format_keys(value) if isinstance(value, dict) else "",
)
def test_keys_match_as_in_a_route(keys: dict[str, list[str]], game: bool, election: bool) -> None:
    assert falls(keys, event(Kind.STARTED, GAME)) is game
    assert falls(keys, event(Kind.STARTED, ELECTION)) is election


@pytest.mark.parametrize("kind", list(Kind))
def test_a_silence_of_kinds_is_about_these_alone(kind: Kind) -> None:
    one = event(kind, GAME)

    assert falls({"events": ["started", "upcoming"]}, one) is (
        kind in {Kind.STARTED, Kind.UPCOMING}
    )


@pytest.mark.parametrize("kind", list(Kind))
def test_a_silence_without_kinds_is_about_all_of_them(kind: Kind) -> None:
    one = event(kind, GAME, changes=(changed("details.status", "live", "postponed"),))

    assert falls({"category": ["Sports"]}, one)


def test_a_silence_of_changes_is_about_updates_with_one_of_them() -> None:
    keys = {"changed": ["start_*"]}
    moved = changed("start_date", "2026-11-24T19:00:00Z", "2026-11-24T20:00:00Z")
    renamed = changed("title", "A", "B")

    assert falls(keys, event(Kind.UPDATED, GAME, changes=(moved, renamed)))
    assert not falls(keys, event(Kind.UPDATED, GAME, changes=(renamed,)))
    assert not falls(keys, event(Kind.STARTED, GAME))


def test_a_silence_of_a_destination_leaves_the_others_alone() -> None:
    keys = {"category": ["Sports"], "destination": ["desk", "hook"]}

    silenced = [
        to for to in ("ops", "desk", "hook") if falls(keys, event(Kind.CREATED, GAME), to=to)
    ]

    assert silenced == ["desk", "hook"]


def test_the_first_of_several_silences_is_the_reason() -> None:
    silences = [
        silence({"category": [name]}, why=why)
        for name, why in (("Elections", "one"), ("Sports", "two"), ("*", "three"))
    ]

    found = find_silence(event(Kind.CREATED, GAME), "ops", silences)

    assert found is silences[1]
    assert find_silence(event(Kind.CREATED, GAME), "ops", []) is None


def test_the_reason_names_the_silence_its_end_and_what_it_is_for() -> None:
    paris = UNTIL.astimezone(ZoneInfo("Europe/Paris"))
    one = silence({"category": ["Sports"]}, why=" too\nno\x1bisy ", until=paris)

    assert one.id.startswith("sil_")
    assert len(one.id) == 30
    assert silenced_reason(one) == f"silenced until 2026-11-24T07:00:00Z by {one.id}: too noisy"


def test_an_id_tells_one_wish_from_another() -> None:
    wishes = [
        silence({"category": ["Sports"]}),
        silence({"category": ["Elections"]}),
        silence({"category": ["Sports"], "destination": ["ops"]}),
        silence({"category": ["Sports"]}, until=UNTIL + timedelta(hours=1)),
    ]

    assert len({one.id for one in wishes}) == len(wishes)
    assert silence({"category": ["Sports"]}) == wishes[0]


def test_what_is_spelt_can_be_understood_again() -> None:
    keys = {
        "title": ["~(a|b)", "*final*"],
        "changed": ["start_date"],
        "destination": ["ops", "desk"],
    }

    one = silence(keys)

    assert keys_of(one) == {
        "events": ["updated"],
        "title": ["~(a|b)", "*final*"],
        "changed": ["start_date"],
        "destination": ["desk", "ops"],
    }
    assert silence(keys_of(one)) == one
    assert format_keys({"title": ["~(a|b)", "*final*"], "type": ["x"]}) == (
        "title=~(a|b), title=*final*, type=x"
    )


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({}, "something to match"),
        ({"category": "Sports"}, "category: must be a list"),
        ({"category": []}, "category: has no value"),
        ({"category": [""]}, "category: has no value"),
        ({"category": [7]}, "category: has no value"),
        ({"category": ["~("]}, "category: .* is not a regular expression"),
        ({"category": ["*", "~("]}, "category: .* is not a regular expression"),
        ({"categry": ["x"]}, "categry: unknown key; did you mean category?"),
        ({"kind": ["started"]}, "kind: unknown key; did you mean events?"),
        ({"to": ["ops"]}, "to: unknown key; did you mean destination?"),
        ({"league": ["x"]}, "unknown key; did you mean details.league?"),
        ({"details": ["x"]}, "details: holds fields; match one of them"),
        ({"events": ["begun"]}, 'events: "begun" is none of created, updated'),
        ({"events": ["strated"]}, "did you mean started?"),
        ({"events": ["started"], "changed": ["title"]}, "add events=updated"),
    ],
)
def test_what_cannot_be_meant_is_no_silence(keys: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        silence(keys)


@pytest.mark.parametrize(
    ("why", "until", "said"),
    [
        (" \n", UNTIL, "needs a reason"),
        ("x" * 201, UNTIL, "at most 200"),
        ("x", NOW, "in the future"),
        ("x", UNTIL.replace(tzinfo=None), "in the future"),
        ("x", datetime.max.replace(tzinfo=BEHIND), "beyond all calendars"),
    ],
)
def test_a_silence_has_a_reason_and_an_end(why: str, until: datetime, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        silence({"category": ["Sports"]}, why=why, until=until)
