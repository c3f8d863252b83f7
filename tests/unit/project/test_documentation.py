"""The documentation says what the code does."""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer

from notifier import settings
from notifier.cli.commands import app
from notifier.domain.models import Json, State
from notifier.domain.retry_policy import RETRY_SCHEDULE, URGENT_RETRY_SCHEDULE
from notifier.messages.humanize import span

ROOT = Path(__file__).parents[3]


def text(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one of its rank."""
    _, _, after = page.partition(f"\n{heading}\n")
    assert after, f"no {heading!r}"
    return after.partition("\n## ")[0]


def rows(page: str) -> list[list[str]]:
    """The cells of all tables, without their headings."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line[1:-1].split(" |")] for line in lines]
    return [row for row in cells if row[0].startswith("`")]


def terms(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- log events ---------------------------------------------------------------


def test_every_log_event_is_documented_with_its_levels() -> None:
    documented = {
        terms(row[0])[0]: set(row[1].split(", ")) for row in rows(text("docs/log-events.md"))
    }

    assert documented == _log_events()


def _log_events() -> dict[str, set[str]]:
    """Every event that is logged, with the levels it is logged at."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / "notifier").rglob("*.py")):
        module = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(module):
            if not isinstance(node, ast.Call) or not (levels := _levels(node.func)):
                continue
            if levels == {"log"}:
                for level, event in _chosen(module):
                    found[event].add(level)
                continue
            first = node.args[0]
            assert isinstance(first, ast.Constant), f"{path}:{node.lineno}: no literal"
            found[str(first.value)] |= levels
    return found


def _levels(func: ast.expr) -> set[str]:
    """The level of `log.info`, the levels of `(log.info if ... else log.debug)`."""
    if isinstance(func, ast.IfExp):
        return _levels(func.body) | _levels(func.orelse)
    if not isinstance(func, ast.Attribute) or not isinstance(func.value, ast.Name):
        return set()
    levels = {"debug", "info", "warning", "error", "exception", "critical", "log"}
    if func.value.id != "log" or func.attr not in levels:
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


@pytest.mark.parametrize("waits", [RETRY_SCHEDULE, URGENT_RETRY_SCHEDULE], ids=["patient", "hasty"])
def test_the_documented_waits_are_the_real_ones(waits: tuple[timedelta, ...]) -> None:
    spelt = ", ".join(
        span(wait) if wait < timedelta(days=1) else f"{wait // timedelta(hours=1)} h"
        for wait in waits
    )

    assert spelt in text("docs/states.md")
