"""The service as a process: whoever watches it learns how it is."""

import socket
from pathlib import Path

import pytest
from servers.http_sink import http_sink

from e2e.village import Service, api, sink, until

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]  # whole processes


async def test_systemd_and_the_heartbeat_see_the_service_from_its_start_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    address = f"notifier-watched-{tmp_path.name}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link, http_sink() as far:
        link.bind(f"\0{address}")
        link.setblocking(False)

        def heard(text: str) -> bool:
            try:
                while True:
                    said.append(link.recv(4096).decode())
            except BlockingIOError:
                return any(line.startswith(text) for line in said)

        monkeypatch.setenv("NOTIFY_SOCKET", f"@{address}")
        monkeypatch.setenv("WATCHDOG_USEC", "200000")
        async with api(tmp_path, milestones=5) as kalshi, sink(tmp_path) as hook:
            service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
            with (tmp_path / "notifier.yaml").open("a") as file:
                file.write(f"heartbeat_url: {far.url('/hunter2')}\n")

            async with service.life() as life:
                await until(lambda: heard("READY=1"))
                await until(lambda: heard("WATCHDOG=1"))
                await until(lambda: bool(far.at("/hunter2")))
                assert not heard("STOPPING=1")

                assert await life.stop() == 0

            assert heard("STOPPING=1")
            assert [request.method for request in far.at("/hunter2")] == ["GET"]
            assert "hunter2" not in life.said
            assert "heartbeat.failed" not in life.said
