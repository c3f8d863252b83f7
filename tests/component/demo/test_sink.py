import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from standardwebhooks.webhooks import Webhook

from notifier.clock import SystemClock
from notifier.demo.loopback import HOST, Response, serving
from notifier.demo.sink import PATH, Arrival, Sink, describe, url

pytestmark = pytest.mark.anyio

SECRET = "whsec_c29tZSBzZWNyZXQgb2Ygc29tZSBsZW5ndGg="


def event(name: str) -> Mapping[str, object]:
    return {
        "id": name,
        "type": "kalshi.milestone.started",
        "data": {"title": f"{name}\x1b[31m at Pittsburgh"},
    }


def signed(body: bytes, *, secret: str = SECRET) -> dict[str, str]:
    now = datetime.now(UTC)
    signature = Webhook(secret).sign("msg_1", now, body.decode())
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": signature,
    }


async def send(sink: Sink, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
    async with serving(sink.answer) as port, httpx.AsyncClient(trust_env=False) as http:
        address = f"http://{HOST}:{port}{PATH}"
        return await http.post(address, content=body, headers=dict(headers))


async def test_what_arrives_is_remembered_in_order() -> None:
    sink = Sink(clock=SystemClock())

    await send(sink, json.dumps(event("evt_1")).encode(), {"webhook-id": "msg_1"})
    batch = json.dumps([event("evt_2"), event("evt_3")]).encode()
    await send(sink, batch, {"webhook-id": "msg_2"})

    assert [a.message_id for a in sink.arrivals] == ["msg_1", "msg_2"]
    assert [a.event_ids for a in sink.arrivals] == [("evt_1",), ("evt_2", "evt_3")]
    assert {a.genuine for a in sink.arrivals} == {None}
    await sink.wait_for(2)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[[1]]", b"{", b"[" * 5000, b"5"])
async def test_a_body_that_tells_no_event_is_an_arrival_all_the_same(
    body: bytes,
) -> None:
    sink = Sink(clock=SystemClock(), secret=SECRET)

    answer = await send(sink, body, {"webhook-id": "msg_1"})

    [arrival] = sink.arrivals
    assert (arrival.events, arrival.genuine) == ((), False)
    assert answer.status_code == 401


async def test_only_what_is_signed_with_the_secret_is_genuine() -> None:
    body = json.dumps(event("evt_1")).encode()
    sink = Sink(clock=SystemClock(), secret=SECRET)

    good = await send(sink, body, signed(body))
    changed = await send(sink, body + b" ", signed(body))
    foreign = await send(sink, body, signed(body, secret="whsec_b3RoZXI="))
    odd = await send(sink, body, signed(body) | {"webhook-signature": "no comma"})

    answers = [a.status_code for a in (good, changed, foreign, odd)]
    assert answers == [204, 401, 401, 401]
    assert [a.genuine for a in sink.arrivals] == [True, False, False, False]


async def test_a_log_holds_each_arrival_before_it_is_answered(tmp_path: Path) -> None:
    log = tmp_path / "arrivals.jsonl"
    lines_at_answer: list[int] = []

    def respond(_: Arrival) -> Response:
        lines_at_answer.append(len(log.read_text().splitlines()))
        return Response(status=503)

    with Sink(clock=SystemClock(), log=log, respond=respond) as sink:
        body = json.dumps(event("evt_1")).encode()
        answer = await send(sink, body, {"webhook-id": "msg_1"})
        await send(sink, body, {"webhook-id": "msg_1"})

    assert answer.status_code == 503
    assert lines_at_answer == [1, 2]
    line = json.loads(log.read_text().splitlines()[0])
    assert (line["message_id"], line["events"][0]["id"]) == ("msg_1", "evt_1")


async def test_an_arrival_is_told_to_a_person_in_one_harmless_line() -> None:
    told: list[str] = []
    sink = Sink(clock=SystemClock(), seen=lambda a: told.append(describe(a)))

    await send(sink, json.dumps(event("evt_1")).encode(), {"webhook-id": "msg_1"})
    await send(sink, b"", {})

    assert "started: evt_1" in told[0]
    assert "unsigned, msg_1" in told[0]
    assert "no event" in told[1]
    assert all(line.isprintable() for line in told)


async def test_a_sink_takes_posts_only() -> None:
    sink = Sink(clock=SystemClock())
    async with serving(sink.answer) as port, httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(f"http://{HOST}:{port}{PATH}")

    assert answer.status_code == 405


def test_a_sink_names_the_destination_that_sends_to_it() -> None:
    assert url(8, secret="whsec_x") == "webhook://127.0.0.1:8/hook?secret=whsec_x"
    assert url(8) == "webhook://127.0.0.1:8/hook"


@pytest.mark.slow
def test_the_sink_runs_as_a_process_of_its_own(tmp_path: Path) -> None:
    log = tmp_path / "arrivals.jsonl"
    command = [sys.executable, "-m", "notifier.demo.sink", "--log", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        port = json.loads(process.stdout.readline())["port"]
        answer = httpx.post(f"http://{HOST}:{port}{PATH}", json=event("evt_1"))
        process.terminate()

    assert answer.status_code == 204
    assert json.loads(log.read_text())["events"][0]["id"] == "evt_1"
