"""File + environment -> Config, or every problem at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from notifier.domain.models import Destination, Route
from notifier.domain.suggestions import nearest
from notifier.errors import ConfigError
from notifier.settings.expand import expand
from notifier.settings.not_yet import not_yet
from notifier.settings.override import override
from notifier.settings.read_yaml import read_yaml
from notifier.settings.reading import reading
from notifier.settings.secret_files import read_secrets
from notifier.settings.settings import Config
from notifier.settings.store_url import absolute, store_url
from notifier.settings.tree import (
    Node,
    Place,
    Problem,
    Scalar,
    Table,
    drop,
    locate,
    put,
    select,
    under,
)
from notifier.settings.tree import Path as Key

#: More than any configuration; less than what hurts.
LARGEST = 256 * 1024
STORE = ("store",)
#: What a plan takes from the configuration in force, whatever file its routes are in.
_IN_FORCE = (
    ("retention",),
    ("source", "started_grace"),
    ("source", "started_again_after"),
    ("web", "external_url"),
)
_DEFAULT = Scalar(text="sqlite:///notifier.db", written="", place=Place("(the default)"))
_TERMINAL = Scalar(text="terminal://", written="", place=Place("(a stand-in)"))


def load(path: Path | None, environ: Mapping[str, str], *, cwd: Path) -> Config:
    """
    The configuration of this file and this environment; None: of no file.

    Raises: ConfigError with every problem, each at its line or variable.
    """
    root, duplicates = _read(path, cwd)
    root, misnamed = override(root, environ)
    root, unset = expand(root, environ)
    root, unreadable = read_secrets(root, folder=_folder(path, cwd))
    known = (*duplicates, *misnamed, *unset, *unreadable)
    return _built(root, known, path=path, cwd=cwd)


def load_store(path: Path | None, environ: Mapping[str, str], *, cwd: Path) -> str:
    """
    Where the store is, and nothing else: no other key is looked at.

    Raises: ConfigError when that key is wrong or the file is no YAML.
    """
    root: Node = Table(Place("(no file)"))
    problems: tuple[Problem, ...] = ()
    if not environ.get("NOTIFIER_STORE"):
        root, problems = _read(path, cwd)
    if not isinstance(root, Table):
        raise ConfigError([f"{root.place}: must be a mapping of keys to values"])
    root, _ = override(root, environ)
    node, unset = expand(under(root, STORE) or _DEFAULT, environ, path=STORE)
    later = not_yet(put(root, STORE, node))
    if wrong := [p for p in (*problems, *unset, *later) if p.path == STORE]:
        raise ConfigError(_lines(wrong))
    return absolute(_store(node), folder=_folder(path, cwd))


def load_routes(path: Path | None, environ: Mapping[str, str], *, cwd: Path) -> tuple[Route, ...]:
    """
    Which events go where, and nothing else: no destination's secret is needed.

    Raises: ConfigError when the routes are wrong or the file is no YAML.
    """
    root, duplicates = _read(path, cwd)
    root, misnamed = override(root, environ)
    alone = _part(root, "routes")
    for at, node in select(root, "destinations.*"):
        alone = put(alone, (*at, "url"), replace(_TERMINAL, place=node.place))
    alone, unset = expand(alone, environ)
    known = [p for p in (*duplicates, *misnamed) if p.path[:1] == ("routes",)]
    return _built(alone, (*known, *unset), path=path, cwd=cwd).routes


def load_plan(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    cwd: Path,
    routes: Path | None = None,
) -> Config:
    """
    Which events go where and how, without a secret: every URL is a stand-in.

    `routes` is another file whose routes are taken instead, and its destinations and
    time zone if it has any. Of what is neither, the defaults are told.

    Raises: ConfigError with every problem in the file of the routes.
    """
    own, known = _read(path, cwd)
    own, misnamed = override(own, environ)
    wanted, problems = own, [*known, *misnamed]
    if routes is not None:
        wanted, known = _read(routes, cwd)
        problems = [*known, *_strangers(wanted)]
    root: Node = Table(wanted.place)
    for key, sources in _parts_of_a_plan(wanted, own):
        nodes = [node for one in sources if (node := under(one, key)) is not None]
        root = put(root, key, nodes[0]) if nodes else root
    root, unset = expand(_without_urls(root), environ)
    if routes is None:
        problems = [p for p in problems if under(root, p.path[:1]) is not None]
    return _built(root, (*problems, *unset), path=path, cwd=cwd)


def _parts_of_a_plan(wanted: Node, own: Node) -> Iterator[tuple[Key, tuple[Node, ...]]]:
    """What a plan is made of, each with the trees that it may come from."""
    yield ("routes",), (wanted,)
    yield from ((key, (wanted, own)) for key in (("timezone",), ("destinations",)))
    yield from ((key, (own,)) for key in _IN_FORCE)


def _strangers(root: Node) -> Iterator[Problem]:
    """What keeps a file from being one of routes, though its routes be right."""
    from notifier.settings.shape import FileShape  # noqa: PLC0415 - see `_built`

    if not isinstance(root, Table):
        yield Problem(root.place, (), "must be a mapping of keys to values")
        return
    known = tuple(FileShape.model_fields)
    for name, entry in root.entries.items():
        if name not in known:
            words = "; ".join(filter(None, ("unknown key", nearest(name, known))))
            yield Problem(entry.place, (name,), words)
    if not {"routes", "destinations"} & root.entries.keys():
        yield Problem(root.place, ("routes",), "is missing")


def _without_urls(root: Node) -> Node:
    """The tree with a stand-in for each destination's URL."""
    for at, node in list(select(root, "destinations.*")):
        if isinstance(node, Table):
            root = put(root, at, drop(drop(node, "url"), "url_file"))
        root = put(root, (*at, "url"), replace(_TERMINAL, place=node.place))
    return root


def load_destinations(
    path: Path | None, environ: Mapping[str, str], *, cwd: Path
) -> tuple[Destination, ...]:
    """
    The destinations that are right as far as the configuration goes.

    Raises: ConfigError when the file is no YAML.
    """
    from notifier.settings.check import check  # noqa: PLC0415 - see `_built`

    root, _ = _read(path, cwd)
    root, _ = override(root, environ)
    root, unset = expand(_part(root, "destinations"), environ)
    root, unreadable = read_secrets(root, folder=_folder(path, cwd))
    _, problems = check(root, (*unset, *unreadable))
    wrong = {problem.path[:2] for problem in problems}
    for at, _ in list(select(root, "destinations.*")):
        if at in wrong:
            root = _without(root, at)
    return _built(root, (), path=path, cwd=cwd).destinations


def place_of(key: Key, path: Path | None, environ: Mapping[str, str], *, cwd: Path) -> str:
    """The `file:line`, or the variable, that says what a key is."""
    root, _ = _read(path, cwd)
    root, _ = override(root, environ)
    return str(locate(root, key)[0])


def _part(root: Node, name: str) -> Node:
    """The tree without any other key at its top."""
    if not isinstance(root, Table):
        return root
    entries = {key: entry for key, entry in root.entries.items() if key == name}
    return replace(root, entries=entries)


def _without(root: Node, at: Key) -> Node:
    """The tree without one key of a mapping."""
    above = under(root, at[:-1])
    return put(root, at[:-1], drop(above, str(at[-1]))) if isinstance(above, Table) else root


def _built(root: Node, known: Sequence[Problem], *, path: Path | None, cwd: Path) -> Config:
    """
    The configuration that a tree means.

    Raises: ConfigError with every problem, the known ones among them.
    """
    from notifier.settings.build import build  # noqa: PLC0415 - pydantic takes 0.1 s,
    from notifier.settings.check import check  # noqa: PLC0415 - and readers need none

    shape, problems = check(root, known)
    if problems or shape is None:
        raise ConfigError(_lines(problems))
    return build(shape, path=None if path is None else cwd / path, folder=_folder(path, cwd))


def _store(node: Node) -> str:
    """The value of `store`."""
    try:
        return reading(store_url, secret=True)(node)
    except ValueError as exc:
        raise ConfigError([str(Problem(node.place, STORE, str(exc)))]) from None


def _folder(path: Path | None, cwd: Path) -> Path:
    """What relative paths count from."""
    return cwd if path is None else (cwd / path).parent


def _read(path: Path | None, cwd: Path) -> tuple[Node, tuple[Problem, ...]]:
    """The file as it was written."""
    if path is None:
        return Table(Place("(no file)")), ()
    try:
        with (cwd / path).open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from None
    if len(data) > LARGEST:
        raise ConfigError([f"{path}: is larger than any configuration"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8 text"]) from None
    return read_yaml(text, source=str(path))


def _lines(problems: Iterable[Problem]) -> list[str]:
    """The problems in the order of the file, then those of the environment."""

    def position(problem: Problem) -> tuple[bool, int, str]:
        place = problem.place
        return place.line is None, place.line or 0, place.source

    return list(dict.fromkeys(map(str, sorted(problems, key=position))))
