"""Environment variables that beat the file: `NOTIFIER_SOURCE__POLL_EVERY=10s`."""

import difflib
import re
from collections.abc import Iterator, Mapping

from notifier.errors import ConfigError
from notifier.settings.read_yaml import read_yaml
from notifier.settings.secret_files import SECRETS
from notifier.settings.tree import (
    Items,
    Node,
    Path,
    Place,
    Problem,
    Scalar,
    Table,
    child,
    drop,
    put,
    under,
)

PREFIX = "NOTIFIER_"
#: They have no `__`.
_ALONE = ("CONFIG", "STORE")
#: STOR is like STORE; the STORE_PORT of an orchestrator is not.
_ALIKE = 0.8


def override(root: Node, environ: Mapping[str, str]) -> tuple[Node, tuple[Problem, ...]]:
    """
    The tree with every override put in.

    A name's parts, split at `__`, are keys in upper case, or positions in a list.
    A name without `__` is not ours: orchestrators invent such names; but one that is
    all but one of ours is told. Whether a key exists is for the shape to say.
    """
    problems = list(_misspelt(environ))
    for name, text in sorted(environ.items()):
        if not isinstance(root, Table) or not (parts := _parts(name, text)):
            continue
        place = Place(name)
        path = _path(root, parts)
        if isinstance(path, str):
            problems.append(Problem(place, (), path))
            continue
        try:
            value, found = _value(text, place)
        except ConfigError:
            problems.append(Problem(place, path, "is no list or mapping in YAML"))
        else:
            root = _set(root, path, value)
            problems += (Problem(place, path + p.path, p.what) for p in found)
    return root, tuple(problems)


def _misspelt(environ: Mapping[str, str]) -> Iterator[Problem]:
    for name in sorted(environ):
        rest = name.removeprefix(PREFIX)
        if rest == name or "__" in name or rest in _ALONE:
            continue
        for better in difflib.get_close_matches(rest, _ALONE, n=1, cutoff=_ALIKE):
            what = f"unknown variable; did you mean {PREFIX}{better}?"
            yield Problem(Place(name), (), what)


def _parts(name: str, text: str) -> list[str]:
    """The parts of a name; none: it overrides nothing."""
    rest = name.removeprefix(PREFIX)
    if rest == name:
        return []
    if rest == "STORE":
        return ["store"] if text else []
    return rest.removeprefix("_").lower().split("__") if "__" in name else []


def _path(root: Node, parts: list[str]) -> Path | str:
    """The path that the parts of a name lead to, or why there is none."""
    path: Path = ()
    for part in parts:
        node = under(root, path)
        if not isinstance(node, Items):
            path = (*path, _spelled(node, part))
        elif part.isdecimal() and child(node, int(part)) is not None:
            path = (*path, int(part))
        else:
            return f"{part!r} is no position in a list of {len(node.nodes)}, from 0 on"
    return path


def _spelled(node: Node | None, part: str) -> str:
    """A key as the file spells it; a variable's name holds no `-` and no `.`."""
    names = node.entries if isinstance(node, Table) else ()
    alike = (name for name in names if re.sub(r"[-.]", "_", name.lower()) == part)
    return next(alike, part)


def _value(text: str, place: Place) -> tuple[Node, tuple[Problem, ...]]:
    """The value of a variable: a text, or a list or mapping in YAML."""
    if re.match(r"\s*(\[|\{(?![{%#]))", text):
        return read_yaml(text, source=place.source, numbered=False)
    return Scalar(text=text, written=text, place=place), ()


def _set(root: Node, path: Path, value: Node) -> Node:
    """The tree with one override; a secret's other spelling in the file gives way."""
    parent, name = under(root, path[:-1]), str(path[-1])
    twin = name.removesuffix("_file") if name.endswith("_file") else f"{name}_file"
    if isinstance(parent, Table) and {name, twin} & {secret for _, secret in SECRETS}:
        entry = parent.entries.get(twin)
        if entry is not None and entry.place.line is not None:
            root = put(root, path[:-1], drop(parent, twin))
    return put(root, path, value)
