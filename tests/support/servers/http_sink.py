"""
A real HTTP(S) server on loopback that does what a script says.

Each path has its own sequence of steps, one for each request; the last one repeats. A
path without a script answers 200 "ok".
"""

import json
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from itertools import takewhile
from typing import BinaryIO, TypeAlias

from servers.authority import Authority


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request, as it was received."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    #: The number of its connection, counted from 1.
    connection: int
    #: The step of the script that answered it.
    met: "Step"
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def json(self) -> object:
        """The body's JSON."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Answer:
    """Answer, and keep the connection unless `close` is set."""

    status: int = 200
    body: bytes = b"ok"
    headers: Mapping[str, str] = field(default_factory=dict)
    close: bool = False


@dataclass(frozen=True)
class Hang:
    """Read the request and never answer, until the sink closes."""


@dataclass(frozen=True)
class Drip:
    """Answer a status, then one byte of the body every `every_s` seconds."""

    status: int = 200
    length: int = 10_000
    every_s: float = 0.05


@dataclass(frozen=True)
class CutShort:
    """Announce a longer body than is sent, then reset."""

    status: int = 200
    body: bytes = b"o"
    announced: int = 1_000


@dataclass(frozen=True)
class Reset:
    """Reset the connection: before the request is read, or after it was."""

    after_reading: bool = True


@dataclass(frozen=True)
class Garbage:
    """Send bytes that are not HTTP."""

    sent: bytes = b"\x16\x03\x01 this is no HTTP\r\n\r\n"


Step: TypeAlias = Answer | Hang | Drip | CutShort | Reset | Garbage


class HttpSink:
    """The running server. Its attributes may be read from any thread."""

    def __init__(self, *, tls: Authority | None) -> None:
        self.requests: list[Received] = []
        self.connections = 0
        #: Called, in a thread of its own, before a request is answered.
        self.before_answer: Callable[[Received], None] = lambda _: None
        #: Called, in a thread of its own, as soon as a request has been answered.
        self.after_answer: Callable[[Received], None] = lambda _: None
        self._scheme = "https" if tls else "http"
        self._tls = tls.server if tls else None
        self._scripts: dict[str, list[Step]] = {}
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def netloc(self) -> str:
        """`127.0.0.1:port`, for URLs with a scheme of their own."""
        return f"127.0.0.1:{self.port}"

    def url(self, path: str = "/") -> str:
        """An http:// or https:// URL of this server."""
        return f"{self._scheme}://{self.netloc}{path}"

    def answer(self, path: str, *steps: Step) -> None:
        """Answer requests to `path` by these steps from now on; the last one repeats."""
        with self._changed:
            self._scripts[path] = list(steps)

    def at(self, path: str) -> Sequence[Received]:
        """The requests to a path."""
        with self._changed:
            return [one for one in self.requests if one.path == path]

    def wait_for(self, count: int, *, timeout_s: float = 5.0) -> Sequence[Received]:
        """Block until `count` requests were received; return all of them."""
        with self._changed:
            received = self._changed.wait_for(lambda: len(self.requests) >= count, timeout_s)
            assert received, f"{len(self.requests)} of {count} requests were received"
            return list(self.requests)

    def drop_connections(self) -> None:
        """Close every open connection, as an impatient server does."""
        with self._changed:
            connections = list(self._open)
        for connection in connections:
            _shut(connection)

    def start(self) -> None:
        """Begin to listen."""
        self._spawn(self._accept)

    def stop(self) -> None:
        """End every connection and thread."""
        self._closing.set()
        _shut(self._listener)
        self.drop_connections()
        self._listener.close()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type] # one of ours below
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._spawn(self._serve, raw, self.connections)

    def _serve(self, raw: socket.socket, number: int) -> None:
        connection = raw
        self._hold(raw)
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(
                    raw, server_side=True, do_handshake_on_connect=False
                )
                self._hold(connection, instead_of=raw)
                connection.do_handshake()
            self._talk(connection, number)
        except (OSError, ValueError):
            pass
        finally:
            with self._changed:
                self._open.discard(connection)
            with suppress(OSError):
                connection.close()

    def _hold(self, connection: socket.socket, *, instead_of: socket.socket | None = None) -> None:
        with self._changed:
            self._open.add(connection)
            if instead_of is not None:
                self._open.discard(instead_of)
        if self._closing.is_set():
            _shut(connection)

    def _talk(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb") as stream:
            while True:
                head = stream.readline()
                if not head:
                    return None
                method, target, _ = head.decode("latin-1").split(" ", 2)
                path, _, query = target.partition("?")
                step = self._next(path)
                if step == Reset(after_reading=False):
                    return _reset(connection)
                headers = _headers(stream)
                length = int(headers.get("content-length", "0"))
                body = stream.read(length)
                if len(body) < length:
                    return None  # the client is gone
                received = Received(
                    method=method,
                    path=path,
                    query=query,
                    headers=headers,
                    body=body,
                    connection=number,
                    met=step,
                )
                with self._changed:
                    self.requests.append(received)
                    self._changed.notify_all()
                self.before_answer(received)
                is_kept = self._play(step, connection)
                self.after_answer(received)
                if not is_kept:
                    return None

    def _next(self, path: str) -> Step:
        with self._changed:
            script = self._scripts.get(path, [Answer()])
            return script.pop(0) if len(script) > 1 else script[0]

    def _play(self, step: Step, connection: socket.socket) -> bool:
        """Do what the step says; whether the connection is kept."""
        match step:
            case Answer(status=status, body=body, headers=headers, close=close):
                more = {"Connection": "close"} if close else {}
                connection.sendall(_head(status, len(body), {**headers, **more}) + body)
                return not close
            case Hang():
                self._closing.wait()
            case Drip(status=status, length=length, every_s=every_s):
                connection.sendall(_head(status, length, {}))
                for _ in range(length):
                    if self._closing.wait(every_s):
                        break
                    connection.sendall(b".")
            case CutShort(status=status, body=body, announced=announced):
                connection.sendall(_head(status, announced, {}) + body)
                _reset(connection)
            case Reset():
                _reset(connection)
            case Garbage(sent=sent):
                connection.sendall(sent)
        return False


@contextmanager
def http_sink(*, tls: Authority | None = None) -> Iterator[HttpSink]:
    """A running server; with an authority it speaks HTTPS."""
    sink = HttpSink(tls=tls)
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()


def closed_port() -> int:
    """A port on loopback that refuses connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that never completes a connection: its backlog is full."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            with suppress(BlockingIOError):
                one.connect(address)
        try:
            yield int(address[1])
        finally:
            for one in waiting:
                one.close()


def _headers(stream: BinaryIO) -> Mapping[str, str]:
    lines = iter(stream.readline, b"\r\n")
    pairs = (line.decode("latin-1").partition(":") for line in takewhile(len, lines))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _head(status: int, length: int, headers: Mapping[str, str]) -> bytes:
    phrase = HTTPStatus(status).phrase
    lines = [f"HTTP/1.1 {status} {phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if status not in (204, 304):
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _reset(connection: socket.socket) -> None:
    """Close with RST: the other end sees a reset, not an end of the stream."""
    linger = struct.pack("ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    if isinstance(connection, ssl.SSLSocket):
        # The TLS layer would send close_notify first.
        socket.close(connection.detach())
    else:
        connection.close()


def _shut(connection: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
