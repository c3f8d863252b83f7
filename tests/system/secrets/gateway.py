"""
A proxy that plays every service: whatever host is asked for, over TLS as well.

It answers as it is told, and repeats in its answer all that it was sent, as services
do that quote a request in their error.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from http import HTTPStatus
from typing import BinaryIO

from servers.authority import Authority

#: Instead of a status: hang up as soon as the request is read.
DROP = 0
#: Do not even open the way to the service; read and never answer; answer without end,
#: a little at a time. Each until whoever asked has had enough.
MUTE, STALL, DRIP = -1, -2, -3


class Gateway:
    """The running proxy."""

    def __init__(self) -> None:
        self.status = 200
        self.seen: list[bytes] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ca = Authority("*.example.com")
        self._issued: dict[str, ssl.SSLContext] = {}
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """For `http_proxy` and its like."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    @cached_property
    def trust(self) -> ssl.SSLContext:
        """What trusts it, whoever it plays."""
        return self._ca.client

    def run(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(link,))
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _serve(self, link: socket.socket) -> None:
        with link, suppress(OSError, ValueError):
            link.settimeout(5)
            with link.makefile("rb") as stream:
                head = _head(stream)
                if self.status == MUTE:
                    _wait_for_end(link)
                    return
                if not head.startswith(b"CONNECT "):
                    self._answer(link, head + _body(stream, head))
                    return
            host = head.split()[1].decode().rpartition(":")[0]
            link.sendall(b"HTTP/1.1 200 Go ahead\r\n\r\n")
            tls = self._playing(host).wrap_socket(link, server_side=True)
            with tls, tls.makefile("rb") as stream:
                head = _head(stream)
                self._answer(tls, head + _body(stream, head))

    def _playing(self, host: str) -> ssl.SSLContext:
        if host not in self._issued:
            self._issued[host] = self._ca.playing(host)
        return self._issued[host]

    def _answer(self, link: socket.socket, request: bytes) -> None:
        self.seen.append(request)
        if self.status == DROP:
            return
        if self.status == STALL:
            _wait_for_end(link)
            return
        if self.status == DRIP:
            _drip(link, request)
            return
        reason = HTTPStatus(self.status).phrase.encode()
        link.sendall(
            b"HTTP/1.1 %d %s\r\ncontent-type: text/plain\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n" % (self.status, reason, len(request)) + request
        )


def _wait_for_end(link: socket.socket) -> None:
    while link.recv(4096):
        pass


def _drip(link: socket.socket, request: bytes) -> None:
    """Repeat the request, a byte at a time."""
    link.sendall(b"HTTP/1.1 500 Oh\r\ncontent-type: text/plain\r\n")
    link.sendall(b"content-length: %d\r\n\r\n" % (len(request) + 1))
    gone = threading.Event()
    for at in range(len(request)):
        link.sendall(request[at : at + 1])
        gone.wait(0.01)  # less than any time limit: only the whole takes too long


def _head(stream: BinaryIO) -> bytes:
    lines = b""
    for line in stream:
        lines += line
        if line in (b"\r\n", b"\n"):
            break
    return lines


def _body(stream: BinaryIO, head: bytes) -> bytes:
    for line in head.lower().splitlines():
        if line.startswith(b"content-length:"):
            return stream.read(int(line.partition(b":")[2]))
    return b""


@contextmanager
def gateway() -> Iterator[Gateway]:
    running = Gateway()
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        yield running
    finally:
        running.stop()
        thread.join(10)
