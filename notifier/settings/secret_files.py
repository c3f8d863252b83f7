"""`url_file` and its like: a secret in a file of its own."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path as FilePath

from notifier.settings.reading import quote
from notifier.settings.tree import (
    Entry,
    Node,
    Path,
    Problem,
    Scalar,
    Table,
    put,
    select,
)

#: Where a key may be given as `<key>_file` instead.
SECRETS = (
    ("destinations.*", "url"),
    ("web", "password"),
    ("source.api_key", "private_key"),
)
#: More than any secret; less than what hurts.
LARGEST = 65_536


def read_secrets(root: Node, *, folder: FilePath) -> tuple[Node, tuple[Problem, ...]]:
    """
    The tree with `url` set to what `url_file` holds, less one final newline.

    Relative paths count from `folder`.
    """
    problems: list[Problem] = []
    for path, name, scalar, twin in list(_named(root)):
        if twin is not None:
            what = f"{name} is set as well; keep one of the two"
            problems.append(Problem(scalar.place, (*path, f"{name}_file"), what))
            continue
        try:
            text = _read(folder / scalar.text)
        except (OSError, ValueError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else str(exc)
            what = f"{quote(scalar)} cannot be read: {reason}"
            problems.append(Problem(scalar.place, (*path, f"{name}_file"), what))
        else:
            secret = replace(scalar, text=text, foreign=True, quoted=True)
            root = put(root, (*path, name), secret)
    return root, tuple(problems)


def _named(root: Node) -> Iterator[tuple[Path, str, Scalar, Entry | None]]:
    """Every file that is named, with the key it stands for and that key's entry."""
    for pattern, name in SECRETS:
        for path, node in select(root, pattern):
            if not isinstance(node, Table) or f"{name}_file" not in node.entries:
                continue
            scalar = node.entries[f"{name}_file"].node
            if isinstance(scalar, Scalar) and not scalar.empty and scalar.text:
                yield path, name, scalar, node.entries.get(name)


def _read(path: FilePath) -> str:
    """A small text file, less one final newline."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise ValueError("it is larger than any secret")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")
