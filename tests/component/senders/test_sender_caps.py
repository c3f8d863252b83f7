"""No answer, however long, costs more than a little memory and the attempt's time."""

import gzip
import socket
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import pytest
from sending import send_once
from servers.http_sink import Answer, http_sink

from notifier.domain.models import Failed, Outcome, Sent

pytestmark = pytest.mark.anyio

HUGE = 64 << 20
LITTLE = 8 << 20


@contextmanager
def babbler(opening: bytes, endless: bytes) -> Iterator[str]:
    """A server that begins well and never ends."""
    block = endless * (65_536 // len(endless))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def talk() -> None:
            with suppress(OSError):
                while True:
                    link, _ = listener.accept()
                    with link, suppress(OSError):
                        link.sendall(opening)
                        while True:
                            link.sendall(block)

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


async def measured(url: str, *, limit_s: float = 5) -> tuple[Outcome, int]:
    """What became of a message, and the most memory that it took."""
    await send_once(url, attempt_limit=timedelta(seconds=limit_s))
    tracemalloc.start()
    try:
        outcome = await send_once(url, attempt_limit=timedelta(seconds=limit_s))
        return outcome, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scheme", ["json", "webhook"])
@pytest.mark.parametrize("status", [200, 500])
async def test_a_body_that_inflates_a_thousandfold_is_not_inflated(
    scheme: str, status: int
) -> None:
    bomb = gzip.compress(bytes(HUGE))
    with http_sink() as far_end:
        headers = {"content-encoding": "gzip"}
        far_end.answer("/in", Answer(status=status, body=bomb, headers=headers))

        outcome, most = await measured(f"{scheme}://{far_end.netloc}/in")

    assert isinstance(outcome, Sent if status == 200 else Failed)
    assert most < LITTLE


@pytest.mark.parametrize("scheme", ["json", "webhook"])
@pytest.mark.parametrize(
    "opening",
    [
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-long: ",
        b"HTTP/1.1 200 OK\r\n",
    ],
    ids=["body", "broken chunks", "one header", "headers"],
)
async def test_an_answer_without_an_end_is_cut(scheme: str, opening: bytes) -> None:
    endless = b"x: y\r\n" if opening.endswith(b"OK\r\n") else b"xxxx"
    with babbler(opening, endless) as far_end:
        _, most = await measured(f"{scheme}://{far_end}/in")

    assert most < LITTLE


@pytest.mark.parametrize(
    ("opening", "endless"),
    [(b"", b"220-hello\r\n"), (b"220 hello\r\n", b"250-SIZE\r\n"), (b"", b"xxxx")],
    ids=["greeting", "extensions", "one line"],
)
async def test_a_mail_servers_reply_without_an_end_is_cut(opening: bytes, endless: bytes) -> None:
    with babbler(opening, endless) as far_end:
        url = f"mailto://{far_end}?from=us@example.com&to=ann@example.com"
        outcome = await send_once(url, attempt_limit=timedelta(seconds=20))

    assert not isinstance(outcome, Sent)
    assert "timed out" not in outcome.reason
