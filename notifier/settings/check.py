"""Tree -> shape, and every problem in words."""

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Union, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from notifier.domain.suggestions import nearest
from notifier.settings.cross import cross
from notifier.settings.not_yet import not_yet
from notifier.settings.shape import FileShape, Shape
from notifier.settings.template import MisspeltError
from notifier.settings.tree import (
    Node,
    Path,
    Place,
    Problem,
    Scalar,
    Table,
    locate,
    plain,
    under,
)

_WORDS = {
    "missing": "is missing",
    "model_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of names to mappings",
    "tuple_type": "must be a list",
}


def check(root: Node, known: Sequence[Problem]) -> tuple[FileShape | None, tuple[Problem, ...]]:
    """
    The file's shape, if it has one, and every problem in it, `known` ones first.

    One key is reported once: what was found first hides what follows from it.
    """
    shape: FileShape | None = None
    problems = list(known)
    _add(problems, cross(root))
    try:
        shape = FileShape.model_validate(plain(root))
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        _add(problems, (_problem(root, error) for error in errors))
    _add(problems, not_yet(root))
    return shape, tuple(problems)


def _add(problems: list[Problem], more: Iterator[Problem]) -> None:
    """Add what is not explained by a problem at the same key or below it."""
    told = [problem.path for problem in problems if problem.path]
    problems += (
        problem
        for problem in more
        if not any(path[: len(problem.path)] == problem.path for path in told)
    )


def _problem(root: Node, error: ErrorDetails) -> Problem:
    """One of pydantic's errors in our words, at its place in the file."""
    path: Path = tuple(part for part in error["loc"] if part != "[key]")
    cause: object = error.get("ctx", {}).get("error")
    if error["type"] == "extra_forbidden" or error["loc"][-1:] == ("[key]",):
        return Problem(_key_place(root, path), path, _about_key(path, cause))
    place, spelled = locate(root, path)
    if error["type"] == "missing":
        return Problem(place, path, _WORDS["missing"])
    if isinstance(cause, MisspeltError):
        place = _line_below(root, path, place, cause.line)
    what = str(cause) if cause is not None else _WORDS.get(error["type"], error["msg"])
    return Problem(place, spelled, what)


def _about_key(path: Path, cause: object) -> str:
    """What is wrong with a key itself."""
    if cause is not None:
        return str(cause)
    advice = nearest(str(path[-1]), _keys_at(path[:-1]))
    return "; ".join(filter(None, ("unknown key", advice)))


def _key_place(root: Node, path: Path) -> Place:
    """Where a key stands, which may be above its value."""
    parent = under(root, path[:-1])
    if isinstance(parent, Table) and str(path[-1]) in parent.entries:
        return parent.entries[str(path[-1])].place
    return locate(root, path)[0]


def _line_below(root: Node, path: Path, place: Place, line: int) -> Place:
    """The line of the file that holds a line of a block of text."""
    node = under(root, path)
    if not isinstance(node, Scalar) or not node.block or place.line is None:
        return place
    return Place(place.source, place.line + line)


def _keys_at(path: Path) -> tuple[str, ...]:
    """The keys that a mapping at this path may have."""
    shape: type[Shape] | None = FileShape
    parts = iter(path)
    for part in parts:
        if shape is None or isinstance(part, int):
            continue
        annotation = _fields(shape).get(part)
        if get_origin(annotation) is dict:
            next(parts, None)
        shape = next(_shapes(annotation), None)
    return tuple(_fields(shape)) if shape is not None else ()


def _fields(shape: type[Shape]) -> dict[str, object]:
    """The keys of a shape, as they are written, and their types."""
    return {field.alias or name: field.annotation for name, field in shape.model_fields.items()}


def _shapes(annotation: object) -> Iterator[type[Shape]]:
    """The shapes inside a type such as `tuple[Annotated[RouteShape, ...], ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, Shape):
        yield annotation
    elif get_origin(annotation) in {Annotated, Union, types.UnionType, tuple, dict}:
        for part in get_args(annotation):
            yield from _shapes(part)
