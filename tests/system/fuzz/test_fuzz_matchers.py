"""Patterns: any pattern answers any text in bounded time and memory, or is refused."""

import re
import warnings

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from message_samples import event, milestone

from fuzz.bounds import at_most, guarded
from notifier.domain.models import Kind
from notifier.domain.parsing import ValueParseError, parse_pattern
from notifier.domain.routing import matches, matches_any, route
from notifier.domain.rules import Match, Route

MEMORY_MIB = 64


def answer(expression: str, text: str) -> bool | None:
    """Whether the pattern matches the text; None if the pattern is refused."""
    with at_most(MEMORY_MIB):
        try:
            parse_pattern(expression)
        except ValueParseError:
            return None
        return matches_any((expression,), text)


#: Expressions on which a backtracking search does not end, and texts for them.
CATASTROPHIC = [
    ("~(a+)+$", "a" * 5000 + "!", False),
    ("~(a|aa)+$", "a" * 5000 + "!", False),
    (r"~^(\w+\s?)*$", "word " * 1000 + "!", False),
    (r"~^(\w+\s?)*$", "word " * 1000, True),
    ("~(.*a){20}b", "a" * 5000, False),
    ("~.*a.*b.*c.*d.*e", "abcd" * 4000, False),
    ("~" + "a?" * 60 + "a" * 60, "a" * 59, False),
    (r"~(\b\w*\b\s*)+$", "word " * 1000 + "\n\n!", False),
    ("~(?i:(É+)+)$", "é" * 3000 + "!", False),
    ("*a*a*a*a*a*a*a*a*a*b", "a" * 100_000, False),
    ("[a-z]*[a-z]*[a-z]*[a-z]*!", "a" * 100_000, False),
    ("?" * 2000, "a" * 2001, False),
    ("~x", "a" * 10_000_000 + "x", True),
    ("x*", "x" * 10_000_000, True),
]


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [pytest.param(*each, id=f"{each[0][:20]} {each[2]}") for each in CATASTROPHIC],
)
def test_catastrophic_backtracking_is_impossible(
    expression: str, text: str, *, found: bool
) -> None:
    with guarded():
        assert matches_any((expression,), text) is found


@pytest.mark.parametrize("expression", ["~^KX.*TEST.*-.*$", "~.*sim.*game.*"])
def test_a_full_read_is_matched_in_seconds(expression: str) -> None:
    tickers = (f"KXMVESPORTSMULTIGAMEEXTENDED-{n:049X}" for n in range(137_200))
    with guarded():
        assert not any(matches_any((expression,), ticker) for ticker in tickers)


CHARACTERS = ["a", "b", "É", "é", "ß", "ſ", "K", "\u212a", "1", "_", " ", "\n", "\u00a0"]
ATOMS = st.sampled_from(
    [
        *("a", "b", "é", "ß", "k", "s", "1", ".", "^", r"\A", r"\Z", "(?m:^)", "(?m:$)"),
        *(r"\w", r"\W", r"\d", r"\D", r"\s", r"\S", "[ab]", "[^a]", r"[^\wé]", "[a-k]"),
        *("(?s:.)", "(?-i:a)", "[^a-z]", r"[\d\s]", "[[a]", r"[\w-]", r"[\]a]", ""),
    ]
)


def _grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    repeats = ["*", "+", "?", "*?", "+?", "??", "{2}", "{1,3}", "{,2}", "{2,}"]
    return st.one_of(
        st.builds("{}{}".format, inner, inner),
        st.builds("(?:{}|{})".format, inner, inner),
        st.builds("({}){}".format, inner, st.sampled_from(repeats)),
    )


EXPRESSIONS = st.recursive(ATOMS, _grown, max_leaves=7)
TEXTS = st.text(st.sampled_from(CHARACTERS), max_size=7)


@given(EXPRESSIONS, TEXTS)
@example("(?:^|a)*b", "aab")
@example("(a|b*)*?$", "ab")
@example("(?m:^)b", "a\nb")
@example(r"\B", "a")
@example(r"\bb", "a b")
def test_an_expression_matches_what_it_matches_in_python(expression: str, text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        found = re.search(expression, text, re.IGNORECASE) is not None

    assert matches_any((f"~{expression}",), text) is found


HOSTILE = st.text(st.sampled_from("ab(|)[]{}*+?.^$\\~-,!<=>:P1 \n'é"), max_size=30)


@given(
    st.text() | HOSTILE | EXPRESSIONS,
    st.text() | st.builds(lambda text, n: text * n, TEXTS, st.integers(1, 500)),
)
@example("(?(1)a|b)", "a")
@example("(a)(?(1)b|c)", "ab")
@example("\ud800", "\ud800")
@example("(?L)a", "a")
@example("((a{0,100}){0,100}){0,100}b", "a")
@example("x{99999999999999999999}", "x")
@example("(" * 500 + ")" * 500, "")
def test_any_expression_is_refused_or_answers_any_text(expression: str, text: str) -> None:
    answer("~" + expression, text)


@given(st.text(st.sampled_from("ab*?[]!-~\\^é\n")) | st.text(), st.text())
@example("[z-a]", "b")
@example("[]", "[]")
@example("[!]", "a")
@example("[[]", "[")
@example("[a&&b]", "&")
def test_any_glob_answers_any_text(glob: str, text: str) -> None:
    assume(not glob.startswith("~"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert answer(glob, text) in {True, False}
        assert answer("*", text)
    assert answer("*[*]*", text) is ("*" in text)


@given(
    st.sampled_from(["title", "details.a", "details.a.b", "details.x~1y", "tickers"]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda of: st.lists(of) | st.dictionaries(st.sampled_from("ab"), of),
        max_leaves=8,
    ),
)
def test_any_details_can_be_matched(key: str, details: object) -> None:
    of = milestone(details={"a": details, "x.y": details})  # type: ignore[dict-item]
    asked = Match(fields=((key, ("*a*", "~(a+)+$")),))
    happened = event(Kind.CREATED, of)

    (trace,) = route(happened, [Route(name="all", to=("ops",), match=asked)])

    assert trace.matched is matches(happened, asked)
