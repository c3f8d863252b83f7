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
def endless_server(opening: bytes, repeated: bytes) -> Iterator[str]:
    """A server that begins a correct answer and never ends it."""
    block = repeated * (65_536 // len(repeated))
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection, suppress(OSError):
                        connection.sendall(opening)
                        while True:
                            connection.sendall(block)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(10)


async def measured(url: str) -> tuple[Outcome, int]:
    """The outcome of a message, and the most memory that it took."""
    limit = timedelta(seconds=5)
    await send_once(url, attempt_limit=limit)  # what is loaded once does not count
    tracemalloc.start()
    try:
        outcome = await send_once(url, attempt_limit=limit)
        return outcome, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("scheme", ["json", "webhook"])
@pytest.mark.parametrize("status", [200, 500])
async def test_a_compressed_body_is_not_inflated_a_thousandfold(scheme: str, status: int) -> None:
    bomb = gzip.compress(bytes(HUGE))
    with http_sink() as sink:
        headers = {"content-encoding": "gzip"}
        sink.answer("/in", Answer(status=status, body=bomb, headers=headers))

        outcome, memory = await measured(f"{scheme}://{sink.netloc}/in")

    assert isinstance(outcome, Sent if status == 200 else Failed)
    assert memory < LITTLE


@pytest.mark.parametrize("scheme", ["json", "webhook"])
@pytest.mark.parametrize(
    ("opening", "repeated"),
    [
        (b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n", b"xxxx"),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"xxxx"),
        (b"HTTP/1.1 200 OK\r\nx-long: ", b"xxxx"),
        (b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
    ],
    ids=["body", "broken chunks", "one header", "headers"],
)
async def test_an_answer_without_an_end_is_cut(
    scheme: str, opening: bytes, repeated: bytes
) -> None:
    with endless_server(opening, repeated) as address:
        _, memory = await measured(f"{scheme}://{address}/in")

    assert memory < LITTLE


@pytest.mark.parametrize(
    ("opening", "repeated"),
    [(b"", b"220-hello\r\n"), (b"220 hello\r\n", b"250-SIZE\r\n"), (b"", b"xxxx")],
    ids=["greeting", "extensions", "one line"],
)
async def test_a_mail_servers_reply_without_an_end_is_cut(opening: bytes, repeated: bytes) -> None:
    with endless_server(opening, repeated) as address:
        url = f"mailto://{address}?from=us@example.com&to=ann@example.com"
        outcome = await send_once(url, attempt_limit=timedelta(seconds=20))

    assert not isinstance(outcome, Sent)
    assert "timed out" not in outcome.reason
