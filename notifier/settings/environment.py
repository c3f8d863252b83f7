"""What the environment adds to the file: overriding variables, `${VAR}`, secret files."""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from notifier.domain.parsing import (
    Parser,
    Place,
    Scalar,
    ValueParseError,
    describe,
    parse_text,
    text_schema,
)
from notifier.domain.suggestions import suggest
from notifier.errors import ConfigError
from notifier.settings.yaml_tree import (
    ConfigProblem,
    Items,
    KeyPath,
    Node,
    Table,
    key_place,
    node_at,
    read_yaml,
)

PREFIX = "NOTIFIER_"
#: Variables of ours that have no `__`.
_SINGLE = ("CONFIG", "STORE")
#: Keys that can be given as `<key>_file`; `*` is any name.
SECRETS: tuple[KeyPath, ...] = (
    ("destinations", "*", "url"),
    ("web", "password"),
    ("source", "api_key", "private_key"),
)
#: Bytes of the largest secret file.
MAX_SECRET = 65_536


def override(tree: Table, environ: Mapping[str, str]) -> list[ConfigProblem]:
    """
    Put in the variables that override keys: `NOTIFIER_SOURCE__POLL_EVERY=10s`.

    A name's parts, split at `__`, are keys in upper case, or positions in a list. A name
    without `__` is not ours, because orchestrators set such names; but one that is nearly
    one of ours is a problem.
    """
    problems: list[ConfigProblem] = []
    for name, text in sorted(environ.items()):
        rest = name.removeprefix(PREFIX)
        if rest == name:
            continue
        if "__" in name:
            parts = rest.removeprefix("_").lower().split("__")
        elif rest in _SINGLE:
            parts = ["store"] if rest == "STORE" and text else []
        else:
            parts = []
            # STOR is like STORE; the STORE_PORT of an orchestrator is not.
            for better in difflib.get_close_matches(rest, _SINGLE, n=1, cutoff=0.8):
                what = f"unknown variable; did you mean {PREFIX}{better}?"
                problems.append(ConfigProblem(Place(name), (), what))
        if parts:
            problems += _override(tree, parts, text, Place(name))
    return problems


def _override(tree: Table, parts: list[str], text: str, place: Place) -> list[ConfigProblem]:
    """Set one key; tables on the way to it are created."""
    node: Node = tree
    path: KeyPath = ()
    key: str | int = ""
    for depth, part in enumerate(parts, 1):
        if isinstance(node, Items):
            if not part.isdecimal() or int(part[:9]) >= len(node):
                what = f"{part!r} is no position in a list of {len(node)}, from 0 on"
                return [ConfigProblem(place, (), what)]
            key = int(part[:9])
        elif isinstance(node, Table):
            # A variable's name has no `-` and no `.`.
            alike = (one for one in node if re.sub(r"[-.]", "_", one.lower()) == part)
            key = next(alike, Scalar(part, place))
        path = (*path, key)
        if depth < len(parts):
            below = node_at(node, (key,))
            if not isinstance(below, Items | Table):
                below = Table(place)
                _set(node, key, below)
            node = below
    value: Node = Scalar(text, place)
    problems: list[ConfigProblem] = []
    if re.match(r"\s*(\[|\{(?![{%#]))", text):
        try:
            value, found = read_yaml(text, source=place.source, numbered=False)
        except ConfigError:
            return [ConfigProblem(place, path, "is no list or mapping in YAML")]
        problems = [ConfigProblem(place, (*path, *one.path), one.what) for one in found]
    if isinstance(node, Table):
        _drop_twin(node, str(key))
        node.pop(str(key), None)
        node[Scalar(str(key), place)] = value
    else:
        _set(node, key, value)
    return problems


def _set(node: Node, key: str | int, value: Node) -> None:
    if isinstance(node, Table):
        node[str(key) if key in node else key] = value  # type: ignore[index]
    elif isinstance(node, Items) and isinstance(key, int):
        node[key] = value


def _drop_twin(table: Table, name: str) -> None:
    """Drop the file's `url` where a variable sets `url_file`, and the other way round."""
    twin = name.removesuffix("_file") if name.endswith("_file") else f"{name}_file"
    secrets = {path[-1] for path in SECRETS}
    if {name, twin} & secrets and twin in table and key_place(table, twin).line is not None:
        del table[twin]


def expand(
    node: Table | Items, environ: Mapping[str, str], path: KeyPath = ()
) -> list[ConfigProblem]:
    """
    Resolve `${VAR}` and `${VAR:-default}` in values; `$${` is a literal `${`.

    Left alone: keys, templates (`${` is theirs), and overrides by the environment.
    """
    problems: list[ConfigProblem] = []
    children: list[tuple[str | int, Node]] = []
    children += node.items() if isinstance(node, Table) else enumerate(node)
    for part, value in children:
        at = (*path, part)
        if not isinstance(value, Scalar):
            problems += expand(value, environ, at)
            continue
        is_template = at[:1] == ("routes",) and at[2:3] == ("template",)
        if value.place.line is None or is_template or "${" not in value:
            continue
        try:
            _set(node, part, _resolve(value, environ))
        except _UnresolvedError as exc:
            problems.append(ConfigProblem(value.place, at, str(exc)))
    return problems


class _UnresolvedError(Exception):
    """A variable that has no value."""


def _resolve(scalar: Scalar, environ: Mapping[str, str]) -> Scalar:
    """Return a value with its variables resolved, once: their values stay as they are."""
    foreign = False

    def value(mark: re.Match[str]) -> str:
        nonlocal foreign
        if mark[0] == "$${":
            return "${"
        foreign = True
        variable = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
        if mark[1] is None or not (parts := variable.fullmatch(mark[1])):
            raise _UnresolvedError(
                "holds ${ but neither ${VAR} nor ${VAR:-default}; write $${ for a plain ${"
            )
        name, default = parts.groups()
        found = environ.get(name)
        if found is None and default is None:
            words = (f"${{{name}}} is not set", suggest(name, environ))
            raise _UnresolvedError("; ".join(filter(None, words)))
        return found or default or ""

    text = re.sub(r"\$\$\{|\$\{([^{}]*)\}|\$\{", value, scalar)
    return scalar.resolved(text, foreign=foreign)


def read_secret_files(tree: Table, *, folder: Path) -> list[ConfigProblem]:
    """
    Set `url` to the content of `url_file`, less one final newline, and so on.

    Relative paths count from `folder`.
    """
    problems: list[ConfigProblem] = []
    for path, key, table in list(_secret_tables(tree)):
        name = f"{key}_file"
        if name not in table:
            continue
        file = table.pop(name)
        if key in table:
            what = f"{key} is set as well; keep one of the two"
            problems.append(ConfigProblem(file.place, (*path, name), what))
            continue
        table[key] = _UNREADABLE
        try:
            text = _read_secret(folder, _FILE_NAME.validate(file))
        except ValueError as exc:
            problems.append(ConfigProblem(file.place, (*path, name), describe(exc, file)))
        else:
            if isinstance(file, Scalar):
                table[key] = file.resolved(text, foreign=True, quoted=True)
    return problems


_FILE_NAME = Parser(parse_text, text_schema())
#: Stands for a secret whose file is reported: parsers take what is no text as it is.
_UNREADABLE: Any = object()


def _secret_tables(tree: Table) -> Iterator[tuple[KeyPath, str, Table]]:
    """Yield the path of each table that has a secret key, the key and the table."""
    for *parts, key in SECRETS:
        found: list[tuple[KeyPath, Table]] = [((), tree)]
        for part in parts:
            found = [
                ((*path, name), below)
                for path, table in found
                for name, below in table.items()
                if part in {"*", name} and isinstance(below, Table)
            ]
        yield from ((path, str(key), table) for path, table in found)


def _read_secret(folder: Path, name: object) -> str:
    """
    Return the text of a small file, less one final newline.

    Raises: ValueParseError.
    """
    try:
        with (folder / str(name)).open("rb") as file:
            data = file.read(MAX_SECRET + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        raise ValueParseError(f"cannot be read: {reason}") from None
    if len(data) > MAX_SECRET:
        raise ValueParseError("cannot be read: it is larger than any secret")
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise ValueParseError("cannot be read: it is not UTF-8 text") from None
