"""How commands end when they cannot go on."""

import anyio
import pytest

from notifier.cli.exit_codes import exit_status
from notifier.errors import (
    ConfigError,
    SourceRefused,
    StoreBroken,
    StoreBusy,
)


def failing(exc: BaseException) -> int:
    def command() -> int:
        raise exc

    return exit_status(command)


def test_a_command_that_returns_a_status_ends_with_it() -> None:
    assert exit_status(lambda: 1) == 1


@pytest.mark.parametrize(
    ("exc", "status"),
    [
        pytest.param(StoreBusy("x.db is in use by process 7"), 75, id="busy"),
        pytest.param(StoreBroken("the disk failed"), 1, id="broken store"),
        pytest.param(SourceRefused("401", status=401), 1, id="any other of ours"),
        pytest.param(OSError(28, "No space left on device"), 1, id="a full disk"),
    ],
)
def test_what_stopped_a_command_is_one_line_on_stderr(
    exc: Exception, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failing(exc) == status

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"notifier: {exc}\n"


def test_problems_of_a_configuration_are_a_line_each_as_editors_like_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert failing(ConfigError(["a.yaml:1: x: wrong", "a.yaml:2: y: wrong"])) == 78

    assert capsys.readouterr().err == "a.yaml:1: x: wrong\na.yaml:2: y: wrong\n"


def test_a_failure_in_a_task_is_told_like_any_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def fail() -> None:
        raise StoreBroken("the disk failed")

    async def serve() -> int:
        async with anyio.create_task_group() as outer, anyio.create_task_group() as one:
            one.start_soon(fail)
            outer.start_soon(fail)
        return 0

    assert exit_status(lambda: anyio.run(serve)) == 1
    assert capsys.readouterr().err == "notifier: the disk failed\n"


def test_ctrl_c_is_not_commented_upon(capsys: pytest.CaptureFixture[str]) -> None:
    assert failing(KeyboardInterrupt()) == 130
    assert failing(BaseExceptionGroup("tasks", [KeyboardInterrupt()])) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_is_not_hidden_behind_a_message() -> None:
    bug = ExceptionGroup("tasks", [StoreBroken("the disk failed"), ValueError("bug")])

    with pytest.raises(ZeroDivisionError):
        failing(ZeroDivisionError())
    with pytest.raises(ExceptionGroup):
        failing(bug)
