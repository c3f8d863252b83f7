"""`run --once`, as a scheduler starts it."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from commanding import NOTIFIER, Kalshi, Running, done, kalshi


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kalshi]:
    with kalshi(milestones=3, cwd=tmp_path_factory.mktemp("api")) as running:
        yield running


def environ(api: Kalshi, **more: str) -> dict[str, str]:
    return {
        "NOTIFIER_SOURCE__BASE_URL": api.base_url,
        "NOTIFIER_SOURCE__ANNOUNCE_EXISTING": "true",
        **more,
    }


def test_without_a_configuration_everything_goes_to_the_terminal(
    api: Kalshi, tmp_path: Path
) -> None:
    ended = done("run", "--once", cwd=tmp_path, **environ(api))

    assert ended.status == 0
    assert ended.out.count("New: ") == 3
    assert not [line for line in ended.out.splitlines() if line.startswith("{")]
    logged = [json.loads(line) for line in ended.err.splitlines()]
    (missing,) = [line for line in logged if line["event"] == "config.missing"]
    assert f"{tmp_path}/notifier.yaml" in missing["looked_for"]
    assert missing["database"] == f"{tmp_path}/notifier.db"


def test_a_person_at_a_terminal_sees_how_the_baseline_goes(api: Kalshi, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    running = Running(
        [*NOTIFIER, "run", "--once"],
        cwd=tmp_path,
        environ={"TERM": "xterm", "NOTIFIER_SOURCE__BASE_URL": api.base_url},
        stderr=theirs,
    )
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):  # what Linux says at the end of a terminal
        while some := os.read(ours, 4096):
            seen += some
    os.close(ours)

    said = seen.decode().replace("\r\n", "\n")
    assert running.end().status == 0
    assert "No configuration found; looked for\n" in said
    assert f"  {tmp_path}/notifier.yaml\n" in said
    assert "Baseline complete: 3 milestones, " in said


def test_a_message_that_was_not_delivered_is_a_failure(api: Kalshi, tmp_path: Path) -> None:
    deaf = '{deaf: {url: "webhook://127.0.0.1:9/"}}'

    ended = done(
        "run",
        "--once",
        "--log-level",
        "error",
        cwd=tmp_path,
        **environ(api, NOTIFIER__DESTINATIONS=deaf),
    )

    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert '"level": "info"' not in ended.err


def test_an_api_that_does_not_answer_is_a_failure(tmp_path: Path) -> None:
    nobody = Kalshi("http://127.0.0.1:9/trade-api/v2")

    ended = done("run", "--once", cwd=tmp_path, **environ(nobody))

    assert ended.status == 1
    assert "read.failed" in ended.err
    assert ended.out == ""
