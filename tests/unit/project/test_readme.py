"""The README says what is so."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from message_samples import NEW_YORK, NOW, changed, event, message, milestone

from notifier import settings
from notifier.cli.commands import app
from notifier.domain.models import Format, Kind, Limits
from notifier.messages.render import render
from notifier.senders.terminal import readable

ROOT = Path(__file__).parents[3]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES += [f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))]


def blocks(language: str) -> list[str]:
    """What stands in the README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands() -> set[str]:
    return {
        one.name or one.callback.__name__
        for one in app.registered_commands
        if one.callback is not None
    } | {str(group.name) for group in app.registered_groups}


def test_the_first_two_commands_are_single_lines_that_install_pinned_versions() -> None:
    demo, tests = (block.strip() for block in blocks("sh")[:2])

    setup = "python3 -m venv .venv && .venv/bin/pip install -c constraints.txt"
    assert demo == f"{setup} . && .venv/bin/notifier demo"
    assert tests == f"{setup} -e '.[dev]' && .venv/bin/pytest"
    assert (ROOT / "constraints.txt").is_file()


def test_ci_runs_the_readmes_test_command_and_then_the_system_tier() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")

    default, system = (
        script.index(f'step "$venv/bin/pytest"{words}')
        for words in ("\n", " -n 4 --hypothesis-profile=ci tests/system\n")
    )

    assert default < system


def test_the_example_configuration_loads(tmp_path: Path) -> None:
    file = tmp_path / settings.NAME
    file.write_text(blocks("yaml")[0], "utf-8")
    (tmp_path / "mail.secret").write_text("mailtos://user:secret@example.com\n")
    environ = {"SLACK_URL": "slack://a/b/c", "WEBHOOK_SECRET": "whsec_c2VjcmV0"}

    loaded = settings.load(file, environ, cwd=tmp_path)

    assert [one.name for one in loaded.destinations] == ["team", "desk", "hook"]
    assert [route.name for route in loaded.routes] == ["football", "rest"]


def test_the_example_message_is_what_the_program_writes() -> None:
    game = milestone(
        title="Brightwater at Stonebridge",
        message="The game is about to begin.",
        start=datetime(2026, 9, 26, 19, 30, tzinfo=UTC),
        tickers=("KXNFLGAME-26SEP26BRISTO",),
        details={"league": "NFL"},
    )
    moved = changed("start_date", "2026-09-26T16:00:00Z", "2026-09-26T19:30:00Z")

    rendered = render(
        message(),
        [event(Kind.UPDATED, game, changes=(moved,))],
        routes={},
        limits=Limits(format=Format.TEXT, title=200, body=2000),
        zone=NEW_YORK,
        now=NOW,
    )

    assert blocks("text")[0].strip() == readable(rendered).strip()


def test_every_command_is_in_the_table_and_every_named_one_is_there() -> None:
    in_table = re.findall(r"^\| `notifier (\w+)` \|", README, re.MULTILINE)
    in_blocks = re.findall(r"\bnotifier (\w+)", "".join(blocks("sh")))

    assert sorted(in_table) == sorted(commands())
    assert set(in_blocks) <= commands()


def test_what_is_said_to_be_missing_is_missing() -> None:
    missing = README.partition("## Not available yet")[2]

    assert not commands() & set(re.findall(r"`(\w+)`", missing))


@pytest.mark.parametrize("page", PAGES)
def test_links_within_the_project_lead_somewhere(page: str) -> None:
    folder = (ROOT / page).parent
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text("utf-8"))

    dead = [one for one in links if "://" not in one and not (folder / one).exists()]

    assert not dead
