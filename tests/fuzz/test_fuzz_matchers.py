"""Patterns: whatever one says and whatever text it meets, it answers, and soon."""

import re
import warnings

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from message_samples import event, milestone

from fuzz.bounds import at_most, examples, guarded
from notifier.domain.models import Kind, Match, Route
from notifier.domain.patterns import LEAST, LOOKED_AT, fitting
from notifier.domain.routing import fits, matches, route
from notifier.settings.values import Unreadable, pattern

MEMORY_MIB = 64


def settled(expression: str, text: str) -> bool | None:
    """What a pattern says of a text; None: it is refused. Both soon."""
    with at_most(MEMORY_MIB):
        try:
            pattern(expression)
        except Unreadable:
            return None
        return matches((expression,), text)


#: Expressions that Python's search never comes to an end with, and texts for them.
ENDLESS = [
    ("~(a+)+$", "a" * 5000 + "!", False),
    ("~(a*)*b", "a" * 5000, False),
    ("~(a|a)+$", "a" * 5000 + "!", False),
    ("~(a|aa)+$", "a" * 5000 + "!", False),
    (r"~^(\w+\s?)*$", "word " * 1000 + "!", False),
    (r"~^(\w+\s?)*$", "word " * 1000, True),
    ("~(.*)*x", "a" * 16000, False),
    ("~(.*a){20}b", "a" * 5000, False),
    ("~.*a.*b.*c.*d.*e", "abcd" * 4000, False),
    ("~" + "a?" * 60 + "a" * 60, "a" * 59, False),
    ("~" + "a?" * 60 + "a" * 60, "a" * 60, True),
    (r"~^([a-z0-9]+[-._]?)+@", "bears-at-packers." * 300, False),
    (r"~(\b\w*\b\s*)+$", "word " * 1000 + "\n\n!", False),
    ("~((a+)+)+$", "a" * 5000 + "!", False),
    ("~(?i:(É+)+)$", "é" * 3000 + "!", False),
    ("*a*a*a*a*a*a*a*a*a*b", "a" * 100_000, False),
    ("[a-z]*[a-z]*[a-z]*[a-z]*!", "a" * 100_000, False),
    ("?" * 2000, "a" * 2001, False),
    ("~x", "a" * 10_000_000 + "x", False),
    ("x*", "x" * 10_000_000, True),
]


@pytest.mark.parametrize(
    ("expression", "text", "found"),
    [pytest.param(*each, id=f"{each[0][:20]} {each[2]}") for each in ENDLESS],
)
def test_a_text_made_to_be_searched_for_ever_is_settled(
    expression: str, text: str, *, found: bool
) -> None:
    with guarded():
        assert matches((expression,), text) is found


@pytest.mark.parametrize(
    "expression",
    [
        "~(?=x)(a+)+$",
        r"~(a+)+\1$",
        "~(a*)*+b",
        "~((a{0,100}){0,100}){0,100}b",
        "~(x{1000}){1000}",
        "~x{1000000}",
        "~x{99999999999999999999}",
        "~" + "(" * 500 + ")" * 500,
        "~(",
        "~(?=.*a.*b).*c",
        r"~\b(\w+) \1\b",
    ],
)
def test_what_could_search_for_ever_whatever_one_does_is_refused(
    expression: str,
) -> None:
    assert settled(expression, "a" * 30) is None


@pytest.mark.parametrize(
    ("expression", "title", "found"),
    [
        ("~^(?!.*women).*final", "The Final", True),
        ("~^(?!.*women).*final", "The Women's Final", False),
        (r"~\bAtlético\b", "Atlético at Mbappé", True),
        (r"~Mbappé\b", "Atlético at mbappé", True),
        (r"~(\w)\1", "Kansas City at Seattle", True),
        (r"~^(?>a+)b", "aab", True),
        ("~[[a]", "[", True),
        ("~.*sim.*game.*", "A Simulated Game", True),
        ("~.*sim.*game.*", "A Game", False),
        ("~.*?.*$|a", "", True),
        ("~.*+a", "a", False),
        ("~.*a|^b", "cb", False),
        ("~bears|packers", "Lions at Packers", True),
    ],
)
def test_an_ordinary_expression_means_what_it_means_in_python(
    expression: str, title: str, *, found: bool
) -> None:
    assert settled(expression, title) is found


@pytest.mark.parametrize("expression", ["~^KX.*TEST.*-.*$", "~.*sim.*game.*"])
def test_a_whole_read_is_held_against_an_expression_soon(expression: str) -> None:
    tickers = (f"KXMVESPORTSMULTIGAMEEXTENDED-{n:049X}" for n in range(137_200))
    with guarded():
        assert not any(matches((expression,), ticker) for ticker in tickers)


def test_what_looks_around_too_much_is_refused_with_what_to_do() -> None:
    with pytest.raises(Unreadable) as refusal:
        pattern("~nfl(?!.*a.*preseason)|kansas(?!.*preseason)")

    assert str(refusal.value) == "could take forever on a text of 1,000 characters"
    assert "begin it with ^" in refusal.value.advice


AROUND = "~nfl(?!.*preseason.*)|kansas(?!.*preseason)"


def test_a_title_of_any_length_means_what_it_means_in_python() -> None:
    late = "kansas at seattle, " * 20 + "kansas, " + "preseason"
    assert settled(AROUND, late) is False
    assert settled(AROUND, late.replace("preseason", "season")) is True
    assert settled(AROUND, late.rjust(LEAST, ".")) is False


@pytest.mark.parametrize("expression", [AROUND, r"~(\w)\1", "~" + "x{40}" * 40])
def test_what_cannot_be_walked_fits_no_text_that_is_too_long_for_it(
    expression: str,
) -> None:
    assert settled(expression, "nfl kansas " + "x" * 2_000 + "x" * 40_000) is False


CHARACTERS = ["a", "b", "É", "é", "ß", "ſ", "K", "\u212a", "1", "_", " ", "\n", "İ"]
ATOMS = st.sampled_from(
    [
        *("a", "b", "é", "ß", "k", "s", "1", ".", "^", "$", r"\b", r"\B", r"\A", r"\Z"),
        *(r"\w", r"\W", r"\d", r"\s", r"\S", "[ab]", "[^a]", r"[^\wé]", "[a-k]", ""),
        *("(?s:.)", "(?-i:a)", "(?m:^)", "(?m:$)", r"(?a:\w)", "[^a-z]", r"[\d\s]"),
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


def walked(expression: str) -> str:
    """The same, in so many ways that only a walk comes to an end."""
    return f"~(?:(?:{expression})|{'(?:' * 12}q+{')+' * 12}!)"


@examples(500)
@given(EXPRESSIONS, TEXTS)
@example("(?:^|a)*b", "aab")
@example("(a|b*)*?$", "ab")
@example("a$", "a\n")
@example("a$", "a\n\n")
@example("(?m:^)b", "a\nb")
@example(r"(?a:\b)é", "aé")
@example(r"\B", "")
def test_what_walks_finds_what_pythons_search_finds(expression: str, text: str) -> None:
    found = re.search(expression, text, re.IGNORECASE) is not None

    with guarded():
        assert matches((walked(expression),), text) is found
        assert matches((f"~{expression}",), text) is found


@examples(100)
@given(EXPRESSIONS, st.lists(TEXTS, max_size=12))
def test_what_a_walk_remembers_of_one_text_changes_no_other(
    expression: str, texts: list[str]
) -> None:
    asked = walked(expression)
    for text in [*texts, *reversed(texts)]:
        found = re.search(expression, text, re.IGNORECASE) is not None
        assert matches((asked,), text) is found


def test_a_walk_that_forgets_finds_the_same() -> None:
    longwinded = "(?:a|b)*a" + "(?:a|b)" * 12 + "!"
    asked = walked(longwinded)
    # Every one of 2 ** 12 endings is a state of its own.
    texts = [f"{number:013b}".translate({48: "a", 49: "b"}) for number in range(1500)]
    with at_most(MEMORY_MIB):
        for text in texts:
            whole = text * 2 + "!"
            found = re.search(longwinded, whole, re.IGNORECASE) is not None
            assert matches((asked,), whole) is found


@examples(150)
@given(EXPRESSIONS, TEXTS, TEXTS.filter(bool))
@example("b$", "b", "a")
@example(r"b\Z", "b", "\n")
@example("b$", "b", "\n")
@example("b$", "b", "\n\n")
@example(r"b\b", "b", "a")
@example(r"b\B", "b", "a")
@example("(?m:$)", "b", "\n")
def test_where_one_stops_to_look_is_not_where_a_text_ends(
    expression: str, before: str, after: str
) -> None:
    text = before + after
    # Found so that as much follows as came after: it ends where one stops, or before.
    inside = f"(?:{expression})(?=(?s:.{{{len(after)}}}))"
    found = re.search(inside, text, re.IGNORECASE) is not None

    with guarded():
        assert fitting(f"~{expression}", within=len(before))(text) is found


HOSTILE = st.text(st.sampled_from("ab(|)[]{}*+?.^$\\~-,!<=>:P1 \n'é"), max_size=30)


@examples(500)
@given(
    st.text() | HOSTILE | EXPRESSIONS,
    st.text() | st.builds(lambda text, n: text * n, TEXTS, st.integers(1, 500)),
)
@example("(?(1)a|b)", "a")
@example("(a)(?(1)b|c)", "ab")
@example("(?P<x>a)(?P=x)", "aa")
@example("\ud800", "\ud800")
@example("(?L)a", "a")
@example("(?x) a # b", "a")
def test_any_expression_is_refused_or_answers_any_text(expression: str, text: str) -> None:
    settled("~" + expression, text)


@examples(400)
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
        assert settled(glob, text) in {True, False}
        assert settled("*", text)
    assert settled("*[*]*", text) is ("*" in text)


@examples(200)
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

    assert trace.matched is fits(happened, asked)


def test_more_of_a_text_than_is_looked_at_is_not_found() -> None:
    assert fitting("~x$")("a" * (LOOKED_AT - 1) + "x")
    assert not fitting("~x")("a" * LOOKED_AT + "x")
    assert not fitting("~a$")("a" * LOOKED_AT + "x")
    assert not fitting(r"~a\Z")("a" * LOOKED_AT + "\n")
    assert fitting("~a$")("a" * LOOKED_AT + "\n")
    assert not fitting(r"~a\b")("a" * LOOKED_AT + "x")
