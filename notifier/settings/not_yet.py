"""What the program cannot do yet: refused, never ignored."""

from collections.abc import Iterator

from notifier.settings.tree import Node, Problem, Scalar, select


def not_yet(root: Node) -> Iterator[Problem]:
    """Every use of what does nothing yet."""
    for path, node in select(root, "store"):
        if isinstance(node, Scalar) and node.text.startswith("postgresql"):
            yield Problem(node.place, path, "PostgreSQL is not available yet")
