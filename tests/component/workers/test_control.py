"""Commands reach the running service through its socket, and cannot hurt it."""

import json
import socket
import stat
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio
import pytest

from notifier.domain.models import Json
from notifier.errors import NotifierError
from notifier.workers import admin_socket
from notifier.workers.admin_socket import NotRunning, ask, socket_path

T = TypeVar("T")

pytestmark = pytest.mark.anyio


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "notifier.db"


async def _echo(question: Mapping[str, Json]) -> Mapping[str, Json]:
    if question.get("ask") == "trouble":
        raise NotifierError("that cannot be answered")
    return {"asked": question.get("ask")}


@asynccontextmanager
async def _service(database: Path, *, patience_s: float = 10) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: admin_socket.serve(database, _echo, patience_s=patience_s))
        with anyio.fail_after(30):
            while not await _elsewhere(lambda: _is_served(database)):
                pass
        yield
        tasks.cancel_scope.cancel()


def _is_served(database: Path) -> bool:
    try:
        return bool(ask(database, {"ask": "anything"}))
    except NotRunning:
        return False


async def _elsewhere(work: Callable[[], T]) -> T:
    with anyio.fail_after(30):
        return await anyio.to_thread.run_sync(work)


def _say(database: Path, said: bytes, *, hang_up: bool = False) -> bytes:
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(20)
        link.connect(str(socket_path(database)))
        link.sendall(said)
        if hang_up:
            return b""
        return link.makefile("rb").readline()


async def test_a_question_is_answered(database: Path) -> None:
    async with _service(database):
        said = await _elsewhere(lambda: ask(database, {"ask": "health"}))

    assert said == {"asked": "health"}


async def test_only_the_owner_may_ask(database: Path) -> None:
    async with _service(database):
        mode = (await anyio.Path(socket_path(database)).stat()).st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_the_socket_goes_with_the_service_and_what_a_crash_left_is_replaced(
    database: Path,
) -> None:
    await anyio.Path(socket_path(database)).touch()

    async with _service(database):
        said = await _elsewhere(lambda: ask(database, {"ask": "health"}))

    assert said == {"asked": "health"}
    assert not await anyio.Path(socket_path(database)).exists()


async def test_where_no_socket_can_be_made_it_says_which(database: Path) -> None:
    await anyio.Path(socket_path(database)).mkdir()

    with pytest.raises(NotifierError, match=r"notifier\.db\.sock: Is a directory"):
        await admin_socket.serve(database, _echo)


@pytest.mark.parametrize("place", ["notifier.db", "nowhere/notifier.db"])
def test_without_a_service_it_says_so(tmp_path: Path, place: str) -> None:
    with pytest.raises(NotRunning, match=rf"no service is running on .*{place}"):
        ask(tmp_path / place, {"ask": "health"})


def test_a_service_that_does_not_answer_is_not_said_to_be_absent(
    database: Path,
) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(socket_path(database)))
        dead.listen()

        with pytest.raises(NotRunning, match="does not answer"):
            ask(database, {"ask": "health"}, patience_s=0.05)


async def test_a_database_in_a_deep_folder_has_a_socket_too(tmp_path: Path) -> None:
    folder = tmp_path / ("deep" * 30)
    await anyio.Path(folder).mkdir()
    database = folder / "notifier.db"

    async with _service(database):
        said = await _elsewhere(lambda: ask(database, {"ask": "health"}))

    assert said == {"asked": "health"}


@pytest.mark.parametrize(
    "said",
    [
        b"health\n",
        b"[]\n",
        b"null\n",
        b'{"ask": "trouble"}\n',
        b"\xff\xfe\n",
        b"[" * 60_000 + b"\n",
        b"x" * 200_000,
        b"\n",
    ],
    ids=[
        "no JSON",
        "a list",
        "null",
        "an error",
        "no UTF-8",
        "too deep",
        "too long",
        "an empty line",
    ],
)
async def test_a_bad_question_gets_an_error_and_the_next_one_an_answer(
    database: Path, said: bytes
) -> None:
    async with _service(database):
        with anyio.fail_after(30):
            answer = await _elsewhere(lambda: _say(database, said))
            after = await _elsewhere(lambda: ask(database, {"ask": "health"}))

    assert list(json.loads(answer)) == ["error"]
    assert after == {"asked": "health"}


async def test_a_question_may_come_in_pieces(database: Path) -> None:
    def say() -> bytes:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(20)
            link.connect(str(socket_path(database)))
            for piece in (b'{"ask"', b': "he', b'alth"}', b"\n"):
                link.sendall(piece)
            return link.makefile("rb").readline()

    async with _service(database):
        said = await _elsewhere(say)

    assert json.loads(said) == {"asked": "health"}


async def test_who_connects_and_says_nothing_is_hung_up_on_and_hurts_nobody(
    database: Path,
) -> None:
    async with _service(database, patience_s=0.05):
        silence = await _elsewhere(lambda: _say(database, b'{"ask": "hea'))
        after = await _elsewhere(lambda: ask(database, {"ask": "health"}))

    assert silence == b""
    assert after == {"asked": "health"}


async def test_who_hangs_up_before_the_answer_hurts_nobody(database: Path) -> None:
    async with _service(database):
        for said in (b"", b'{"ask": "health"}\n'):
            await _elsewhere(partial(_say, database, said, hang_up=True))
        after = await _elsewhere(lambda: ask(database, {"ask": "health"}))

    assert after == {"asked": "health"}
