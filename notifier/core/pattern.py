r"""
What a pattern fits, in bounded time, whoever wrote the text.

A pattern is a glob over the whole text, or, behind a `~`, a regular expression that
is searched for. Neither minds case.

Python tries out one way after another to fit an expression, and `(a+)+$` has more
ways to fit thirty letters than there are seconds in a year: a title could be made to
hit that. So the worst case is counted first. Where a text is short enough for it,
Python's own search is used; else the expression is walked in step with the text, all
ways at once, so that a character costs one look at each part of the expression. Both
find the same.

Looking ahead or behind, references back, and what gives nothing back (`a++`,
`(?>...)`) cannot be walked so. With any of these, a text is looked at only as far as
the search is sure to end soon; where that is no distance at all, the expression is
refused.
"""

import fnmatch
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import inf, log
from re import _constants as op  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, TypeAlias

Fits: TypeAlias = Callable[[str], bool]

#: Characters of a pattern.
LONGEST = 4_000
#: Characters of a text that an expression is searched for in.
LOOKED_AT = 16 * 1024

#: Steps of Python's search in the worst case: some milliseconds; tenths of a second
#: where nothing else can do it.
_QUICK, _BEARABLE = 1_000_000, 20_000_000
#: An expression that is sure of fewer characters is refused.
_LEAST = 100
#: Parts of an expression, its repeats written out, and looks at parts of it.
_PARTS, _LOOKS = 5_000, 1_000_000


class Unfit(ValueError):
    """A pattern that cannot be used: what is wrong, and where, which quotes it."""

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(f"{what} {advice}".strip())
        self.what = what
        self.advice = advice


@lru_cache(maxsize=1024)
def fitting(pattern: str) -> Fits:
    """
    A predicate that says whether the pattern fits a text.

    Raises: Unfit for a regular expression that is none, or for what may take too long.
    """
    if len(pattern) > LONGEST:
        raise Unfit(f"is longer than {LONGEST:,} characters")
    if pattern.startswith("~"):
        return _searching(pattern[1:])
    folded = pattern.casefold()
    if not re.search(r"[*?\[]", pattern):
        return lambda text: text.casefold() == folded
    glob = re.compile(fnmatch.translate(folded)).match
    return lambda text: glob(text.casefold()) is not None


def _searching(expression: str) -> Fits:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            search = re.compile(expression, re.IGNORECASE).search
            tree = parser.parse(expression, re.IGNORECASE)
        quick = _length(tree, _QUICK)
        if quick == LOOKED_AT:
            return lambda text: search(text[:LOOKED_AT]) is not None
        walk = _walk(tree)
        sure = quick if walk else _length(tree, _BEARABLE)
    except (re.error, OverflowError) as exc:
        what = "is not a regular expression after its ~"
        raise Unfit(what, advice=f"({exc})") from exc
    except RecursionError as exc:
        raise Unfit("is nested too deeply") from exc
    if walk is None:
        if sure < _LEAST:
            raise Unfit("could take forever on some texts: it repeats too much")
        return lambda text: search(text[:sure]) is not None
    return lambda text: (
        search(text) is not None if len(text) <= quick else walk.finds(text)
    )


# --- the worst case -----------------------------------------------------------


def _length(tree: Any, most: int) -> int:
    """Characters of the longest text on which the search takes so many steps."""
    lines = tree.state.flags & re.MULTILINE
    anchors = {(op.AT, op.AT_BEGINNING_STRING)} | (
        set() if lines else {(op.AT, op.AT_BEGINNING)}
    )
    anchored = len(tree) > 0 and tree[0][0] is op.AT and tree[0] in anchors

    def is_too_much(length: int) -> bool:
        return _worst(tree, length)[1] * (1 if anchored else length + 1) > most

    return max(bisect_left(range(LOOKED_AT + 1), True, key=is_too_much) - 1, 0)  # noqa: FBT003


def _worst(parts: Any, length: int) -> tuple[float, float]:
    """In how many ways the parts can fit, and the steps to try them all."""
    ways, steps = 1.0, 1.0
    for kind, what in parts:
        each, cost = _worst_of(kind, what, length)
        steps += ways * cost
        ways *= each
    return ways, steps


def _worst_of(kind: Any, what: Any, length: int) -> tuple[float, float]:
    match kind:
        case op.MAX_REPEAT | op.MIN_REPEAT | op.POSSESSIVE_REPEAT:
            least, most, inner = what
            ways, steps = _worst_repeat(least, most, _worst(inner, length), length)
            return (1.0 if kind is op.POSSESSIVE_REPEAT else ways), steps
        case op.SUBPATTERN:
            return _worst(what[-1], length)
        case op.ATOMIC_GROUP | op.ASSERT | op.ASSERT_NOT:
            inner = what if kind is op.ATOMIC_GROUP else what[1]
            return 1.0, _worst(inner, length)[1]
        case op.BRANCH | op.GROUPREF_EXISTS:
            each = [_worst(branch, length) for branch in _branches(kind, what)]
            return sum(ways for ways, _ in each), sum(steps for _, steps in each)
        case _:
            return 1.0, float(length) if kind is op.GROUPREF else 1.0


def _worst_repeat(
    least: int, most: int, inner: tuple[float, float], length: int
) -> tuple[float, float]:
    ways, steps = inner
    turns = min(most, max(least, length))
    if ways <= 1:
        each = turns - least + 1.0
        return each, turns * steps + each
    if turns * log(ways) > log(_BEARABLE) * 2:
        return inf, inf
    each = sum(ways**turn for turn in range(least, turns + 1))
    return each, each * steps


def _branches(kind: Any, what: Any) -> Sequence[Any]:
    if kind is op.BRANCH:
        branches: Sequence[Any] = what[1]
        return branches
    return [each for each in what[1:] if each is not None]


# --- the walk -----------------------------------------------------------------


class _NoWalkError(Exception):
    """The expression holds what cannot be walked, or too much."""


@dataclass(slots=True)
class _Part:
    """A part of an expression: a test of a character or of a place, or a fork."""

    #: Of a character, if it is one.
    char: Fits | None = None
    #: Of a place in a text, if it is one.
    at: Callable[[str, int], object] | None = None
    then: tuple[int, ...] = ()


def _walk(tree: Any) -> "_Walk | None":
    try:
        return _Walk(tree)
    except _NoWalkError:
        return None


class _Walk:
    """An expression as parts that lead to one another; the first is its end."""

    def __init__(self, tree: Any) -> None:
        self._parts = [_Part()]
        self._laid = 0
        self._start = self._row(tree, tree.state.flags, 0)
        self._looked_at = min(LOOKED_AT, _LOOKS // len(self._parts))

    def finds(self, text: str) -> bool:
        """Whether the expression is found anywhere in the text."""
        text = text[: self._looked_at]
        reached: set[int] = set()
        for place, char in enumerate((*text, "")):
            reached.add(self._start)
            reached = self._spread(reached, text, place)
            if 0 in reached:
                return True
            reached = {
                part.then[0]
                for part in map(self._parts.__getitem__, reached)
                if part.char is not None and char and part.char(char)
            }
        return False

    def _spread(self, reached: set[int], text: str, place: int) -> set[int]:
        """Everything that can be reached from there without another character."""
        spread: set[int] = set()
        left = list(reached)
        while left:
            number = left.pop()
            if number in spread:
                continue
            spread.add(number)
            part = self._parts[number]
            if part.char is None and (part.at is None or part.at(text, place)):
                left += part.then
        return spread

    def _row(self, parts: Any, flags: int, then: int) -> int:
        """Lay the parts one after another; where they begin."""
        self._count()
        for kind, what in reversed(list(parts)):
            then = self._lay(kind, what, flags, then)
        return then

    def _lay(self, kind: Any, what: Any, flags: int, then: int) -> int:
        self._count()
        match kind:
            case op.LITERAL | op.NOT_LITERAL | op.ANY | op.IN:
                return self._add(_Part(char=_char(kind, what, flags), then=(then,)))
            case op.AT:
                at = re.compile(_PLACES[what], _own(flags)).match
                return self._add(_Part(at=at, then=(then,)))
            case op.SUBPATTERN:
                _, more, fewer, inner = what
                return self._row(inner, _combined(flags, more, fewer), then)
            case op.BRANCH:
                ways = tuple(self._row(each, flags, then) for each in what[1])
                return self._add(_Part(then=ways))
            case op.MAX_REPEAT | op.MIN_REPEAT:
                least, most, inner = what
                if most is op.MAXREPEAT:
                    fork, again = self._endless(inner, flags, then)
                    entry, more = (again, least - 1) if least else (fork, 0)
                else:
                    entry, more = self._at_most(most - least, inner, flags, then), least
                for _ in range(more):
                    entry = self._row(inner, flags, entry)
                return entry
            case _:
                raise _NoWalkError

    def _endless(self, inner: Any, flags: int, then: int) -> tuple[int, int]:
        """Where to enter it for no turn or more, and for one or more."""
        fork = self._add(_Part())
        again = self._row(inner, flags, fork)
        self._parts[fork].then = (again, then)
        return fork, again

    def _at_most(self, most: int, inner: Any, flags: int, then: int) -> int:
        entry = then
        for _ in range(most):
            again = self._row(inner, flags, entry)
            entry = self._add(_Part(then=(again, then)))
        return entry

    def _add(self, part: _Part) -> int:
        self._parts.append(part)
        return len(self._parts) - 1

    def _count(self) -> None:
        self._laid += 1
        if self._laid > _PARTS:
            raise _NoWalkError


_PLACES = {
    op.AT_BEGINNING: "^",
    op.AT_BEGINNING_STRING: r"\A",
    op.AT_END: "$",
    op.AT_END_STRING: r"\Z",
    op.AT_BOUNDARY: r"\b",
    op.AT_NON_BOUNDARY: r"\B",
}
_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
_KINDS = re.ASCII | re.UNICODE


def _own(flags: int) -> int:
    """The flags that say how one character or place is seen."""
    return flags & (re.IGNORECASE | re.ASCII | re.DOTALL | re.MULTILINE)


def _combined(flags: int, more: int, fewer: int) -> int:
    kept = flags & ~_KINDS if more & _KINDS else flags
    return (kept | more) & ~fewer


def _char(kind: Any, what: Any, flags: int) -> Fits:
    """A test of one character: the very one that Python's search makes."""
    one = re.compile(_spelled(kind, what), _own(flags)).match
    return lru_cache(maxsize=256)(lambda char: one(char) is not None)


def _spelled(kind: Any, what: Any) -> str:
    match kind:
        case op.ANY:
            return "."
        case op.LITERAL:
            return f"[{_code(what)}]"
        case op.NOT_LITERAL:
            return f"[^{_code(what)}]"
        case _:
            return f"[{''.join(_members(what))}]"


def _members(what: Any) -> Iterator[str]:
    for kind, value in what:
        match kind:
            case op.NEGATE:
                yield "^"
            case op.RANGE:
                yield f"{_code(value[0])}-{_code(value[1])}"
            case op.CATEGORY:
                yield _CATEGORIES[value]
            case _:
                yield _code(value)


def _code(char: int) -> str:
    return f"\\U{char:08x}"
