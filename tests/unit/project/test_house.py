"""The rules of the house, and that the papers say what the code does."""

import ast
import json
import os
import re
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
from importlinter.cli import lint_imports
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from notifier import __version__, settings
from notifier.cli.commands import app
from notifier.domain.models import Json, State
from notifier.domain.retry_policy import HASTY, PATIENT
from notifier.messages.humanize import span

ROOT = Path(__file__).parents[3]
PRODUCT = sorted((ROOT / "notifier").rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
#: The composition root: straight-line, long if need be. And the first tables,
#: told in one piece.
LONG_BY_NATURE = {("app.py", "built"), ("0001_first.py", "upgrade")}
LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


def place(path: Path, node: ast.stmt | ast.expr) -> str:
    return f"{path.relative_to(ROOT)}:{node.lineno}"


def section(page: str, heading: str) -> str:
    """What stands under a heading, up to the next one of its rank."""
    parts = re.split(rf"^{re.escape(heading)}$", page, flags=re.MULTILINE)
    assert len(parts) == 2, f"{heading!r} stands there {len(parts) - 1} times"
    return re.split(r"^## ", parts[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(page: str) -> list[list[str]]:
    """The cells of all tables, without their headings."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split(" |")] for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def terms(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- the shape of the code ----------------------------------------------------


def test_every_module_at_the_top_stands_on_the_readmes_map() -> None:
    house = section(text("README.md"), "## The house")

    modules = [path for path in (ROOT / "notifier").iterdir() if path.name[0] != "_"]

    missing = [
        path.name for path in modules if f"{path.name}{'/' if path.is_dir() else ''}" not in house
    ]
    assert not missing


def test_imports_point_inward() -> None:
    before = Path.cwd()
    os.chdir(ROOT)
    try:
        assert lint_imports(no_cache=True) == 0
    finally:
        os.chdir(before)


def test_no_module_is_longer_than_600_lines() -> None:
    long = [path.name for path in PRODUCT if len(path.read_text().splitlines()) > 600]

    assert not long


def test_no_function_is_longer_than_90_lines_but_the_composition_root() -> None:
    long = [
        place(path, node)
        for path in PRODUCT
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 90
        and (path.name, node.name) not in LONG_BY_NATURE
    ]

    assert not long


def test_names_say_what_things_do() -> None:
    idle = {"manager", "handler", "helper", "helpers", "util", "utils", "common"}
    idle |= {"misc", "base"}

    found = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in PRODUCT
        for name in (path.stem, *_classes(tree(path)))
        if idle & set(_words(name))
    ]

    assert not found


def _classes(module: ast.Module) -> Iterator[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef):
            yield node.name


def _words(name: str) -> list[str]:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower().split("_")


def test_no_test_replaces_code_behind_its_back() -> None:
    found = [
        f"{place(path, node)}: {name}"
        for path in TESTS
        for node, name in _named(tree(path))
        if name == "mock" or name.startswith(("unittest.mock", "pytest_mock"))
    ]

    assert not found


def test_no_test_sleeps() -> None:
    found = [
        f"{place(path, node)}: {name}"
        for path in TESTS
        if path.name.startswith("test_")
        for node, name in _named(tree(path))
        if name in {"time.sleep", "asyncio.sleep"}
    ]

    assert not found


def _named(module: ast.Module) -> Iterator[tuple[ast.stmt | ast.expr, str]]:
    """Everything that is imported, and every attribute of a plain name."""
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node, node.module or ""
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield node, f"{node.value.id}.{node.attr}"


def _committed() -> Iterator[Path]:
    """What is ours to commit: no caches, no environments, no databases."""
    for pattern in ("*", ".ci/*", "config/**/*", "docs/**/*"):
        yield from (
            path
            for path in ROOT.glob(pattern)
            if path.is_file() and path.name != ".git" and path.suffix not in {".db", ".pyc"}
        )
    yield from (*PRODUCT, *TESTS)


def test_nothing_names_a_machine_or_where_packages_are_downloaded() -> None:
    local = re.compile(r"/(?:work|root|opt/wheels)/|https?://[^\s/]*(?:pypi|pythonh)")

    found = [
        f"{path.relative_to(ROOT)}: {hit[0]}"
        for path in _committed()
        if (hit := local.search(path.read_text("utf-8", "replace"))) is not None
        and ".db" not in path.name
    ]

    assert not found


# --- log events ---------------------------------------------------------------


def test_every_log_event_is_documented_with_its_levels() -> None:
    documented = {
        terms(row[0])[0]: set(row[1].split(", ")) for row in rows(text("docs/log-events.md"))
    }

    assert documented == _log_events()


def _log_events() -> dict[str, set[str]]:
    """Every event that is logged, with the levels it is logged at."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in PRODUCT:
        module = tree(path)
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or not (levels := _levels(node.func)):
                continue
            if levels == {"log"}:
                for level, event in _chosen(module):
                    found[event].add(level)
                continue
            first = node.args[0]
            assert isinstance(first, ast.Constant), f"{place(path, node)}: no literal"
            found[str(first.value)] |= levels
    return found


def _levels(func: ast.expr) -> set[str]:
    """The level of `log.info`, the levels of `(log.info if ... else log.debug)`."""
    if isinstance(func, ast.IfExp):
        return _levels(func.body) | _levels(func.orelse)
    if not isinstance(func, ast.Attribute) or not isinstance(func.value, ast.Name):
        return set()
    if func.value.id != "log" or func.attr not in LEVELS:
        return set()
    return {"error" if func.attr == "exception" else func.attr}


def _chosen(module: ast.Module) -> Iterator[tuple[str, str]]:
    """Pairs of a level and an event, for `log.log`."""
    for node in ast.walk(module):
        match node:
            case ast.Tuple(
                elts=[
                    ast.Attribute(value=ast.Name(id="logging"), attr=level),
                    ast.Constant(value=str(event)),
                ]
            ):
                yield level.lower(), event
            case _:
                continue


def test_log_events_are_a_noun_and_a_past_participle() -> None:
    odd = [e for e in _log_events() if not re.fullmatch(r"[a-z]+\.[a-z]+(_[a-z]+)?", e)]

    assert not odd


# --- commands -----------------------------------------------------------------


def _commands() -> dict[str, list[str]]:
    """Every command with its options."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    return {name: list(_options(one)) for name, one in group.commands.items()}


def _options(command: Any) -> Iterator[str]:
    """A command's options; a group's are also those of its commands."""
    for param in command.params:
        yield from (option for option in param.opts if option.startswith("--"))
    for below in getattr(command, "commands", {}).values():
        yield from _options(below)


@pytest.mark.parametrize("name", sorted(_commands()))
def test_a_command_is_documented_with_its_options(name: str) -> None:
    page = text("docs/commands.md")
    said = section(page, f"## `notifier {name}`") + page.partition("\n## ")[0]

    missing = [option for option in _commands()[name] if f"`{option}`" not in said]

    assert not missing


def test_no_command_is_documented_that_is_not_there() -> None:
    headings = re.findall(r"^## `notifier (\w+)`", text("docs/commands.md"), re.MULTILINE)

    assert sorted(headings) == sorted(_commands())


# --- configuration ------------------------------------------------------------


def _keys() -> dict[str, Json]:
    """Every key of the schema by its path, with its default or None."""
    schema = settings.schema()
    defs = schema["$defs"]
    assert isinstance(defs, dict)
    found: dict[str, Json] = {}

    def walk(node: Json, path: str) -> None:
        assert isinstance(node, dict)
        if isinstance(ref := node.get("$ref"), str):
            walk(defs[ref.rpartition("/")[2]], path)
        for choice in node.get("anyOf", []):
            walk(choice, path)
        for inner in ("additionalProperties", "items"):
            if isinstance(node.get(inner), dict):
                walk(node[inner], f"{path}.*")
        for key, value in node.get("properties", {}).items():
            below = f"{path}.{key}".lstrip(".")
            below = re.sub(r"(?<=\.template\.)[a-z]+ed\b|upcoming", "<kind>", below)
            found[below] = value.get("default")
            walk(value, below)

    walk(schema, "")
    return found


def _documented_keys() -> dict[str, list[str]]:
    """Every documented key, with the other cells of its row."""
    return {key: row[1:] for row in rows(text("docs/configuration.md")) for key in terms(row[0])}


def test_every_key_of_the_configuration_is_documented() -> None:
    assert sorted(_documented_keys()) == sorted(_keys())


def test_the_documented_defaults_are_the_real_ones() -> None:
    documented = _documented_keys()

    wrong = [
        f"{key}: {default!r}"
        for key, default in _keys().items()
        if documented[key][0] != ("" if default is None else f"`{_spelt(default)}`")
    ]

    assert not wrong


def _spelt(default: Json) -> str:
    return default if isinstance(default, str) else json.dumps(default)


def test_no_documented_key_is_put_off() -> None:
    put_off = [key for key, row in _documented_keys().items() if "not yet" in row[1].lower()]

    assert not put_off


def test_the_example_configuration_loads() -> None:
    environ = {
        "SLACK_URL": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
        "MAIL_URL": "mailtos://user:secret@example.com",
        "WEBHOOK_SECRET": "whsec_" + "c2VjcmV0" * 4,
    }

    loaded = settings.load(ROOT / "config" / "notifier.yaml", environ, cwd=ROOT)

    assert [one.name for one in loaded.destinations][:2] == ["ops", "desk"]


def test_the_committed_schema_is_the_one_the_program_prints() -> None:
    assert json.loads(text("config/notifier.schema.json")) == settings.schema()


# --- states -------------------------------------------------------------------


def test_every_state_of_a_delivery_is_documented() -> None:
    states = [terms(row[0])[0] for row in rows(text("docs/states.md"))]

    assert states == [state.value for state in State]


@pytest.mark.parametrize("waits", [PATIENT, HASTY], ids=["patient", "hasty"])
def test_the_documented_waits_are_the_real_ones(waits: tuple[timedelta, ...]) -> None:
    spelt = ", ".join(
        span(wait) if wait < timedelta(days=1) else f"{wait // timedelta(hours=1)} h"
        for wait in waits
    )

    assert spelt in text("docs/states.md")


# --- packaging ----------------------------------------------------------------


def _project() -> dict[str, list[str]]:
    project = tomllib.loads(text("pyproject.toml"))["project"]
    run = project["dependencies"]
    return {
        ".ci/requirements.txt": run,
        ".ci/requirements-dev.txt": [*run, *project["optional-dependencies"]["dev"]],
    }


def _pins(name: str) -> dict[str, str]:
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)", text(name), re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("name", sorted(_project()))
def test_every_dependency_is_pinned_as_the_project_allows(name: str) -> None:
    pins = _pins(name)

    wrong = [
        str(wanted)
        for wanted in map(Requirement, _project()[name])
        if pins.get(canonicalize_name(wanted.name), "0") not in wanted.specifier
    ]

    assert not wrong


@pytest.mark.parametrize("name", [*sorted(_project()), ".ci/requirements-supply.txt"])
def test_every_pin_carries_hashes_and_no_address(name: str) -> None:
    listed = text(name)

    blocks = re.split(r"^(?=[a-z])", listed, flags=re.MULTILINE)[1:]

    assert all("--hash=sha256:" in block for block in blocks)
    assert "://" not in listed


def test_tests_run_on_the_versions_that_are_deployed() -> None:
    run, dev = _pins(".ci/requirements.txt"), _pins(".ci/requirements-dev.txt")

    assert run.items() <= dev.items()


def test_the_version_stands_everywhere_alike() -> None:
    assert tomllib.loads(text("pyproject.toml"))["project"]["version"] == __version__
    assert f"\n## [{__version__}]" in text("CHANGELOG.md")
    assert f'org.opencontainers.image.version="{__version__}"' in text("Dockerfile")


# --- the image ----------------------------------------------------------------


def _instructions() -> list[tuple[str, str]]:
    joined = re.sub(r"\\\n\s*", "", re.sub(r"^#.*\n", "", text("Dockerfile"), flags=re.MULTILINE))
    return [
        (word, rest.strip())
        for line in joined.splitlines()
        if line.strip()
        for word, _, rest in [line.partition(" ")]
    ]


def _final() -> list[tuple[str, str]]:
    """The instructions of the last stage: the image itself."""
    all_of_them = _instructions()
    last = max(i for i, (word, _) in enumerate(all_of_them) if word == "FROM")
    return all_of_them[last:]


def test_the_image_runs_as_the_user_that_kubernetes_expects() -> None:
    users = [rest for word, rest in _final() if word == "USER"]

    assert users == ["10001:10001"]
    assert "runAsUser: 10001" in text("config/k8s.yaml")
    assert "runAsGroup: 10001" in text("config/k8s.yaml")


def test_the_image_keeps_its_data_in_a_volume_and_checks_itself() -> None:
    final = _final()

    assert ("VOLUME", '["/data"]') in final
    assert ("STOPSIGNAL", "SIGTERM") in final
    assert ("ENTRYPOINT", '["notifier"]') in final
    assert any(
        word == "HEALTHCHECK" and rest.endswith('CMD ["notifier", "healthcheck"]')
        for word, rest in final
    )
    environment = " ".join(rest for word, rest in final if word == "ENV")
    assert "NOTIFIER_STORE=sqlite:////data/notifier.db" in environment


def test_the_image_is_built_from_pinned_parts_and_holds_no_tools() -> None:
    bases = [rest for word, rest in _instructions() if word == "FROM"]
    runs = [rest for word, rest in _instructions() if word == "RUN"]

    assert all(re.match(r"python:3\.1[1-3]-slim-[a-z]+\b", base) for base in bases)
    installs = [run for run in runs if re.search(r"\bpip\b.* install ", run)]
    assert len(installs) == 3
    assert all("--require-hashes" in run or "--no-deps" in run for run in installs)
    assert not [run for word, run in _final() if word == "RUN" and "pip" in run]


def test_the_image_holds_no_secret_and_nothing_of_the_clone() -> None:
    assert not [word for word, _ in _instructions() if word in {"ARG", "ADD"}]
    left_out = text(".dockerignore").split()

    assert left_out[0] == "*"
    assert {one.removeprefix("!") for one in left_out if one[0] == "!"} == {
        *("pyproject.toml", "README.md", "notifier", ".ci/requirements.txt"),
        ".ci/requirements-dev.txt",
    }


def test_ci_can_be_run() -> None:
    assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_forges_find_how_to_report_a_hole_and_this_version_is_a_mended_one() -> None:
    # By this name, and in this folder, they show it to whoever would report one.
    page = text("docs/SECURITY.md")

    assert "Report a vulnerability" in section(page, "## Reporting a vulnerability")
    newest = __version__.rpartition(".")[0]
    assert f"\n| {newest} | yes" in section(page, "## Supported versions")
    assert "### Secrets" in section(page, "## What is promised")
