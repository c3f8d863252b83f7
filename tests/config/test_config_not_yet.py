from pathlib import Path

import pytest
from configured import configure, refused

ONE = "destinations: {a: {url: 'a://x', %s}}"
RULE = "routes: [{name: r, %s}]"


@pytest.mark.parametrize(
    ("text", "key"),
    [
        (
            ONE % "quiet: {windows: ['22:00-07:00'], pass: [started]}",
            "destinations.a.quiet",
        ),
        (ONE % "on_ambiguous: drop", "destinations.a.on_ambiguous"),
        (ONE % "digest: {window: 30s}", "destinations.a.digest.window"),
        (ONE % "digest: {at: 08:00}", "destinations.a.digest.at"),
        (ONE % "digest: {every: day}", "destinations.a.digest.every"),
        (RULE % "digest: {window: 30s}", "routes[0].digest.window"),
        (
            RULE % "quiet: {windows: 'Mon-Fri 22:00-07:00', then: drop}",
            "routes[0].quiet",
        ),
        ("operator: {to: terminal}", "operator.to"),
        ("egress: public", "egress"),
        ("web: {listen: '127.0.0.1:80'}", "web"),
        ("web: {listen: '127.0.0.1:80', external_url: https://x}", "web"),
    ],
)
def test_a_key_whose_feature_is_not_built_yet_is_refused(
    tmp_path: Path, text: str, key: str
) -> None:
    assert refused(tmp_path, text) == [f"1: {key}: not available yet"]


@pytest.mark.parametrize(
    "text",
    [
        ONE % "on_ambiguous: retry, digest: {over: 1}",
        *("egress: any", "web: off", "web: 'off'", "operator: {to: []}"),
    ],
)
def test_what_the_program_does_anyway_may_be_said(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            ONE % "rate: 10",
            (
                '1: destinations.a.rate: "10" is not a rate (2/s, 10/m); '
                "did you mean 10/s?"
            ),
        ),
        (
            ONE % "quiet: {windows: [22-7]}",
            (
                "1: destinations.a.quiet.windows[0]: "
                '"22-7" is not a time of day such as 08:00'
            ),
        ),
        (ONE % "quiet: {}", "1: destinations.a.quiet.windows: is missing"),
        (
            RULE % "digest: {at: 8}",
            ('1: routes[0].digest.at: "8" is not a time of day such as 08:00'),
        ),
        (
            "egress: pubic",
            ('1: egress: "pubic" is none of any, public; did you mean public?'),
        ),
        (
            "web: {listen: '0.0.0.0:80'}",
            ("1: web.listen: others can reach it there; set password_file"),
        ),
        ("web: on", "1: web: must be a mapping of keys to values"),
    ],
)
def test_a_key_to_come_is_checked_all_the_same(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert refused(tmp_path, text) == [problem]
