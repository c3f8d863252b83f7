"""Which fields of two rows differ, and how that is told."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import Doc, doc, docs

from notifier.domain.changes import changes
from notifier.domain.models import Change, Json

TICKERS = ("primary_event_tickers", "related_event_tickers")


# --- the law: what is told is all that changed --------------------------------


def _keys(path: str) -> list[str]:
    return [part.replace("~1", ".").replace("~0", "~") for part in path.split(".")]


def _set(fields: dict[str, Json], keys: Sequence[str], value: Json) -> dict[str, Json]:
    """A copy in which one nested key has another value."""
    first, *rest = keys
    if not rest:
        return fields | {first: value}
    inner = fields.get(first)
    below = dict(inner) if isinstance(inner, Mapping) else {}
    return fields | {first: _set(below, rest, value)}


def _apply(fields: Doc, told: Sequence[Change]) -> Doc:
    for change in told:
        fields = _set(fields, _keys(change.field), change.after)
    return fields


def _plain(value: Json) -> object:
    """Without what is null, and with true told from 1; a map of nothing is nothing."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, Mapping):
        held = {key: _plain(inner) for key, inner in value.items()}
        return {key: inner for key, inner in held.items() if inner is not None} or None
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value


def _instant(value: Json) -> datetime | None:
    return datetime.fromisoformat(value.upper()) if isinstance(value, str) else None


def _meaning(fields: Doc) -> object:
    """A row up to the order of its tickers, null, and the spelling of instants."""
    tickers = {
        name: sorted(set(_texts(fields.get(name)))) or None for name in TICKERS if name in fields
    }
    dates = {name: _instant(fields.get(name)) for name in ("start_date", "end_date")}
    rest = {
        key: value
        for key, value in fields.items()
        if key not in (*TICKERS, "start_date", "end_date", "last_updated_ts")
    }
    return _plain(rest), {k: v for k, v in tickers.items() if v}, dates


def _texts(value: Json) -> list[str]:
    return [x for x in value if isinstance(x, str)] if isinstance(value, list) else []


@given(before=docs(), after=docs())
def test_the_changes_applied_to_the_old_row_give_the_new_one(before: Doc, after: Doc) -> None:
    told = changes(before, after)

    assert _meaning(_apply(before, told)) == _meaning(after)


@given(before=docs(), after=docs())
def test_rows_that_mean_the_same_have_no_changes_and_others_have_some(
    before: Doc, after: Doc
) -> None:
    is_same = _meaning(before) == _meaning(after)

    assert (changes(before, after) == ()) is is_same


@given(before=docs(), after=docs())
def test_each_change_names_another_field_and_says_what_was_there(before: Doc, after: Doc) -> None:
    told = changes(before, after)

    assert len({change.field for change in told}) == len(told)
    assert _meaning(_apply(after, [_undone(c) for c in told])) == _meaning(before)


def _undone(change: Change) -> Change:
    return replace(change, before=change.after, after=change.before)


@given(fields=docs(), seed=st.integers(0, 1000))
def test_the_order_of_keys_and_tickers_says_nothing(fields: Doc, seed: int) -> None:
    dice = random.Random(seed)
    shuffled = dict(dice.sample(list(fields.items()), len(fields)))
    for name in TICKERS:
        names = _texts(shuffled.get(name))
        if names:
            shuffled[name] = [*dice.sample(names, len(names)), names[0]]

    assert changes(fields, shuffled) == ()


# --- fields -------------------------------------------------------------------


def _told(before: Doc, after: Doc) -> list[Json]:
    return [change.as_json() for change in changes(before, after)]


def test_tickers_are_told_sorted_with_what_came_and_went() -> None:
    before = doc(primary_event_tickers=["KX-C", "KX-A"])
    after = doc(primary_event_tickers=["KX-B", "KX-C", "KX-B"])

    assert _told(before, after) == [
        {
            "field": "primary_event_tickers",
            "before": ["KX-A", "KX-C"],
            "after": ["KX-B", "KX-C"],
            "added": ["KX-B"],
            "removed": ["KX-A"],
        }
    ]


@pytest.mark.parametrize("nothing", [None, []], ids=["null", "empty"])
def test_no_tickers_are_no_tickers_however_they_are_written(nothing: Json) -> None:
    absent = doc()
    del absent["primary_event_tickers"]

    assert _told(absent, doc(primary_event_tickers=nothing)) == []
    (told,) = changes(absent, doc(primary_event_tickers=["KX-A"]))
    assert (told.before, told.after, told.added) == ([], ["KX-A"], ("KX-A",))


def test_a_nested_field_is_told_by_its_path() -> None:
    after = doc(details={"league": "NCAAFB", "status": "postponed"})

    assert _told(doc(), after) == [
        {"field": "details.status", "before": "scheduled", "after": "postponed"}
    ]


def test_dots_and_tildes_inside_a_key_are_escaped() -> None:
    before = doc(details={}) | {"a.b": 1}
    after = doc(details={"v1.2": {"~x": 1}}) | {"a.b": 2}

    assert [change.field for change in changes(before, after)] == [
        "a~1b",
        "details.v1~12.~0x",
    ]


@pytest.mark.parametrize("before", [None, {}], ids=["null", "empty"])
def test_a_map_that_appears_is_told_key_by_key(before: Json) -> None:
    # So that `ignore_changes: ["source_ids.*"]` hides it.
    told = _told(doc(source_ids=before), doc(source_ids={"source_1_id": "x", "b": 1}))

    assert told == [
        {"field": "source_ids.b", "before": None, "after": 1},
        {"field": "source_ids.source_1_id", "before": None, "after": "x"},
    ]


def test_a_map_that_becomes_something_else_is_told_whole() -> None:
    told = _told(doc(details={"a": {"b": 1}}), doc(details={"a": "b"}))

    assert told == [{"field": "details.a", "before": {"b": 1}, "after": "b"}]


def test_a_list_is_told_whole_and_its_order_counts() -> None:
    told = _told(doc(details={"a": [1, 2]}), doc(details={"a": [2, 1]}))

    assert told == [{"field": "details.a", "before": [1, 2], "after": [2, 1]}]


def test_null_equals_absent_in_the_maps_of_a_list_too() -> None:
    before = doc(details={"scores": [{"home": 1, "away": None}]})
    after = doc(details={"scores": [{"home": 1}]})

    assert _told(before, after) == []


def test_true_is_not_one() -> None:
    before = doc(details={"live": 1, "n": [0]})
    after = doc(details={"live": True, "n": [False]})

    told = [change.field for change in changes(before, after)]

    assert told == ["details.live", "details.n"]


def test_an_end_that_appears_is_told_from_null() -> None:
    after = doc(end_date="2026-11-22T17:00:00.123456Z")

    assert _told(doc(), after) == [
        {"field": "end_date", "before": None, "after": "2026-11-22T17:00:00.123456Z"}
    ]
