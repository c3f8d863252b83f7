"""What may be typed, and what is answered to what may not."""

import subprocess
import sys
from pathlib import Path

import pytest
from commanding import started, typed

from notifier import __version__

COMMANDS = [
    *("run", "check", "init", "schema", "test", "demo", "status", "events"),
    *("deliveries", "explain", "backup", "healthcheck"),
]
HEAVY = {"sqlalchemy", "apprise", "httpx", "pydantic", "rich", "jinja2", "ruamel.yaml"}


def test_the_help_names_every_command(tmp_path: Path) -> None:
    ended = typed("--help", cwd=tmp_path)

    assert ended.status == 0
    for command in COMMANDS:
        assert f"  {command} " in ended.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_configuration_and_a_log_level(command: str, tmp_path: Path) -> None:
    ended = typed(command, "--help", cwd=tmp_path)

    assert ended.status == 0
    assert "--config FILE" in ended.out
    assert "--log-level LEVEL" in ended.out


def test_the_version_is_said(tmp_path: Path) -> None:
    assert typed("--version", cwd=tmp_path).out == f"notifier {__version__}\n"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["statsu"], "Did you mean 'status'?"),
        (["events", "--since", "7"], "did you mean 7s?"),
        (["events", "--since", "yesterday"], "nor an instant such as"),
        (["events", "--since", "2026-11-22T18:00:00"], "2026-11-22T18:00:00Z is UTC"),
        (["deliveries", "--limit", "0"], "'0' is no count of rows"),
        (["run", "--log-level", "loud"], "none of debug, info, warning, error"),
        (["explain"], "EVENT_ID"),
        (["backup"], "FILE"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_mistyped_ends_with_2_and_a_hint(
    args: list[str], said: str, tmp_path: Path
) -> None:
    ended = typed(*args, cwd=tmp_path)

    assert ended.status == 2
    assert said in ended.err
    assert ended.out == ""


def test_options_count_before_the_command_and_more_so_behind_it(
    tmp_path: Path,
) -> None:
    before = typed("--config", "a.yaml", "check", cwd=tmp_path)
    both = typed("--config", "a.yaml", "check", "-c", "b.yaml", cwd=tmp_path)

    assert before.status == both.status == 78
    assert "a.yaml does not exist" in before.err
    assert "b.yaml does not exist" in both.err


def test_help_and_health_checks_load_nothing_heavy() -> None:
    program = """
import sys
from notifier.cli.commands import app
for args in (["--help"], ["healthcheck", "-c", "/dev/null"]):
    try:
        app(args)
    except SystemExit:
        print(*(name for name in sys.modules), file=sys.stderr)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    helped, healthy = (
        set(line.split()) for line in ended.stderr.splitlines() if line.startswith("sys ")
    )
    assert not HEAVY & helped
    assert not (HEAVY - {"ruamel.yaml", "pydantic"}) & healthy


def test_a_reader_that_has_had_enough_is_no_failure(tmp_path: Path) -> None:
    with started("schema", cwd=tmp_path) as running:
        assert running.process.stdout is not None
        running.process.stdout.close()
        running.process.stdout = None
        ended = running.end()

    assert (ended.status, ended.err) == (0, "")
