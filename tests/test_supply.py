"""What is said of the packages that the service is made of."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / ".ci" / "judge.py"
judge: Callable[[str], tuple[str, int]] = runpy.run_path(str(SCRIPT))["judge"]

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
