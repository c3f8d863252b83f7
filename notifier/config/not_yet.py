"""Keys whose feature is not built yet: refused, never ignored."""

from collections.abc import Iterator

from notifier.config.tree import Items, Node, Problem, Scalar, Table, locate, select

#: key -> the texts that say what the program does now. Delete a row to open a key.
NOT_YET: dict[str, frozenset[str]] = {
    "destinations.*.quiet": frozenset(),
    "destinations.*.on_ambiguous": frozenset({"retry"}),
    "destinations.*.digest.window": frozenset(),
    "destinations.*.digest.at": frozenset(),
    "destinations.*.digest.every": frozenset(),
    "routes.*.quiet": frozenset(),
    "routes.*.digest.window": frozenset(),
    "routes.*.digest.at": frozenset(),
    "routes.*.digest.every": frozenset(),
    "operator.to": frozenset(),
    "egress": frozenset({"any"}),
    "web": frozenset({"off"}),
}


def not_yet(root: Node) -> Iterator[Problem]:
    """Every use of a key that does nothing yet."""
    for pattern, now in NOT_YET.items():
        for path, node in select(root, pattern):
            if not _says(node, now):
                yield Problem(locate(root, path)[0], path, "not available yet")
    for path, node in select(root, "store"):
        if isinstance(node, Scalar) and node.text.startswith("postgresql"):
            yield Problem(node.place, path, "PostgreSQL is not available yet")


def _says(node: Node, now: frozenset[str]) -> bool:
    """Whether a value asks for nothing but what the program does now."""
    match node:
        case Scalar():
            return node.text in now
        case Items(nodes=nodes):
            return not nodes
        case Table():
            return False
