"""Health, readiness, the Unix socket, and what a service without the web does not load."""

import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import reading
from storing import NOW, opened, row, stocked
from webapp import webapp

from notifier import app
from notifier.errors import StoreBroken
from notifier.settings.models import Settings, WebSettings
from notifier.storage import milestones
from notifier.storage.database import Priority
from notifier.web.listen import Address, ListenSocket
from notifier.workers.readiness import HealthReport, Readiness

pytestmark = pytest.mark.anyio


async def test_health_and_readiness_are_reported_with_their_reasons(tmp_path: Path) -> None:
    async with webapp(tmp_path / "notifier.db") as web, web.client() as client:
        web.health = HealthReport(unready=["it is stopping"], skew_s=0.5)
        healthy, unready = await client.get("/-/healthy"), await client.get("/-/ready")
        web.health = HealthReport(stalled=["deliver"])
        stuck, ready = await client.get("/-/healthy"), await client.get("/-/ready")

    assert (healthy.status_code, healthy.json()) == (200, {"ok": True, "stuck": []})
    assert (stuck.status_code, stuck.json()) == (503, {"ok": False, "stuck": ["deliver"]})
    assert unready.status_code == 503
    assert unready.json() == {"ready": False, "because": ["it is stopping"], "clock_off_s": 0.5}
    assert (ready.status_code, ready.json()["ready"]) == (200, True)


async def test_a_service_is_ready_after_its_first_read_with_a_correct_clock(
    tmp_path: Path,
) -> None:
    stuck: list[str] = []
    skew: timedelta | None = None
    async with opened(tmp_path / "notifier.db") as db:
        await db.write(Priority.MAINTENANCE, milestones.set_watches, ["everything"])
        check = Readiness(db=db, skew=lambda: skew, stalled=lambda: stuck)
        before = await check()
        await (await stocked(db)).show(row("m1"), now=NOW)
        after = await check()
        skew = timedelta(seconds=-61)
        stuck.append("poll")
        check.is_stopping = True
        worse = await check()

    assert before.unready == ["the first read of everything is not complete"]
    assert after == HealthReport(stalled=[], unready=[], skew_s=None)
    assert (worse.stalled, worse.skew_s) == (["poll"], -61)
    assert worse.unready == [
        "the poll loop is stuck",
        "it is stopping",
        "this machine's clock is 61 s off",
    ]


async def test_an_unreadable_store_makes_the_service_unready_but_not_unhealthy() -> None:
    class Broken:
        async def read(self, _query: object) -> list[object]:
            raise StoreBroken("the disk is gone")

    broken: Any = Broken()
    check = Readiness(db=broken, skew=lambda: timedelta(seconds=60), stalled=list)

    assert await check() == HealthReport(
        stalled=[], unready=["the store cannot be read"], skew_s=60
    )


def test_a_service_without_the_web_does_not_load_its_libraries() -> None:
    check = (
        "import sys, notifier.app;"
        "sys.exit(str({'starlette', 'uvicorn', 'argon2'} & set(sys.modules) or ''))"
    )

    done = subprocess.run([sys.executable, "-c", check], check=False, stderr=subprocess.PIPE)

    assert done.stderr == b"\n"


async def test_the_unix_socket_of_the_owner_needs_no_password(tmp_path: Path) -> None:
    path, listen = tmp_path / "web.sock", ListenSocket()
    listen.move(Address(host="127.0.0.1", port=0))
    config = reading._config(tmp_path / "notifier.db", {}).model_copy(
        update={"web": WebSettings(password="hunter2")}
    )
    silence = {"match": {"title": ["x"]}, "until": "2100-01-01T00:00:00Z", "why": "a test"}

    async def open_sender(_config: Settings) -> reading.StubSender:
        return reading.StubSender()

    assert listen.address is not None
    async with (
        app.build_services(config, app.Dependencies(sender=open_sender)) as services,
        anyio.create_task_group() as tasks,
        httpx.AsyncClient(base_url=listen.address.url) as browser,
        httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(uds=str(path)), base_url="http://localhost"
        ) as owner,
    ):
        tasks.start_soon(replace(services.build_web(), unix_socket=path).run, listen)
        refused = await browser.post("/api/v1/silences", json=silence)
        added = await owner.post("/api/v1/silences", json=silence)
        [entry] = (await owner.get("/api/v1/audit")).json()["rows"]
        tasks.cancel_scope.cancel()
    listen.close()

    assert (refused.status_code, added.status_code) == (401, 201)
    assert (entry["who"], entry["action"]) == ("command", "silence")
