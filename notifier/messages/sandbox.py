"""
Where users' templates run: Jinja2's sandbox, in which nothing grows without bounds.

A template works off a budget. Each turn of a loop costs a step and each call some, and
what is read, compared, joined or made costs steps by its size besides: characters,
members, digits.
No value that it makes is larger than `LARGEST`. What would make a larger one in a
single step, before anybody could measure it, is asked for its size first, or does not
exist. So neither nesting nor doubling, however clever, takes more than a moment and
a few megabytes, whatever Kalshi's texts are.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from collections.abc import Set as AbstractSet
from functools import wraps
from itertools import islice
from string import Formatter
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

#: Characters and members of one value; what one template may print.
LARGEST = 64 * 1024
#: Steps that one template may take: tenths of a second.
WORK = 200_000
#: Steps that a call costs, and characters that are looked at in one.
_CALL, _GLANCE = 10, 8
#: Where a template's context keeps its budget: no template can spell it.
BUDGET = "the budget"

#: They bypass our escaping, need randomness, or blow a text up.
_BANNED = (
    *("safe", "forceescape", "urlize", "xmlattr", "tojson", "random"),
    *("format", "center", "indent", "wordwrap", "pprint", "attr"),
)
#: Methods of plain values; the rest pad, encode, or make bytes.
_METHODS = frozenset(
    {
        *("capitalize", "casefold", "lower", "swapcase", "title", "upper"),
        *("count", "endswith", "find", "index", "rfind", "rindex", "startswith"),
        *("isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "islower"),
        *("isnumeric", "isspace", "istitle", "isupper", "is_integer"),
        *("lstrip", "rstrip", "strip", "removeprefix", "removesuffix"),
        *("partition", "rpartition", "split", "rsplit", "splitlines"),
        *("join", "replace", "get", "items", "keys", "values"),
    }
)
_PLAIN = (str, bytes, int, float, Mapping, Sequence, AbstractSet)
#: `%5.1f` behind its name: flags, width, precision, length and what it makes.
_PERCENT = re.compile(r"[-+ #0]*(\*|[0-9]*)(?:\.(\*|[0-9]*))?[hlL]?(.?)", re.DOTALL)
#: What stands before the numbers of `{:>12.3f}`: any character may fill.
_FILL = re.compile(r"(?s:.)?[<>=^]")
#: Wide digits pad as well as others do.
_NUMBER = re.compile(r"0*(\d+)")
_DIGITS_OF_WIDEST = 3
_WIDEST = 999
_FORMATS = ("format", "format_map")
_DIGITS = 100


class TooMuch(Exception):
    """A template wants more than there is; the text says of what."""


class Budget:
    """What one template may still cost."""

    def __init__(self) -> None:
        self._left = WORK

    def pay(self, cost: int) -> None:
        """Take it off; raises TooMuch when nothing is left."""
        self._left -= cost
        if self._left < 0:
            raise TooMuch(f"takes more than {WORK:,} steps")

    def read(self, value: object) -> None:
        """Pay for what looks at all of a value."""
        self.pay(_measure(value)[1])

    def hold(self, value: object) -> object:
        """The value, paid for; raises TooMuch when it is larger than any may be."""
        if isinstance(value, Iterator):
            return map(self.hold, value)
        size, steps = _measure(value)
        fits(size)
        self.pay(steps)
        return value


def fits(size: int) -> None:
    """Raise TooMuch when a value is larger than any may be."""
    if size > LARGEST:
        raise TooMuch(f"makes a value of more than {LARGEST:,} characters")


def weight(value: object) -> int:
    """Characters and members, all the way down; counted no further than LARGEST."""
    return _measure(value)[0]


def _measure(value: object) -> tuple[int, int]:
    """The weight, and the steps that it takes to look at all of it."""
    total = members = 0
    left = [value]
    while left and total <= LARGEST:
        one = left.pop()
        members += 1
        if isinstance(one, int) and not isinstance(one, bool):
            total += 1 + one.bit_length() // 8
        elif isinstance(one, jinja2.Undefined) or not isinstance(one, Sized):
            total += 1
        else:
            total += 1 + len(one)
        if isinstance(one, Mapping):
            left += islice(one.values(), LARGEST)
        if isinstance(one, Mapping | list | tuple | AbstractSet):
            left += islice(one, LARGEST)
    return total, members + total // _GLANCE


def sandbox(
    printed: Callable[[object], str], *, filters: Mapping[str, Callable[..., object]]
) -> jinja2.Environment:
    """An environment that prints values as `printed` says, with more filters."""

    @jinja2.pass_context
    def finalize(context: Context, value: object) -> str:
        budget(context).read(value)
        return printed(value)

    made = _Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # it would compute before there is a budget
    )
    for name in _BANNED:
        del made.filters[name]
    made.globals.pop("lipsum")
    made.globals["namespace"] = _Namespace
    made.filters |= filters
    made.filters = {name: _paid(name, each) for name, each in made.filters.items()}
    tests: Mapping[str, Any] = made.tests
    made.tests = {name: _paid(name, each) for name, each in tests.items()}
    made.filters |= {_STEP: _step, _READ: _read, _HOLD: _hold}
    return made


def budget(context: Context) -> Budget:
    """That of the template that is being filled."""
    found = context.get(BUDGET)
    assert isinstance(found, Budget)  # noqa: S101 - whoever fills puts it there
    return found


class _Environment(ImmutableSandboxedEnvironment):
    """Jinja2's sandbox, that counts."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%", "**"})

    @staticmethod
    def concat(parts: "Iterator[str] | Sequence[str]") -> str:  # type: ignore[override]
        """One text, if it is no longer than any may be."""
        kept: list[str] = []
        size = 0
        for part in parts:
            size += len(part)
            fits(size)
            kept.append(part)
        return "".join(kept)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> object:
        """Compute with numbers, add what can be added, raise to no power."""
        if operator == "%" and isinstance(left, str):
            _narrow(left, _percents)
        elif operator == "**" or (
            operator != "+" and not all(isinstance(each, int | float) for each in (left, right))
        ):
            raise SecurityError(f"{operator} is for plain numbers only")
        spent = budget(context)
        spent.read(left)
        spent.read(right)
        return spent.hold(super().call_binop(context, operator, left, right))

    def call(self, context: Context, obj: Any, /, *args: object, **kwargs: object) -> object:
        """Call what is safe to call, and see how much comes of it."""
        spent = budget(context)
        spent.pay(_CALL)
        owner = getattr(obj, "__self__", None)
        if isinstance(owner, str | Mapping):
            spent.read(owner)
        for each in (*args, *kwargs.values()):
            spent.read(each)
        if isinstance(owner, str) and obj.__name__ == "join" and args:
            args = (_joined(args[0], owner), *args[1:])
        elif isinstance(owner, str) and obj.__name__ == "replace":
            _replaced(owner, *args)
        return spent.hold(super().call(context, obj, *args, **kwargs))

    def is_safe_attribute(self, obj: object, attr: str, value: object) -> bool:
        """Nothing private, and of plain values only what cannot grow."""
        if callable(value) and isinstance(obj, _PLAIN) and attr not in _METHODS:
            return False
        return super().is_safe_attribute(obj, attr, value)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format`, if it pads little."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            _narrow(value.__self__, _braces)
        return wrapped

    def _generate(
        self,
        source: nodes.Template,
        name: str | None,
        filename: str | None,
        defer_init: bool = False,  # noqa: FBT001, FBT002 - Jinja2's own hook
    ) -> str:
        return super()._generate(_Counting().visit(source), name, filename, defer_init=defer_init)


class _Namespace(Namespace):
    """Jinja2's, which prints nothing of what it holds: that could be without end."""

    def __repr__(self) -> str:
        return "<namespace>"


# --- what is counted ----------------------------------------------------------


_STEP, _READ, _HOLD = "one step", "a look at", "a hold of"


@jinja2.pass_context
def _step(context: Context, cost: int) -> bool:
    budget(context).pay(cost)
    return True


@jinja2.pass_context
def _read(context: Context, value: object) -> object:
    budget(context).read(value)
    return value


@jinja2.pass_context
def _hold(context: Context, value: object) -> object:
    return budget(context).hold(value)


class _Counting(NodeTransformer):
    """A template's tree, with its steps paid for and its values held."""

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        text = sum(len(each.data) for each in node.find_all(nodes.TemplateData))
        step = _filtered(nodes.Const(1 + text // _GLANCE, lineno=node.lineno), _STEP)
        node.body.insert(0, nodes.ExprStmt(step, lineno=node.lineno))
        if node.test is not None:
            node.test = nodes.And(step, node.test, lineno=node.lineno)
        return node

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.expr = _filtered(node.expr, _READ)
        for operand in node.ops:
            operand.expr = _filtered(operand.expr, _READ)
        return node

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _filtered(node, _HOLD) if node.ctx == "load" else node

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:  # noqa: N802
        if isinstance(node.arg, nodes.Const) and node.arg.value in _FORMATS:
            _foretell(node.node, _braces)
        self.generic_visit(node)
        return _filtered(node, _HOLD) if isinstance(node.arg, nodes.Slice) else node

    def _made(self, node: nodes.Expr) -> nodes.Node:
        self.generic_visit(node)
        return _filtered(node, _HOLD)

    def visit_Mod(self, node: nodes.Mod) -> nodes.Node:  # noqa: N802
        _foretell(node.left, _percents)
        return self.generic_visit(node)

    def visit_Getattr(self, node: nodes.Getattr) -> nodes.Node:  # noqa: N802
        if node.attr in _FORMATS:
            _foretell(node.node, _braces)
        return self.generic_visit(node)

    visit_Concat = visit_List = visit_Dict = _made  # noqa: N815


def _foretell(form: nodes.Node, widths: Callable[[str], Iterator[str]]) -> None:
    """
    Say of a format that stands there what its use would say.

    Raises: TemplateSyntaxError.
    """
    if not isinstance(form, nodes.Const) or not isinstance(form.value, str):
        return
    try:
        _narrow(form.value, widths)
    except (SecurityError, TooMuch, ValueError) as exc:
        raise jinja2.TemplateSyntaxError(str(exc), form.lineno) from None


def _filtered(node: nodes.Expr, name: str) -> nodes.Filter:
    return nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)


def _paid(name: str, original: Callable[..., Any]) -> Callable[..., object]:
    """The filter or test, which pays for what it is given and what it gives."""
    wants = getattr(original, "jinja_pass_arg", None)
    foresee = _FORESEEN.get(name, _as_it_is)

    @wraps(original)
    def paid(context: Context, value: object, *args: object, **kwargs: object) -> object:
        spent = budget(context)
        for each in (value, *args, *kwargs.values()):
            spent.read(each)
        gets: Mapping[str, object] = {
            "context": context,
            "eval_context": context.eval_ctx,
            "environment": context.environment,
        }
        own = (gets[wants.name],) if wants else ()
        first = foresee(value, *args, **kwargs)
        return spent.hold(original(*own, first, *args, **kwargs))

    return jinja2.pass_context(paid)


# --- what is asked for its size first -----------------------------------------


def _narrow(form: str, widths: Callable[[str], Iterator[str]]) -> None:
    """
    A format that pads little: `%5.1f`, `{:>12}`. What stands between does not count.

    Raises: SecurityError, or ValueError when it is none; TooMuch for too many fields.
    """
    fields = 0
    for width in widths(form):
        fields += 1
        if "*" in width or any(
            len(digits) > _DIGITS_OF_WIDEST for digits in _NUMBER.findall(width)
        ):
            raise SecurityError(f"formats are for plain widths up to {_WIDEST}")
    fits(len(form) + fields * _WIDEST)


def _percents(form: str) -> Iterator[str]:
    """Width and precision of each conversion; `*` is one that an argument gives."""
    place = form.find("%")
    while place >= 0:
        found = _PERCENT.match(form, _after_name(form, place + 1))
        assert found is not None  # noqa: S101 - it fits nothing, too
        if found[3] != "%" or found[1]:
            yield f"{found[1]} {found[2] or ''}"
        place = form.find("%", max(found.end(), place + 1))


def _after_name(form: str, place: int) -> int:
    """Behind `(name)`, in which brackets are balanced; else where all ends."""
    if not form.startswith("(", place):
        return place
    depth = 0
    for end in range(place, len(form)):
        depth += (form[end] == "(") - (form[end] == ")")
        if depth == 0:
            return end + 1
    return len(form)


def _braces(form: str) -> Iterator[str]:
    """Width and precision of each field; `*` is one that an argument gives."""
    for _, name, spec, _ in Formatter().parse(form):
        if name is None:
            continue
        texts = list(Formatter().parse(spec or ""))
        plain = "".join(text for text, *_ in texts)
        filled = _FILL.match(plain)
        given = any(inner is not None for _, inner, *_ in texts)
        yield "*" if given else plain[filled.end() if filled else 0 :].replace("*", "")


def _as_it_is(value: object, *_args: object, **_kwargs: object) -> object:
    return value


def _joined(value: Any, d: object = "", attribute: object = None) -> object:
    del attribute  # it is a part of a member, and no larger
    members = list(value)
    fits(sum(map(weight, members)) + len(members) * len(str(d)))
    return members


def _replaced(s: object, old: object, new: object, count: object = None) -> object:
    del count  # all, at worst
    fits(len(str(s)) + str(s).count(str(old)) * len(str(new)))
    return s


def _rounded(value: object, precision: Any = 0, method: object = "") -> object:
    del method
    if abs(precision) > _DIGITS:
        raise SecurityError(f"round is for up to {_DIGITS} digits")
    return value


def _parted(value: object, size: Any, fill_with: object = None) -> object:
    fits(size * (1 + weight(fill_with)))
    return value


def _summed(value: object, attribute: object = None, start: object = 0) -> object:
    del attribute
    if not isinstance(start, int | float):
        raise SecurityError("sum is for plain numbers only")
    return value


#: Filters, and what is asked before they run: it gives their first argument.
_FORESEEN: Mapping[str, Callable[..., object]] = {
    "join": _joined,
    "replace": _replaced,
    "round": _rounded,
    "batch": _parted,
    "slice": _parted,
    "sum": _summed,
}
