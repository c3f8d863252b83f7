"""Patterns of `match`: what they match, and what is refused with which words."""

import pytest

from notifier.domain.patterns import MAX_LENGTH, PatternError, compile_pattern


@pytest.mark.parametrize(
    ("expression", "title", "found"),
    [
        ("~bears|packers", "Lions at Packers", True),
        ("~.*sim.*game.*", "A Simulated Game", True),
        ("~.*sim.*game.*", "A Game", False),
        (r"~\bkansas\b", "Kansas City at Seattle", True),
        (r"~\bAtl\w+o at", "Atlético at Mbappé", True),
        (r"~^[\w\s]+$", "Atlético\u00a0at Mbappé", True),
        ("~^[^[]+[[]", "Final [live]", True),
        (r"~ab{,2}c$", "abbc", True),
        (r"~\Aa\Z", "A", True),
        ("~a$", "a\n", False),
        ("~x$", "a" * 100_000 + "x", True),
    ],
)
def test_an_expression_is_searched_for_without_case(
    expression: str, title: str, *, found: bool
) -> None:
    assert compile_pattern(expression)(title) is found


@pytest.mark.parametrize(
    ("pattern", "error"),
    [
        ("~(", "is not a regular expression after its ~ (missing ), "),
        ("~(?=x)(a+)+$", "cannot be searched for in linear time (invalid perl operator: (?="),
        (r"~(\w+) \1", r"cannot be searched for in linear time (invalid escape sequence: \1"),
        ("~(a*)*+b", "cannot be searched for in linear time (bad repetition operator: *+"),
        ("~(x{1000}){1000}", "cannot be searched for in linear time (invalid repetition size"),
        (r"~\w{900}", "cannot be searched for in linear time (pattern too large"),
        (r"~Mbappé\b", r"has a word boundary at a letter beyond ASCII (\b beside é)"),
        ("~" + "(" * 500 + ")" * 500, "is nested too deeply"),
        ("x" * (MAX_LENGTH + 1), "is longer than 4,000 characters"),
    ],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_the_reason(pattern: str, error: str) -> None:
    with pytest.raises(PatternError) as refusal:
        compile_pattern(pattern)

    assert str(refusal.value).startswith(error)
    assert pattern not in refusal.value.reason
