"""A configuration as written: texts, lists and mappings that know their place."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

#: Keys and list positions from the top of the file down to a value.
Path: TypeAlias = tuple[str | int, ...]
#: The same without places; the leaves still know theirs.
Plain: TypeAlias = "Scalar | list[Plain] | dict[str, Plain]"


#: What stands in URLs, and in no name of a key.
_URL = re.compile(r"://|[=&?@%]|whsec_")


@dataclass(frozen=True, slots=True)
class Place:
    """A line of a file, or an environment variable."""

    source: str
    line: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar:
    """
    One value. It is text until the key that it stands at says otherwise.

    `text` may hold a secret as soon as `foreign` is set: messages show `written`.
    """

    text: str = field(repr=False)
    place: Place
    #: As it stands in the file, `${VAR}` and all.
    written: str
    #: Quotes keep `null` and `true` text.
    quoted: bool = False
    #: `|`: the text begins on the line after `place`.
    block: bool = False
    #: The text came from a variable or a file of its own.
    foreign: bool = False

    @property
    def empty(self) -> bool:
        """Whether the key was left without a value."""
        return not self.quoted and self.text in {"", "~", "null", "Null", "NULL"}


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    place: Place
    nodes: "tuple[Node, ...]" = ()


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a mapping, and where it stands."""

    place: Place
    node: "Node"


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping."""

    place: Place
    entries: Mapping[str, Entry] = field(default_factory=dict)


Node: TypeAlias = Scalar | Items | Table


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that a person must put right, and where."""

    place: Place
    path: Path
    what: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.place), key(self.path), self.what)))


def key(path: Path) -> str:
    """
    A path as people write it: `routes[0].match.details.league`.

    A colon or a comma too few makes a key of a URL, or of its half: it is not shown.
    """
    parts = (f"[{part}]" if isinstance(part, int) else f".{_named(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def _named(part: str) -> str:
    return "***" if _URL.search(part) else part


def child(node: Node, part: str | int) -> Node | None:
    """What stands under one key or at one position; None: nothing."""
    match node, part:
        case Table(entries=entries), str() if part in entries:
            return entries[part].node
        case Items(nodes=nodes), int() if 0 <= part < len(nodes):
            return nodes[part]
        case _:
            return None


def under(node: Node, path: Path) -> Node | None:
    """What stands at a path; None: nothing."""
    for part in path:
        if (found := child(node, part)) is None:
            return None
        node = found
    return node


def locate(node: Node, path: Path) -> tuple[Place, Path]:
    """
    The place of a path, and as much of the path as the file spells out.

    A value's place is its own line; a list's or mapping's is that of its key.
    """
    place = node.place
    for depth, part in enumerate(path):
        below = child(node, part)
        if below is None:
            return place, path[:depth]
        place = below.place
        if isinstance(node, Table) and not isinstance(below, Scalar):
            place = node.entries[str(part)].place
        node = below
    return place, path


def select(node: Node, pattern: str) -> Iterator[tuple[Path, Node]]:
    """Every node at a dotted pattern, in which `*` stands for any key or position."""
    found: list[tuple[Path, Node]] = [((), node)]
    for part in pattern.split("."):
        found = [
            ((*path, name), below)
            for path, above in found
            for name, below in _children(above)
            if part in {"*", name}
        ]
    yield from found


def _children(node: Node) -> Iterator[tuple[str | int, Node]]:
    match node:
        case Table(entries=entries):
            yield from ((name, entry.node) for name, entry in entries.items())
        case Items(nodes=nodes):
            yield from enumerate(nodes)
        case Scalar():
            pass


def rewrite(node: Node, change: Callable[[Path, Scalar], Scalar], path: Path = ()) -> Node:
    """The same tree with every scalar changed."""
    match node:
        case Scalar():
            return change(path, node)
        case Items():
            nodes = enumerate(node.nodes)
            return replace(node, nodes=tuple(rewrite(n, change, (*path, i)) for i, n in nodes))
        case Table():
            entries = {
                name: replace(entry, node=rewrite(entry.node, change, (*path, name)))
                for name, entry in node.entries.items()
            }
            return replace(node, entries=entries)


def put(node: Node | None, path: Path, value: Node) -> Node:
    """The same tree with a value set; mappings on the way are made where missing."""
    if not path:
        return value
    part, rest = path[0], path[1:]
    if isinstance(node, Items) and isinstance(part, int):
        below = put(node.nodes[part], rest, value)
        return replace(node, nodes=(*node.nodes[:part], below, *node.nodes[part + 1 :]))
    table = node if isinstance(node, Table) else Table(value.place)
    below = put(child(table, part), rest, value)
    kept = None if below is value else table.entries.get(str(part))
    entry = Entry(kept.place if kept else value.place, below)
    return replace(table, entries={**table.entries, str(part): entry})


def drop(table: Table, name: str) -> Table:
    """The same mapping without one key."""
    return replace(table, entries={k: entry for k, entry in table.entries.items() if k != name})


def plain(node: Node) -> Plain:
    """The same without places; the leaves still know theirs."""
    match node:
        case Scalar():
            return node
        case Items():
            return [plain(item) for item in node.nodes]
        case Table():
            return {name: plain(entry.node) for name, entry in node.entries.items()}
