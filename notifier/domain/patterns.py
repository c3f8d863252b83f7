r"""
Patterns of `match`, in linear time: case-insensitive globs and regular expressions.

A pattern is a glob over the whole text or, after a `~`, a regular expression that is searched
for. An expression must be valid in Python's syntax; RE2 runs it, in time linear in the text and
in bounded memory. What RE2 cannot run is refused: look-around, back-references, possessive and
atomic groups, verbose mode, repeats above 1,000. Two things differ from Python: `$` does not
match before a final newline, and `\b` (in a class, `\W` and `\S`) knows ASCII only.
"""

import fnmatch
import re
import warnings
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from itertools import pairwise
from typing import Any, TypeAlias

Matcher: TypeAlias = Callable[[str], bool]

#: The longest pattern, in characters.
MAX_LENGTH = 4_000
#: Bytes that one expression may take, RE2's caches included.
_MAX_MEMORY = 2 * 1024 * 1024

_CLASS = r"\[\^?\]?(?:\\.|[^\]\\])*\]"
#: An escape, a character class, the beginning of `{,n}`, or one character.
_TOKEN = re.compile(rf"\\.|{_CLASS}|\{{,(?=[0-9]+\}})|.", re.DOTALL)
_SPACES = (
    r"\s\v\x1c-\x1f\x85\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}"
)
#: What means something else in RE2: its classes know ASCII only.
_IN_CLASS = {
    r"\w": r"\pL\pN_",
    r"\d": r"\p{Nd}",
    r"\D": r"\P{Nd}",
    r"\s": _SPACES,
    "[": r"\[",
    r"\b": r"\x08",
}
_OUTSIDE = {
    r"\w": r"[\pL\pN_]",
    r"\W": r"[^\pL\pN_]",
    r"\d": r"\p{Nd}",
    r"\D": r"\P{Nd}",
    r"\s": f"[{_SPACES}]",
    r"\S": f"[^{_SPACES}]",
    r"\Z": r"\z",
    "{,": "{0,",
}


class PatternError(ValueError):
    """A pattern cannot be used: `reason` does not quote it, `advice` may."""

    def __init__(self, reason: str, *, advice: str = "") -> None:
        super().__init__(f"{reason} {advice}".strip())
        self.reason = reason
        self.advice = advice


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Matcher:
    """
    Compile a pattern to a predicate over texts.

    Raises:
        PatternError: it is too long, no regular expression, or one that RE2 cannot run.
    """
    if len(pattern) > MAX_LENGTH:
        raise PatternError(f"is longer than {MAX_LENGTH:,} characters")
    if pattern.startswith("~"):
        return _compile_expression(pattern[1:])
    folded = pattern.casefold()
    if not re.search(r"[*?\[]", pattern):
        return lambda text: text.casefold() == folded
    glob = re.compile(fnmatch.translate(folded)).match
    return lambda text: glob(text.casefold()) is not None


def _compile_expression(expression: str) -> Matcher:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(expression, re.IGNORECASE)
    except (re.error, OverflowError) as exc:
        raise PatternError("is not a regular expression after its ~", advice=f"({exc})") from exc
    except RecursionError as exc:
        raise PatternError("is nested too deeply") from exc
    re2: Any = import_module("re2")  # 10 ms and 3 MB, only for configurations with expressions
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _MAX_MEMORY
    try:
        translated = _to_re2_syntax(expression).encode("utf-8", "surrogatepass")
        search = re2.compile(translated, options).search
    except re2.error as exc:
        raise PatternError("cannot be searched for in linear time", advice=_advice(exc)) from exc
    return lambda text: search(text.encode("utf-8", "surrogatepass")) is not None


def _advice(error: Exception) -> str:
    (detail,) = error.args
    text = detail.decode("utf-8", "replace") if isinstance(detail, bytes) else str(detail)
    return rf"({text}; do without look-around, back-references, a++, (?>, (?x), {{1001}})"


def _to_re2_syntax(expression: str) -> str:
    r"""
    Rewrite what Python and RE2 read differently.

    Raises:
        PatternError: a `\b` stands where it could never match in RE2.
    """
    tokens = _TOKEN.findall(expression)
    for left, right in pairwise(tokens):
        for word_edge, letter in ((left, right), (right, left)):
            if word_edge in {r"\b", r"\B"} and letter.isalnum() and not letter.isascii():
                advice = f"({word_edge} beside {letter})"
                raise PatternError("has a word boundary at a letter beyond ASCII", advice=advice)
    return "".join(_translate(token) for token in tokens)


def _translate(token: str) -> str:
    if len(token) > 2 and token.startswith("["):  # noqa: PLR2004 - a class, not a lone bracket
        inside = re.sub(r"(?s)\\.|\[", lambda found: _IN_CLASS.get(found[0], found[0]), token[1:])
        return f"[{inside}"
    return _OUTSIDE.get(token, token)
