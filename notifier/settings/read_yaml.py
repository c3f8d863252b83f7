"""
Text -> tree, by the rules of YAML 1.2.

Nothing is guessed from how a value looks: `off`, `no`, `08:00` and `2026-01-01`
stay text, and each key decides what its text must be. Anchors and aliases work;
merge keys (`<<`), which YAML 1.2 does not have, tags and duplicate keys do not.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

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
    StreamEndEvent,
)
from ruamel.yaml.reader import ReaderError

from notifier.errors import ConfigError
from notifier.settings.tree import (
    Entry,
    Items,
    Node,
    Path,
    Place,
    Problem,
    Scalar,
    Table,
)

#: Deeper than any configuration, and than aliases that multiply are let grow.
DEEPEST, LARGEST = 30, 20_000
#: As much of a line as is looked at for a hint.
_HINTED = 1_000
_TOO_MUCH = "nested too deeply, or too large, for a configuration"


def read_yaml(text: str, *, source: str, numbered: bool = True) -> tuple[Node, tuple[Problem, ...]]:
    """
    The one document of a file, and what is wrong with it but can be read past.

    `source` names the file in places, which have lines if `numbered`. An empty
    file is an empty mapping.

    Raises: ConfigError when it is no YAML.
    """
    reading = _Reading(source, numbered=numbered)
    try:
        root = reading.document(_events(text))
    except YAMLError as exc:
        raise ConfigError([_explain(exc, text, source=source)]) from None
    except (RecursionError, ValueError, OverflowError) as exc:
        deep = isinstance(exc, RecursionError)
        what = _TOO_MUCH if deep else "is not YAML: an escape stands for no character"
        raise ConfigError([f"{source}:{reading.line}: {what}"]) from None
    return root, tuple(reading.problems)


def _events(text: str) -> Iterator[Event]:
    """What the parser sees, without its talk about streams and documents."""
    documents = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        documents += isinstance(event, DocumentStartEvent)
        if documents > 1:
            raise MarkedYAMLError(
                problem="a second document begins; only one is read",
                problem_mark=event.start_mark,
            )
        if isinstance(event, NodeEvent | MappingEndEvent | SequenceEndEvent):
            yield event
        elif isinstance(event, StreamEndEvent):
            return


class _Reading:
    """One pass over a document's events."""

    def __init__(self, source: str, *, numbered: bool) -> None:
        self.problems: list[Problem] = []
        #: Where the last thing that could be read begins.
        self.line = 1
        self._source = source
        self._numbered = numbered
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._size = 0

    def document(self, events: Iterator[Event]) -> Node:
        """The tree of all events."""
        first = next(events, None)
        if first is None:
            return Table(Place(self._source, 1))
        root = self._node(first, events, ())
        deque(events, maxlen=0)  # what follows must be nothing
        if isinstance(root, Scalar) and root.empty:
            return Table(root.place)
        return root

    def _node(self, event: Event, events: Iterator[Event], path: Path) -> Node:
        """The node that begins with this event; takes the rest of it."""
        place, before = self._place(event), self._size
        if isinstance(event, AliasEvent):
            return self._alias(event, place, path)
        self._grow(1, event, path)
        match event:
            case ScalarEvent():
                node: Node = _scalar(event, place)
            case SequenceStartEvent():
                node = Items(place, tuple(self._items(events, path)))
            case _:
                node = Table(place, self._entries(events, path))
        if isinstance(event, ScalarEvent | CollectionStartEvent):
            self._refuse_tag(event, place, path)
        if isinstance(event, NodeEvent) and event.anchor is not None:
            self._anchors[event.anchor] = (node, self._size - before)
        return node

    def _items(self, events: Iterator[Event], path: Path) -> Iterator[Node]:
        for position, event in enumerate(events):
            if isinstance(event, SequenceEndEvent):
                return
            yield self._node(event, events, (*path, position))

    def _entries(self, events: Iterator[Event], path: Path) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            name, place = self._key(event, events, path), self._place(event)
            node = self._node(next(events), events, (*path, name))
            if name in entries:
                what = f"is set twice, first at {entries[name].place}"
                self.problems.append(Problem(place, (*path, name), what))
            elif name == "<<":
                what = "merge keys are not part of YAML 1.2; write the keys out"
                self.problems.append(Problem(place, (*path, name), what))
            else:
                entries[name] = Entry(place, _beside(place, node))
        return entries

    def _key(self, event: Event, events: Iterator[Event], path: Path) -> str:
        node = self._node(event, events, path)
        if isinstance(node, Scalar):
            return node.text
        raise MarkedYAMLError(
            problem="a list or mapping cannot be a key", problem_mark=event.start_mark
        )

    def _alias(self, event: AliasEvent, place: Place, path: Path) -> Node:
        """What an anchor stands for."""
        node, size = self._anchors.get(event.anchor, (None, 0))
        if node is None:
            what = "begins with *, an alias, but nothing is anchored so; quote it"
            self.problems.append(Problem(place, path, what))
            return Scalar(text="", written="", place=place)
        self._grow(size, event, path)
        return node

    def _refuse_tag(
        self, event: ScalarEvent | CollectionStartEvent, place: Place, path: Path
    ) -> None:
        """A text may begin with ! only in quotes. It is not shown: it may be secret."""
        if event.ctag is not None:
            what = "begins with !, a YAML tag, and tags are not understood; quote it"
            self.problems.append(Problem(place, path, what))

    def _grow(self, by: int, event: Event, path: Path) -> None:
        self._size += by
        if self._size > LARGEST or len(path) > DEEPEST:
            raise MarkedYAMLError(
                problem=_TOO_MUCH,
                problem_mark=event.start_mark,
            )

    def _place(self, event: Event) -> Place:
        self.line = event.start_mark.line + 1
        return Place(self._source, self.line if self._numbered else None)


def _scalar(event: ScalarEvent, place: Place) -> Scalar:
    return Scalar(
        text=event.value,
        written=event.value,
        place=place,
        quoted=event.style is not None,
        block=event.style in {"|", ">"},
    )


def _beside(key: Place, node: Node) -> Node:
    """A value that is not there stands at its key, not where the next thing is."""
    if isinstance(node, Scalar) and node.empty and not node.text:
        return replace(node, place=key)
    return node


def _explain(exc: YAMLError, text: str, *, source: str) -> str:
    """Where it stops being YAML, and why, quoting nothing of the file."""
    if isinstance(exc, ReaderError):
        line = text.count("\n", 0, exc.position) + 1
        return f"{source}:{line}: holds a character that YAML does not allow"
    if not isinstance(exc, MarkedYAMLError) or exc.problem_mark is None:
        return f"{source}: is not YAML"
    line = exc.problem_mark.line + 1
    problem = re.sub(r"'![^']*'", "(a tag)", exc.problem or "cannot be read")
    return f"{source}:{line}: is not YAML: {problem}{_hint(exc, text)}"


def _hint(exc: MarkedYAMLError, text: str) -> str:
    """What most often stands behind an error on this line."""
    lines = text.splitlines()
    number = exc.problem_mark.line
    line = lines[number][:_HINTED] if number < len(lines) else ""
    if re.search(r"[\[{,].*[^\"'$]\$\{", line):
        return '; inside {...} and [...] quote it: "${VAR}"'
    if "\t" in line:
        return "; indent with spaces, not tabs"
    if "found character" in (exc.problem or ""):
        return "; quote the value"
    return ""
