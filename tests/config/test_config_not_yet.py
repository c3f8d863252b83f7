from pathlib import Path

import pytest
from configured import configure, refused


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("web: {listen: '127.0.0.1:80'}", "web"),
        ("web: {listen: '127.0.0.1:80', external_url: https://x}", "web"),
    ],
)
def test_a_key_whose_feature_is_not_built_yet_is_refused(
    tmp_path: Path, text: str, key: str
) -> None:
    assert refused(tmp_path, text) == [f"1: {key}: not available yet"]


@pytest.mark.parametrize("text", ["web: off", "web: 'off'"])
def test_what_the_program_does_anyway_may_be_said(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "web: {listen: '0.0.0.0:80'}",
            "1: web.listen: others can reach it there; set password_file",
        ),
        ("web: on", "1: web: must be a mapping of keys to values"),
        ("web: []", "1: web: must be a mapping of keys to values"),
    ],
)
def test_a_key_to_come_is_checked_all_the_same(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert refused(tmp_path, text) == [problem]
