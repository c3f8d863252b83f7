"""What is said of the packages that the service is made of."""

import json
import os
import runpy
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CI = Path(__file__).parents[3] / ".ci"
judge: Callable[[str], tuple[str, int]] = runpy.run_path(str(CI / "judge.py"))["judge"]

SOUND = {"name": "sound", "version": "1", "vulns": []}
WEAK = {"name": "weak", "version": "1", "vulns": [{"id": "X-1"}, {"id": "X-2"}]}
UNKNOWN = {"name": "unknown", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "words", "status"),
    [
        ([SOUND, SOUND], "2 packages, no known weakness", 0),
        ([SOUND, WEAK], "weak: X-1\nweak: X-2", 1),
        ([SOUND, UNKNOWN], "unknown: not known to the database", 1),
        (
            [UNKNOWN, UNKNOWN],
            "skipped: the database of weaknesses knows none of the packages here",
            0,
        ),
    ],
)
def test_no_news_of_a_package_is_no_good_news(
    packages: list[object], words: str, status: int
) -> None:
    assert judge(json.dumps({"dependencies": packages})) == (words, status)


def test_an_audit_that_cannot_be_made_says_so() -> None:
    assert judge("\n") == ("skipped: the database of weaknesses cannot be reached", 0)


def test_an_audit_without_its_tools_says_why_there_are_none(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho there is no venv >&2\nexit 1\n")
    python.chmod(0o700)

    ended = subprocess.run(
        [CI / "supply", "audit"],
        env=os.environ | {"PYTHON": str(python)},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )

    assert ended.stdout == ("skipped: the tools cannot be installed here: there is no venv\n")
