"""
Text -> mappings, lists and scalars that know their place, by the rules of YAML 1.2.

Every scalar stays text: `off`, `no`, `08:00` and `2026-01-01` too; each key decides what
its text must be. Anchors and aliases work; merge keys (`<<`), which YAML 1.2 does not
have, tags and duplicate keys are errors.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    NodeEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from notifier.domain.parsing import Place, Scalar
from notifier.errors import ConfigError

#: Keys and list positions from the top of the file down to a value.
KeyPath: TypeAlias = tuple[str | int, ...]
#: Limits that no configuration reaches, but aliases that multiply do.
MAX_DEPTH, MAX_NODES = 30, 20_000
#: Characters of a line that are searched for a hint.
_MAX_HINTED = 1_000
_TOO_LARGE = "nested too deeply, or too large, for a configuration"


class Table(dict[str, "Node"]):
    """A mapping; its keys are scalars with a place."""

    def __init__(self, place: Place, entries: Mapping[str, "Node"] | None = None) -> None:
        super().__init__(entries or {})
        self.place = place


class Items(list["Node"]):
    """A list."""

    def __init__(self, place: Place, items: Iterable["Node"] = ()) -> None:
        super().__init__(items)
        self.place = place


Node: TypeAlias = Scalar | Items | Table


class ConfigProblem(NamedTuple):
    """Something that a person must correct, and where."""

    place: Place
    path: KeyPath
    what: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (str(self.place), format_path(self.path), self.what)))


def format_path(path: KeyPath) -> str:
    """Return a path as people write it: `routes[0].match.details.league`."""
    parts = (
        f"[{part}]" if isinstance(part, int) else f".{'***' if is_hidden(part) else part}"
        for part in path
    )
    return "".join(parts).removeprefix(".")


def is_hidden(key: str) -> bool:
    """Whether a key may be a secret: a missing colon or comma makes a key of a URL."""
    return re.search(r"://|[=&?@%]|whsec_", key) is not None


def locate(node: Node, path: KeyPath) -> tuple[Place, KeyPath]:
    """
    Return the place of a path, and as much of the path as the file has.

    A value's place is its own line; a list's or mapping's is that of its key.
    """
    place = node.place
    for depth, part in enumerate(path):
        below: Node
        if isinstance(node, Table) and part in node:
            below = node[str(part)]
            place = below.place if isinstance(below, Scalar) else key_place(node, str(part))
        elif isinstance(node, Items) and isinstance(part, int) and 0 <= part < len(node):
            below = node[part]
            place = below.place
        else:
            return place, path[:depth]
        node = below
    return place, path


def key_place(table: Table, name: str) -> Place:
    """Return the place of a key."""
    return next(
        (key.place for key in table if key == name and isinstance(key, Scalar)), table.place
    )


def node_at(node: Node, path: KeyPath) -> Node | None:
    """Return the value at a path; None: there is none."""
    found: Node | None = node
    for part in path:
        if isinstance(found, Table):
            found = found.get(str(part))
        elif isinstance(found, Items) and isinstance(part, int) and part < len(found):
            found = found[part]
        else:
            return None
    return found


def read_yaml(text: str, *, source: str, numbered: bool = True) -> tuple[Node, list[ConfigProblem]]:
    """
    Return the one document of a file, and its problems that reading can go past.

    `source` names the file in places, which have lines if `numbered`. An empty file is
    an empty mapping.

    Raises: ConfigError if it is no YAML.
    """
    reader = _Reader(source, numbered=numbered)
    try:
        return reader.read(text), reader.problems
    except YAMLError as exc:
        raise ConfigError([_explain(exc, text, source=source)]) from None
    except (RecursionError, ValueError, OverflowError) as exc:
        is_deep = isinstance(exc, RecursionError)
        what = _TOO_LARGE if is_deep else "is not YAML: an escape stands for no character"
        raise ConfigError([f"{source}:{reader.line}: {what}"]) from None


class _Reader:
    """Reads the parser's events of one document."""

    def __init__(self, source: str, *, numbered: bool) -> None:
        self.problems: list[ConfigProblem] = []
        #: Of the newest event.
        self.line = 1
        self._source = source
        self._numbered = numbered
        self._anchors: dict[str, Node] = {}
        self._size = 0
        self._events: Iterator[Event] = iter(())

    def read(self, text: str) -> Node:
        """Return the document."""
        events = YAML(typ="safe", pure=True).parse(text)
        self._events = (one for one in events if isinstance(one, _WANTED))
        root: Node | None = None
        for event in self._events:
            if isinstance(event, DocumentStartEvent):
                if root is not None:
                    what = "a second document begins; only one is read"
                    raise MarkedYAMLError(problem=what, problem_mark=event.start_mark)
                root = self._node(next(self._events), ())
        if root is None or (isinstance(root, Scalar) and root.empty):
            return Table(Place(self._source, 1) if root is None else root.place)
        return root

    def _node(self, event: Event, path: KeyPath) -> Node:
        """Return the node that begins with an event, after taking the rest of its events."""
        self.line = event.start_mark.line + 1
        place = Place(self._source, self.line if self._numbered else None)
        if isinstance(event, AliasEvent):
            if event.anchor in self._anchors:
                return self._copy(self._anchors[event.anchor], event, path)
            what = "begins with *, an alias, but nothing is anchored so; quote it"
            self.problems.append(ConfigProblem(place, path, what))
            return Scalar("", place)
        self._count(event, path)
        node: Node
        if isinstance(event, ScalarEvent):
            block, quoted = event.style in {"|", ">"}, event.style is not None
            node = Scalar(event.value, place, quoted=quoted, block=block)
        elif isinstance(event, SequenceStartEvent):
            node = Items(place)
            for item in self._events:
                if isinstance(item, SequenceEndEvent):
                    break
                node.append(self._node(item, (*path, len(node))))
        else:
            node = self._table(place, path)
        if isinstance(event, ScalarEvent | CollectionStartEvent) and event.ctag is not None:
            # A text may begin with ! only in quotes. It may be a secret, so it is not shown.
            what = "begins with !, a YAML tag, and tags are not understood; quote it"
            self.problems.append(ConfigProblem(place, path, what))
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = node
        return node

    def _table(self, place: Place, path: KeyPath) -> Table:
        table = Table(place)
        for event in self._events:
            if isinstance(event, MappingEndEvent):
                break
            key = self._node(event, path)
            if not isinstance(key, Scalar):
                what = "a list or mapping cannot be a key"
                raise MarkedYAMLError(problem=what, problem_mark=event.start_mark)
            value = self._node(next(self._events), (*path, str(key)))
            if isinstance(value, Scalar) and value.empty and not value:
                # The event of a missing value stands where the next thing is.
                value.place = key.place
            if key in table:
                what = f"is set twice, first at {key_place(table, key)}"
                self.problems.append(ConfigProblem(key.place, (*path, str(key)), what))
            elif key == "<<":
                what = "merge keys are not part of YAML 1.2; write the keys out"
                self.problems.append(ConfigProblem(key.place, (*path, str(key)), what))
            else:
                table[key] = value
        return table

    def _copy(self, node: Node, event: Event, path: KeyPath) -> Node:
        """Return a copy of what an anchor stands for: overrides change only one of them."""
        self._count(event, path)
        if isinstance(node, Scalar):
            return node
        if isinstance(node, Items):
            return Items(node.place, (self._copy(one, event, path) for one in node))
        copies = {key: self._copy(one, event, path) for key, one in node.items()}
        return Table(node.place, copies)

    def _count(self, event: Event, path: KeyPath) -> None:
        self._size += 1
        if self._size > MAX_NODES or len(path) > MAX_DEPTH:
            raise MarkedYAMLError(problem=_TOO_LARGE, problem_mark=event.start_mark)


_WANTED = (DocumentStartEvent, NodeEvent, MappingEndEvent, SequenceEndEvent)


def _explain(exc: YAMLError, text: str, *, source: str) -> str:
    """Return where and why a text is no YAML, without quoting it."""
    if isinstance(exc, ReaderError):
        line = text.count("\n", 0, exc.position) + 1
        return f"{source}:{line}: holds a character that YAML does not allow"
    if not isinstance(exc, MarkedYAMLError) or exc.problem_mark is None:
        return f"{source}: is not YAML"
    number: int = exc.problem_mark.line
    problem = re.sub(r"'![^']*'", "(a tag)", exc.problem or "cannot be read")
    lines = text.splitlines()
    shown = lines[number][:_MAX_HINTED] if number < len(lines) else ""
    hint = ""
    if re.search(r"[\[{,].*[^\"'$]\$\{", shown):
        hint = '; inside {...} and [...] quote it: "${VAR}"'
    elif "\t" in shown:
        hint = "; indent with spaces, not tabs"
    elif "found character" in problem:
        hint = "; quote the value"
    return f"{source}:{number + 1}: is not YAML: {problem}{hint}"
