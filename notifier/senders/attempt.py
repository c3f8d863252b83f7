"""
What was seen on the wire during one attempt.

The seams write it down in the thread that sends; the lane reads it afterwards,
and cuts the attempt when its time is up.
"""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TypeAlias

from notifier.senders.egress_guard import Forbidden


class Phase(Enum):
    """How far the request in flight got."""

    IDLE = "idle"
    CONNECTING = "connecting"
    SENDING = "sending"
    #: Every byte of it is written: from here on it may have arrived.
    WAITING = "waiting"


class Break(StrEnum):
    """How a request ended without an answer, in words for people."""

    NAME = "name not found"
    REFUSED = "connection refused"
    UNREACHABLE = "cannot connect"
    CONNECT_TIMEOUT = "timed out while connecting"
    TLS = "TLS handshake failed"
    CERTIFICATE = "certificate not trusted"
    FORBIDDEN = "egress forbids its address"
    NO_STARTTLS = "the server offers no STARTTLS"
    NO_LOGIN = "the server offers no login"
    SENDING = "connection lost while sending"
    SENDING_TIMEOUT = "timed out while sending"
    SILENT = "timed out after the request was sent"
    DROPPED = "connection lost after the request was sent"
    CUT = "the answer was cut short"
    #: The attempt's time was up while no request was in flight.
    LIMIT = "timed out before all of it was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """An HTTP response, its body no longer than what reasons are read from."""

    status: int
    retry_after: str | None = None
    body: bytes = b""


class Stage(Enum):
    """Which step of an SMTP session a reply belongs to."""

    CONNECT = "connect"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """An SMTP server's reply."""

    stage: Stage
    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Broken:
    """No answer came."""

    why: Break


Seen: TypeAlias = Answer | Reply | Broken

TOO_MANY_REQUESTS = 429
#: As much of an answer's body as anyone will look at.
BODY_KEPT = 2048


class AttemptOver(OSError):
    """The attempt was cut, or told to wait: nothing more may be sent by it."""


class Recorder:
    """
    One attempt: what was seen so far, and the socket to cut it by.

    Written by the thread that sends; `abort` comes from another.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.phase = Phase.IDLE
        #: Its time was up before it ended by itself.
        self.cut = False
        self._told_to_wait = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def enter(self, phase: Phase, held: socket.socket | None = None) -> None:
        """
        Say what happens next, and on which socket.

        Raises:
            AttemptOver: the attempt was cut, or the service asked us to wait.

        """
        with self._lock:
            self.phase = phase
            self._socket = held
            if self.cut or self._told_to_wait:
                raise AttemptOver("the attempt is over")

    def saw(self, seen: Seen) -> None:
        """Note how a request ended; an answer to wait ends the attempt too."""
        with self._lock:
            self.seen.append(seen)
            self.phase = Phase.IDLE
            self._socket = None
            if isinstance(seen, Answer):
                self._told_to_wait |= seen.status == TOO_MANY_REQUESTS

    def broke(self, exc: BaseException) -> None:
        """Note that the request in flight, if one is, ended by this exception."""
        if self.phase is not Phase.IDLE:
            self.saw(broke(exc, self.phase, timed_out=self.cut or None))

    def abort(self) -> None:
        """End the attempt now: whoever waits on its socket wakes up."""
        with self._lock:
            self.cut = True
            held, self._socket = self._socket, None
        if held is not None:
            with suppress(OSError):
                # SSLSocket's own shutdown would pull the TLS state from under
                # the thread that reads.
                socket.socket.shutdown(held, socket.SHUT_RDWR)


def broke(exc: BaseException, phase: Phase, *, timed_out: bool | None = None) -> Broken:
    """What an exception of requests, httpx or smtplib says about the connection."""
    chain = tuple(_chain(exc))
    if timed_out is None:
        timed_out = any(isinstance(link, TimeoutError) for link in chain)
    match phase:
        case Phase.WAITING:
            return Broken(Break.SILENT if timed_out else Break.DROPPED)
        case Phase.SENDING:
            return Broken(Break.SENDING_TIMEOUT if timed_out else Break.SENDING)
        case Phase.CONNECTING | Phase.IDLE:
            return Broken(_unconnected(chain, timed_out=timed_out))


def _unconnected(chain: tuple[BaseException, ...], *, timed_out: bool) -> Break:
    for kind, why in (
        (Forbidden, Break.FORBIDDEN),
        (socket.gaierror, Break.NAME),
        (ssl.SSLCertVerificationError, Break.CERTIFICATE),
        (ssl.SSLError, Break.TLS),
        (ConnectionRefusedError, Break.REFUSED),
    ):
        if any(isinstance(link, kind) for link in chain):
            return why
    return Break.CONNECT_TIMEOUT if timed_out else Break.UNREACHABLE


def _chain(exc: BaseException) -> Iterator[BaseException]:
    """The exception and all it was made from, however its library links them."""
    todo, met = [exc], set[int]()
    while todo:
        link = todo.pop()
        if id(link) in met:
            continue
        met.add(id(link))
        yield link
        origins = (link.__cause__, getattr(link, "reason", None), *link.args)
        todo += [origin for origin in origins if isinstance(origin, BaseException)]
        if isinstance(link, BaseExceptionGroup):
            todo += link.exceptions
        if link.__cause__ is None and link.__context__ is not None:
            todo.append(link.__context__)


_current: ContextVar[Recorder | None] = ContextVar("recorder", default=None)


def current() -> Recorder | None:
    """The recorder of the attempt that this thread runs, if it runs one."""
    return _current.get()


@contextmanager
def recording(recorder: Recorder) -> Iterator[None]:
    """What happens inside belongs to this attempt."""
    token = _current.set(recorder)
    try:
        yield
    finally:
        _current.reset(token)
