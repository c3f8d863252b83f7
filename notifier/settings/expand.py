"""`${VAR}` and `${VAR:-default}` in values; `$${` is a literal `${`."""

import re
from collections.abc import Mapping
from dataclasses import replace

from notifier.domain.suggestions import nearest
from notifier.settings.tree import Node, Path, Problem, Scalar, rewrite

_MARK = re.compile(r"\$\$\{|\$\{([^{}]*)\}|\$\{")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)


def expand(
    root: Node, environ: Mapping[str, str], *, path: Path = ()
) -> tuple[Node, tuple[Problem, ...]]:
    """
    The tree with its variables resolved.

    Left alone: keys, templates (`${` is theirs), and what an environment variable
    has overridden, which is final as it stands. `path` is where `root` stands.
    """
    problems: list[Problem] = []

    def resolve(at: Path, scalar: Scalar) -> Scalar:
        if scalar.place.line is None or _is_template(at) or "${" not in scalar.text:
            return scalar
        try:
            return _resolve(scalar, environ)
        except _UnresolvedError as exc:
            problems.append(Problem(scalar.place, at, str(exc)))
            return scalar

    return rewrite(root, resolve, path), tuple(problems)


class _UnresolvedError(Exception):
    """A variable that cannot be put in; the text says why."""


def _is_template(path: Path) -> bool:
    return path[:1] == ("routes",) and path[2:3] == ("template",)


def _resolve(scalar: Scalar, environ: Mapping[str, str]) -> Scalar:
    """The scalar with each of its variables put in, once: values stay as they are."""
    foreign = False

    def value(mark: re.Match[str]) -> str:
        nonlocal foreign
        if mark[0] == "$${":
            return "${"
        foreign = True
        return _value(mark[1], environ)

    text = _MARK.sub(value, scalar.text)
    return replace(scalar, text=text, foreign=foreign)


def _value(inside: str | None, environ: Mapping[str, str]) -> str:
    """What stands for the inside of `${...}`; None: it never closed."""
    if inside is None or not (parts := _NAME.fullmatch(inside)):
        raise _UnresolvedError(
            "holds ${ but neither ${VAR} nor ${VAR:-default}; write $${ for a plain ${"
        )
    name, default = parts.groups()
    value = environ.get(name)
    if value is None and default is None:
        words = filter(None, (f"${{{name}}} is not set", nearest(name, environ)))
        raise _UnresolvedError("; ".join(words))
    return value or default or ""
