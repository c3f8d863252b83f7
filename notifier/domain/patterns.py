r"""
What a pattern fits, in bounded time, whoever wrote the text.

A pattern is a glob over the whole text, or, behind a `~`, a regular expression that
is searched for. Neither minds case.

Python tries out one way after another to fit an expression, and `(a+)+$` has more
ways to fit thirty letters than there are seconds in a year: a title could be made to
hit that. So the worst case is counted first. Where a text is short enough for it,
Python's own search is used; else the expression is walked in step with the text, all
ways at once, and what follows upon what is remembered: a character costs one look, as a
rule. Both find the same.

A walk finds what ends within the first `LOOKED_AT` characters, or a million divided by
the parts of the expression. That is not where the text ends: `$` knows.

Looking ahead or behind, references back, what gives nothing back (`a++`, `(?>...)`),
and more than a thousand parts cannot be walked so. Such an expression is refused unless
its search is sure to end soon on a thousand characters; a text that is too long for it
is not searched at all, and does not fit: half of it could mean the opposite.
"""

import fnmatch
import re
import warnings
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from itertools import chain
from math import inf, log
from typing import Any, TypeAlias

# Private to Python 3.11 to 3.13, and without types.
op: Any = import_module("re._constants")
parser: Any = import_module("re._parser")

Fits: TypeAlias = Callable[[str], bool]

#: Characters of a pattern.
LONGEST = 4_000
#: Characters of a text within which an expression must be found.
LOOKED_AT = 16 * 1024
#: Characters that titles and tickers never reach: each expression bears so many.
LEAST = 1_000

#: Steps of Python's search in the worst case: some milliseconds; tenths of a second
#: where nothing else can do it.
_QUICK, _BEARABLE = 1_000_000, 40_000_000
#: Parts of an expression, its repeats written out, and looks at parts of it.
_PARTS, _LOOKS = 1_000, 1_000_000
#: Members of all sets of parts that a walk remembers, and what led to them.
_REMEMBERED = 20_000
#: Texts whose answers are remembered, and the longest of these.
_ANSWERS, _SHORT = 1_024, 256


class Unfit(ValueError):
    """A pattern that cannot be used: what is wrong, and where, which quotes it."""

    def __init__(self, what: str, *, advice: str = "") -> None:
        super().__init__(f"{what} {advice}".strip())
        self.what = what
        self.advice = advice


@lru_cache(maxsize=1024)
def fitting(pattern: str, *, within: int = LOOKED_AT) -> Fits:
    """
    A predicate that says whether the pattern fits a text.

    `within`: characters of a text within which an expression must be found.
    Raises: Unfit for a regular expression that is none, or for what may take too long.
    """
    if len(pattern) > LONGEST:
        raise Unfit(f"is longer than {LONGEST:,} characters")
    if pattern.startswith("~"):
        return _searching(pattern[1:], within)
    folded = pattern.casefold()
    if not re.search(r"[*?\[]", pattern):
        return lambda text: text.casefold() == folded
    glob = re.compile(fnmatch.translate(folded)).match
    return lambda text: glob(text.casefold()) is not None


#: `~.*game` is found where `~game` is, which is searched for in far fewer ways.
_ANYTHING = re.compile(r"\A(?:\.\*\??)+(?![?+*{])")


def _searching(expression: str, within: int) -> Fits:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            re.compile(expression, re.IGNORECASE)
            expression = _ANYTHING.sub("", expression)
            search = re.compile(expression, re.IGNORECASE).search
            tree = parser.parse(expression, re.IGNORECASE)
        quick, walk = min(_length(tree, _QUICK), within), _walk(tree, within)
        sure = quick if walk else _length(tree, _BEARABLE)
    except (re.error, OverflowError) as exc:
        what = "is not a regular expression after its ~"
        raise Unfit(what, advice=f"({exc})") from exc
    except RecursionError as exc:
        raise Unfit("is nested too deeply") from exc
    if walk is None:
        if sure < LEAST:
            what = f"could take forever on a text of {LEAST:,} characters"
            raise Unfit(what, advice=_ADVICE)
        return lambda text: len(text) <= sure and search(text) is not None
    walked, known = walk.finds, lru_cache(maxsize=_ANSWERS)(walk.finds)

    def found(text: str) -> bool:
        if len(text) <= quick:
            return search(text) is not None
        return (known if len(text) <= _SHORT else walked)(text)

    return found


_ADVICE = (
    r"(it tries too many ways, and cannot be walked: it looks around, refers back, "
    r"gives nothing back, or is large; begin it with ^, repeat less, or do without "
    r"(?=, (?!, (?<, (?> and \1)"
)


# --- the worst case -----------------------------------------------------------


def _length(tree: Any, most: int) -> int:
    """Characters of the longest text on which the search takes so many steps."""
    lines = tree.state.flags & re.MULTILINE
    anchors = {(op.AT, op.AT_BEGINNING_STRING)} | (set() if lines else {(op.AT, op.AT_BEGINNING)})
    anchored = len(tree) > 0 and tree[0][0] is op.AT and tree[0] in anchors

    def is_too_much(length: int) -> bool:
        starts = 1 if anchored else length + 1
        return _worst(tree, length, starts=starts, last=True)[1] > most

    return max(bisect_left(range(LOOKED_AT + 1), True, key=is_too_much) - 1, 0)  # noqa: FBT003


def _worst(parts: Any, length: int, *, starts: int = 1, last: bool = False) -> tuple[float, float]:
    """
    In how many ways the parts can fit, and the steps to try them all.

    Repeats share the length: k of them end at C(length + k, k) choices of places, and
    where to start is such a choice too. `last`: nothing follows that could fail, so
    what cannot fail at the end of the parts is tried but once.
    """
    ways = steps = float(starts)
    shared = 1 if starts > 1 else 0
    sure = _sure_from(parts) if last else len(parts)
    for place, (kind, what) in enumerate(parts):
        each, cost, turn = _worst_of(kind, what, length)
        share = (length + shared + 1) / (shared + 1)
        if place >= sure:
            steps += cost
        elif turn and share <= each:
            shared += 1
            steps += ways * (share + 1) * (turn + 1)
            ways *= share
        else:
            steps += ways * cost
            ways *= each
    return ways, steps


_REPEATS = (op.MAX_REPEAT, op.MIN_REPEAT)


def _sure_from(parts: Any) -> int:
    """The place from which on nothing can fail: repeats that may have no turn."""
    place = len(parts)
    while place and parts[place - 1][0] in _REPEATS and parts[place - 1][1][0] == 0:
        place -= 1
    return place


def _worst_of(kind: Any, what: Any, length: int) -> tuple[float, float, float]:
    """The same of one part; of a repeat that shares the length, the steps of a turn."""
    match kind:
        case op.MAX_REPEAT | op.MIN_REPEAT | op.POSSESSIVE_REPEAT:
            least, most, inner = what
            one = _worst(inner, length)
            ways, steps = _worst_repeat(least, most, one, length)
            if kind is op.POSSESSIVE_REPEAT:
                return 1.0, steps, 0.0
            shares = one[0] <= 1 and inner.getwidth()[0] > 0
            return ways, steps, one[1] if shares else 0.0
        case op.SUBPATTERN:
            return *_worst(what[-1], length), 0.0
        case op.ATOMIC_GROUP | op.ASSERT | op.ASSERT_NOT:
            inner = what if kind is op.ATOMIC_GROUP else what[1]
            return 1.0, _worst(inner, length, last=True)[1], 0.0
        case op.BRANCH | op.GROUPREF_EXISTS:
            each = [_worst(branch, length) for branch in _branches(kind, what)]
            return sum(ways for ways, _ in each), sum(steps for _, steps in each), 0.0
        case _:
            return 1.0, float(length) if kind is op.GROUPREF else 1.0, 0.0


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


def _walk(tree: Any, within: int) -> "_Walk | None":
    try:
        return _Walk(tree, within)
    except _NoWalkError:
        return None


#: A line's end that ends the text: what a state is asked for instead of the character.
_LAST_LINE = "\n$"


class _State(dict[str, "_State"]):
    """The parts that wait for a character, and where each character led so far."""

    __slots__ = ("_follow", "before", "parts")

    def __init__(
        self,
        parts: frozenset[int],
        before: str,
        follow: "Callable[[_State, str], _State]",
    ) -> None:
        super().__init__()
        self.parts = parts
        self.before = before
        self._follow = follow

    def __missing__(self, char: str) -> "_State":
        return self._follow(self, char)


class _Walk:
    """An expression as parts that lead to one another; the first is its end."""

    def __init__(self, tree: Any, within: int) -> None:
        self._parts = [_Part()]
        self._laid = 0
        self._start = self._row(tree, tree.state.flags, 0)
        self._looked_at = min(within, _LOOKS // len(self._parts))
        self._placed = any(part.at for part in self._parts)
        self._states: dict[tuple[frozenset[int], str], _State] = {}
        self._room = _REMEMBERED
        self._first = _State(frozenset(), "", self._follow)
        self._found = _State(frozenset(), "", self._follow)

    def finds(self, text: str) -> bool:
        """Whether the expression is found in what is looked at of the text."""
        # The one more says what comes next, and nothing else.
        head = text[: self._looked_at + 1]
        tail: tuple[str, ...] = ("",) if len(text) <= self._looked_at else ()
        if len(head) == len(text) and head.endswith("\n"):
            head, tail = head[:-1], (_LAST_LINE, *tail)
        state, found = self._first, self._found
        for char in chain(head, tail):
            state = state[char]
            if state is found:
                return True
        return False

    def _follow(self, state: _State, char: str) -> _State:
        """Where a character leads, remembered; the empty one is the text's end."""
        if self._room <= 0:
            self._forget()
        one = char[:1]
        more = "x" if one and char != _LAST_LINE else ""
        reached = self._spread(
            {*state.parts, self._start}, state.before + one + more, len(state.before)
        )
        if 0 in reached:
            then = self._found
        else:
            passed = {
                part.then[0]
                for part in map(self._parts.__getitem__, reached)
                if part.char is not None and one and part.char(one)
            }
            before = _like(one) if self._placed else ""
            then = self._state(frozenset(passed), before)
        self._room -= 1
        state[char] = then
        return then

    def _state(self, parts: frozenset[int], before: str) -> _State:
        known = self._states.get((parts, before))
        if known is None:
            self._room -= 1 + len(parts)
            known = _State(parts, before, self._follow)
            self._states[parts, before] = known
        return known

    def _forget(self) -> None:
        for state in (self._first, *self._states.values()):
            state.clear()
        self._states.clear()
        self._room = _REMEMBERED

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


def _like(char: str) -> str:
    """The one that stands for all after which the same places are."""
    if char in {"", "\n"}:
        return char
    return next((one for one in "aé" if _WORDS[one](char)), " ")


_WORDS = {"a": re.compile(r"(?a:\w)").match, "é": re.compile(r"\w").match}


def _char(kind: Any, what: Any, flags: int) -> Fits:
    """A test of one character: the very one that Python's search makes."""
    return _test(_spelled(kind, what), _own(flags))


@lru_cache(maxsize=1024)
def _test(spelled: str, flags: int) -> Fits:
    one = re.compile(spelled, flags).match
    return lambda char: one(char) is not None


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
