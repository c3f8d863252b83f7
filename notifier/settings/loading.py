"""File + environment -> `Settings`, or every problem at once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from notifier.domain.parsing import (
    Place,
    Scalar,
    ValueParseError,
    describe,
)
from notifier.domain.suggestions import suggest
from notifier.errors import ConfigError
from notifier.settings import types
from notifier.settings.environment import SECRETS, expand, override, read_secret_files
from notifier.settings.yaml_tree import (
    ConfigProblem,
    KeyPath,
    Node,
    Table,
    is_hidden,
    key_place,
    locate,
    node_at,
    read_yaml,
)

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from notifier.domain.rules import Destination
    from notifier.settings.models import Settings

NAME = "notifier.yaml"
_NO_FILE = Place("(no file)")
#: Bytes of the largest file.
MAX_FILE = 256 * 1024
#: What is loaded where no secret is required.
_WITHOUT_SECRETS: tuple[KeyPath, ...] = (
    ("routes",),
    ("timezone",),
    ("destinations",),
    ("retention",),
    ("source", "started_grace"),
    ("source", "started_again_after"),
    ("web", "external_url"),
)
_MESSAGES = {
    "missing": "is missing",
    "model_type": "must be a mapping of keys to values",
    "dataclass_type": "must be a mapping of keys to values",
    "dict_type": "must be a mapping of names to mappings",
    "tuple_type": "must be a list",
    "frozen_set_type": "must be a list",
}


# --- the file -----------------------------------------------------------------


def find(explicit: Path | None, environ: Mapping[str, str], *, cwd: Path) -> Path | None:
    """
    Return the configuration file to use, absolute; None: there is none.

    `--config`, $NOTIFIER_CONFIG, then `usual_paths`: the first one counts, files are
    never merged.

    Raises: ConfigError if a file that is named is not there.
    """
    named = environ.get("NOTIFIER_CONFIG")
    if explicit is None and not named:
        return next((path for path in usual_paths(environ, cwd) if _is_file(path)), None)
    path, by = (cwd / explicit, "--config") if explicit else (cwd / str(named), "NOTIFIER_CONFIG")
    # A shell's <(...) is a pipe.
    if _is_file(path) or path.is_fifo() or path.is_char_device():
        return path
    if path.is_dir():
        raise ConfigError([f"{by}: {path} is a folder; did you mean {path / NAME}?"])
    raise ConfigError([f"{by}: {path} does not exist"])


def usual_paths(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    """Yield where a file is searched for, in order: ./, ./config/, XDG, /etc/notifier/."""
    yield cwd / NAME
    yield cwd / "config" / NAME
    xdg, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if Path(xdg).is_absolute():
        yield Path(xdg) / "notifier" / NAME
    elif Path(home).is_absolute():
        yield Path(home) / ".config" / "notifier" / NAME
    yield Path("/etc/notifier") / NAME


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be looked at: {exc.strerror}"]) from None


# --- loading ------------------------------------------------------------------


def load(
    path: Path | None,
    environ: Mapping[str, str],
    *,
    cwd: Path,
    required_secrets: bool = True,
    routes: Path | None = None,
) -> "Settings":
    """
    Return the settings of a file and an environment; None: of no file.

    Without `required_secrets` every secret is a placeholder, and only what decides where
    events go, and how late, is loaded; other keys have their defaults. `routes` is a file
    whose routes, and whose destinations and time zone if it has any, are taken instead.

    Raises: ConfigError with every problem, each at its line or variable.
    """
    tree, problems = _read(path, environ, cwd=cwd)
    if not required_secrets:
        tree = _without_secrets(tree)
        problems = [
            one for one in problems if one.path[:1] in {key[:1] for key in _WITHOUT_SECRETS}
        ]
    if routes is not None:
        other, problems = _read(routes, {}, cwd=cwd)
        problems = [*problems, *_check_routes_file(other)]
        tree.pop("routes", None)
        for key in list(other):
            if key in {"routes", "timezone", "destinations"}:
                tree.pop(key, None)
                tree[key] = other[key]
        tree = _without_secrets(tree)
    problems += expand(tree, environ)
    if required_secrets:
        problems += read_secret_files(tree, folder=_folder(path, cwd))
    settings, problems = _parse(tree, problems, path=None if path is None else cwd / path)
    if settings is None:
        raise ConfigError(_lines(problems))
    store = types.absolute_store(settings.store, folder=_folder(path, cwd))
    return settings.model_copy(update={"store": store})


def load_store(path: Path | None, environ: Mapping[str, str], *, cwd: Path) -> str:
    """
    Return the URL of the store; no other key is looked at, and pydantic is not loaded.

    Raises: ConfigError if that key is wrong or the file is no YAML.
    """
    if environ.get("NOTIFIER_STORE"):
        tree = Table(_NO_FILE)
        problems = override(tree, environ)
    else:
        tree, problems = _read(path, environ, cwd=cwd)
    tree = _select(tree, [("store",)])
    problems += expand(tree, environ)
    if wrong := [one for one in problems if one.path == ("store",)]:
        raise ConfigError(_lines(wrong))
    node = tree.get("store", "sqlite:///notifier.db")
    try:
        url = str(types.STORE.validate(node))
    except ValueError as exc:
        place = locate(tree, ("store",))[0]
        raise ConfigError([str(ConfigProblem(place, ("store",), describe(exc, node)))]) from None
    return types.absolute_store(url, folder=_folder(path, cwd))


def load_destinations(
    path: Path | None, environ: Mapping[str, str], *, cwd: Path
) -> "tuple[Destination, ...]":
    """
    Return the destinations that are valid, although other keys may not be.

    Raises: ConfigError if the file is no YAML.
    """
    tree = _select(_read(path, environ, cwd=cwd)[0], [("destinations",)])
    problems = [*expand(tree, environ), *read_secret_files(tree, folder=_folder(path, cwd))]
    destinations = tree.get("destinations")
    right: list[Destination] = []
    for name in destinations if isinstance(destinations, Table) else ():
        alone = _select(tree, [("destinations", name)])
        settings, _ = _parse(alone, [one for one in problems if one.path[1:2] == (name,)])
        right += settings.destinations if settings is not None else ()
    return tuple(right)


def place_of(key: KeyPath, path: Path | None, environ: Mapping[str, str], *, cwd: Path) -> str:
    """Return the `file:line`, or the variable, that sets a key."""
    tree, _ = _read(path, environ, cwd=cwd)
    return str(locate(tree, key)[0])


def _folder(path: Path | None, cwd: Path) -> Path:
    """Return the folder that relative paths count from."""
    return cwd if path is None else (cwd / path).parent


def _read(
    path: Path | None, environ: Mapping[str, str], *, cwd: Path
) -> tuple[Table, list[ConfigProblem]]:
    """Return the file, as it is written, with the environment's overrides."""
    root: Node
    root, problems = (Table(_NO_FILE), []) if path is None else _read_file(path, cwd)
    if not isinstance(root, Table):
        raise ConfigError([f"{root.place}: must be a mapping of keys to values"])
    return root, problems + override(root, environ)


def _read_file(path: Path, cwd: Path) -> tuple[Node, list[ConfigProblem]]:
    try:
        with (cwd / path).open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be read: {exc.strerror}"]) from None
    if len(data) > MAX_FILE:
        raise ConfigError([f"{path}: is larger than any configuration"])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError([f"{path}:{line}: is not UTF-8 text"]) from None
    return read_yaml(text, source=str(path))


def _select(tree: Table, paths: Iterable[KeyPath]) -> Table:
    """Return a table with only these keys; those above them are empty if they are no table."""
    selected = Table(tree.place)
    for path in paths:
        source: Node = tree
        target = selected
        for depth, part in enumerate(path, 1):
            if not isinstance(source, Table) or part not in source:
                break
            key = next(one for one in source if one == part)
            source = source[key]
            if depth == len(path):
                target[key] = source
            else:
                target = target.setdefault(key, Table(source.place))  # type: ignore[assignment]
    return selected


def _without_secrets(tree: Table) -> Table:
    """Return what is loaded where no secret is required, with a placeholder for URLs."""
    tree = _select(tree, _WITHOUT_SECRETS)
    destinations = tree.get("destinations")
    if isinstance(destinations, Table):
        for name, one in destinations.items():
            table = Table(one.place, one if isinstance(one, Table) else None)
            table.pop("url_file", None)
            table["url"] = Scalar("terminal://", one.place)
            destinations[name] = table
    return tree


def _check_routes_file(tree: Table) -> Iterator[ConfigProblem]:
    """Yield why a file is none of routes, though its routes may be right."""
    from notifier.settings.models import Settings  # noqa: PLC0415 - see `_parse`

    known = tuple(Settings.model_fields)
    for name in tree:
        if name not in known:
            what = "; ".join(filter(None, ("unknown key", suggest(name, known))))
            yield ConfigProblem(key_place(tree, name), (name,), what)
    if not {"routes", "destinations"} & tree.keys():
        yield ConfigProblem(tree.place, ("routes",), "is missing")


# --- the model, and what it complains of --------------------------------------


def _parse(
    tree: Table, problems: Sequence[ConfigProblem], *, path: Path | None = None
) -> tuple["Settings | None", list[ConfigProblem]]:
    """
    Return the settings that a tree means, and every problem, the known ones first.

    One key is reported once: an earlier problem hides what follows from it.
    """
    # pydantic takes 0.1 s, and most commands need none.
    from pydantic import ValidationError  # noqa: PLC0415 - see above

    from notifier.settings.models import TERMINAL, Settings, fill_defaults  # noqa: PLC0415

    destinations = tree.get("destinations")
    context = {
        "destinations": list(destinations or [TERMINAL]) if isinstance(destinations, Table) else [],
        "check_egress": partial(types.check_egress, only_public=tree.get("egress") == "public"),
        "routes": {},
        "path": path,
        "compile_template": types.compile_template,
    }
    if not destinations or (isinstance(destinations, Scalar) and destinations.empty):
        context["destinations"] = [TERMINAL]
    as_written = _select(tree, [(key,) for key in tree])
    fill_defaults(tree)
    found = list(problems)
    settings = None
    try:
        settings = Settings.model_validate(tree, context=context)
    except ValidationError as exc:
        for problem in _problems(as_written, exc.errors(include_url=False, include_input=False)):
            if not any(one.path and one.path[: len(problem.path)] == problem.path for one in found):
                found.append(problem)
    return (None if found else settings), found


def _problems(tree: Table, errors: Iterable["ErrorDetails"]) -> Iterator[ConfigProblem]:
    """Yield pydantic's errors in our words, at their places in the file."""
    from notifier.domain.rules import MatchError  # noqa: PLC0415 - see `_parse`

    for error in errors:
        path: KeyPath = tuple(part for part in error["loc"] if part != "[key]")
        cause: object = error.get("ctx", {}).get("error")
        is_key = error["loc"][-1:] == ("[key]",)
        if error["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            from notifier.settings.json_schema import keys_at  # noqa: PLC0415 - loads pydantic

            advice = suggest(str(path[-1]), keys_at(path[:-1]))
            yield ConfigProblem(
                _place_of_key(tree, path), path, "; ".join(filter(None, ("unknown key", advice)))
            )
        elif is_key and isinstance(cause, ValueParseError):
            advice = "" if is_hidden(str(path[-1])) else cause.advice
            what = "; ".join(filter(None, (cause.what, advice)))
            yield ConfigProblem(_place_of_key(tree, path), path, what)
        elif isinstance(cause, MatchError):
            for at, problem in cause.problems:
                yield _problem(tree, (*path, *at), problem)
        elif isinstance(cause, ValueError):
            yield _problem(tree, path, cause)
        elif error["type"] == "missing":
            what = _MESSAGES["missing"]
            if path[-1] in {secret[-1] for secret in SECRETS}:
                what += f"; set {path[-1]} or {path[-1]}_file"
            yield ConfigProblem(locate(tree, path)[0], path, what)
        else:
            place, known_path = locate(tree, path)
            yield ConfigProblem(place, known_path, _MESSAGES.get(error["type"], error["msg"]))


def _problem(tree: Table, path: KeyPath, cause: ValueError) -> ConfigProblem:
    """Return what is wrong with a value, at its line."""
    place, known_path = locate(tree, path)
    value = node_at(tree, known_path)
    is_block = isinstance(value, Scalar) and value.block and place.line is not None
    if isinstance(cause, types.TemplateSyntaxProblem) and is_block:
        place = Place(place.source, (place.line or 0) + cause.line)
    return ConfigProblem(place, known_path, describe(cause, value))


def _place_of_key(tree: Table, path: KeyPath) -> Place:
    """Return the place of a key, which may be above its value."""
    parent = node_at(tree, path[:-1])
    if isinstance(parent, Table) and path[-1] in parent:
        return key_place(parent, str(path[-1]))
    return locate(tree, path)[0]


def _lines(problems: Iterable[ConfigProblem]) -> list[str]:
    """Return the problems in the order of the file, then those of the environment."""

    def position(problem: ConfigProblem) -> tuple[bool, int, str]:
        place = problem.place
        return place.line is None, place.line or 0, place.source

    return list(dict.fromkeys(map(str, sorted(problems, key=position))))
