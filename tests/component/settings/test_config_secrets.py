from pathlib import Path

import pytest
from configured import configure, refused


def test_a_secret_file_loses_one_final_newline(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(b"mailtos://x\n")
    (tmp_path / "dos").write_bytes(b"a://${NOT}\r\n")

    config = configure(
        tmp_path,
        "destinations: {desk: {url_file: mail}, dos: {url_file: '${DIR}/dos'}}",
        DIR=str(tmp_path),
    )

    assert [d.url for d in config.destinations] == ["mailtos://x", "a://${NOT}"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a://x\n\n", "destinations.a.url: holds a line break"),
        (b"", "destinations.a.url: is not an Apprise URL"),
        (b"\xff", 'destinations.a.url_file: "it" cannot be read: it is not UTF-8 text'),
        (b"x" * 70_000, 'destinations.a.url_file: "it" cannot be read: it is larger'),
    ],
)
def test_a_secret_file_that_holds_no_url_is_refused(
    tmp_path: Path, content: bytes, problem: str
) -> None:
    (tmp_path / "it").write_bytes(content)

    (told,) = refused(tmp_path, "timezone: UTC\ndestinations: {a: {url_file: it}}")

    assert told.startswith(f"2: {problem}")


def test_a_secret_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    text = "destinations: {a: {url_file: nope}, b: {url_file: folder}}"

    assert refused(tmp_path, text) == [
        '1: destinations.a.url_file: "nope" cannot be read: No such file or directory',
        '1: destinations.b.url_file: "folder" cannot be read: Is a directory',
    ]


def test_a_secret_is_given_once(tmp_path: Path) -> None:
    assert refused(tmp_path, "destinations: {a: {url: 'a://x', url_file: b}}") == [
        "1: destinations.a.url_file: url is set as well; keep one of the two"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "source: {poll_every: '${S}'}",
        "source: {rate: '${S}', updates: '${S}', announce_existing: '${S}'}",
        "source: {base_url: hunter2}\nheartbeat_url: hunter2\nstore: hunter2",
        "source: {base_url: 'https://x:hunter2@y'}",
        "source: {watch: '${S}', ignore_tickers: ['~(${S}']}",
        "timezone: '${S}'",
        "log: {level: '${S}'}",
        "egress: '${S}'",
        "destinations: {a: {url: hunter2}, b: hunter2://x, c: {url: [hunter2]}}",
        'destinations: {a: {url: "x://hunter2\\n"}, b: {url_file: it}}',
        "destinations: {a: {url_file: '${S}'}, b: {url: 'hunter2 ${NOT_SET}'}}",
        "destinations: {a: {url: *hunter2, zone: !hunter2 x}}",
        "destinations: {a: {url: {hunter2}}}",
        "destinations: {a: {url: @hunter2}}",
        "destinations: {'json://hunter2': x}",
        "destinations: {a: {url: 'x://hunter2', rate: '${S}', concurrency: '${S}'}}",
        "routes: [{name: '${S}', to: ['${S}'], match: {title: '~(${S}'}}]",
        "routes: [{name: '${S}'}, {name: '${S}'}]",
        ("web: {password: hunter2, listen: '${S}'}\nsource: {api_key: {private_key: hunter2}}"),
        "store: 'postgresql://u:hunter2@x/y'",
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "it").write_text("hunter2")

    for problem in refused(tmp_path, text, S="hunter2", hunter3="x"):
        assert "hunter2" not in problem


@pytest.mark.parametrize(
    "text",
    [
        "source: {poll_every: '${S}'}",
        "source: {rate: '${S}'}",
        "destinations: {a: {url: 'a://x', rate: '${S}'}}",
        "routes: [{name: a, reminders: ['${S}']}]",
    ],
)
def test_no_suggestion_is_made_of_a_secret(tmp_path: Path, text: str) -> None:
    (problem, *_) = refused(tmp_path, text, S="4711")

    assert "4711" not in problem


def test_a_configuration_does_not_print_its_urls(tmp_path: Path) -> None:
    config = configure(tmp_path, "destinations: {a: {url: 'slack://hunter2'}}")

    assert "hunter2" not in repr(config)
