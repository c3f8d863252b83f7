"""Keys whose feature is not built yet: refused, never ignored."""

from collections.abc import Iterator

from notifier.config.tree import Node, Problem, Scalar, locate, select

#: key -> the texts that say what the program does now. Delete a row to open a key.
NOT_YET: dict[str, frozenset[str]] = {}


def not_yet(root: Node) -> Iterator[Problem]:
    """Every use of a key that does nothing yet."""
    for pattern, now in NOT_YET.items():
        for path, node in select(root, pattern):
            if not isinstance(node, Scalar) or node.text not in now:
                yield Problem(locate(root, path)[0], path, "not available yet")
    for path, node in select(root, "store"):
        if isinstance(node, Scalar) and node.text.startswith("postgresql"):
            yield Problem(node.place, path, "PostgreSQL is not available yet")
