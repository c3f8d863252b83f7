"""systemd as it listens: a datagram socket, by path or by abstract name."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from simulated import SimulatedClock, backend

from notifier.systemd import SystemdNotifier
from notifier.workers.watchdog import Watchdog

pytestmark = pytest.mark.anyio

PID = os.getpid()


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return backend()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


class Listener:
    """What was said, since it was last asked."""

    def __init__(self, link: socket.socket, address: str) -> None:
        self._link = link
        self.environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "180000000"}

    def heard(self) -> list[str]:
        found = []
        while True:
            try:
                found.append(self._link.recv(4096).decode())
            except BlockingIOError:
                return found


@pytest.fixture(params=["path", "abstract"])
def listener(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> Iterator[Listener]:
    monkeypatch.chdir(folder)
    path = str(folder / "n") if request.param == "path" else f"@notifier-test-{PID}"
    if len(path) > 107:
        pytest.skip("the kernel takes no path as long as that of this test's folder")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
        link.bind(path.replace("@", "\0", 1))
        link.setblocking(False)
        yield Listener(link, path)


async def test_systemd_hears_when_the_service_runs_and_when_it_ends(
    listener: Listener,
) -> None:
    notifier = SystemdNotifier.from_environment(listener.environ, pid=PID)

    notifier.ready("running")
    notifier.stopping()

    assert listener.heard() == [
        "READY=1\nSTATUS=running",
        "STOPPING=1\nSTATUS=finishing what is under way",
    ]


async def test_the_watchdog_is_fed_twice_as_often_as_it_asks_while_loops_advance(
    listener: Listener,
) -> None:
    clock = SimulatedClock()
    watchdog = Watchdog(clock)
    watchdog.heartbeat("poll")
    async with anyio.create_task_group() as tasks:
        notifier = SystemdNotifier.from_environment(listener.environ, pid=PID)
        tasks.start_soon(notifier.feed_watchdog, watchdog.stalled, clock)
        await anyio.sleep(100)
        assert listener.heard() == ["WATCHDOG=1"] * 2

        await anyio.sleep(100)
        assert listener.heard() == ["STATUS=stuck: poll"]

        watchdog.heartbeat("poll")
        await anyio.sleep(100)
        assert listener.heard() == ["WATCHDOG=1"]
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": ""},
        {"WATCHDOG_PID": "1"},
    ],
)
async def test_a_watchdog_of_another_process_is_not_fed(
    listener: Listener, environ: dict[str, str]
) -> None:
    notifier = SystemdNotifier.from_environment(listener.environ | environ, pid=PID)

    await notifier.feed_watchdog(list, SimulatedClock())

    assert listener.heard() == []


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative"])
async def test_without_a_socket_nothing_is_sent(address: str) -> None:
    environ = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"}

    notifier = SystemdNotifier.from_environment(environ, pid=PID)
    notifier.ready("running")
    await notifier.feed_watchdog(list, SimulatedClock())

    assert notifier == SystemdNotifier()


async def test_a_missing_socket_is_no_error(folder: Path) -> None:
    notifier = SystemdNotifier.from_environment({"NOTIFY_SOCKET": str(folder / "gone")}, pid=PID)

    notifier.ready("running")
    notifier.stopping()
