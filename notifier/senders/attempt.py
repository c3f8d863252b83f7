"""
The record of one attempt: what was observed on the network, and who has the message.

The connections write it in the thread that sends. The channel reads it afterwards,
and aborts the attempt when its time is up.
"""

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum, StrEnum
from hashlib import sha256
from typing import TypeAlias

from notifier.domain.models import identify
from notifier.senders.egress_guard import AddressForbidden


class Phase(Enum):
    """How far the request in flight got."""

    IDLE = "idle"
    CONNECTING = "connecting"
    SENDING = "sending"
    #: Every byte of the request is written: from here on it may have arrived.
    WAITING = "waiting"


class TransportError(StrEnum):
    """Why a request got no answer; the values are shown as reasons."""

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
    ANSWER_TIMEOUT = "timed out after the request was sent"
    DROPPED = "connection lost after the request was sent"
    ANSWER_CUT = "the answer was cut short"
    #: The attempt's time was up while no request was in flight.
    ATTEMPT_LIMIT = "timed out before all of it was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    """An HTTP response; of its body only what reasons and hints are read from."""

    status: int
    retry_after: str | None = None
    body: bytes = b""


class SmtpStage(Enum):
    """The step of an SMTP session that a reply belongs to."""

    CONNECT = "connect"
    LOGIN = "login"
    SENDER = "sender"
    RECIPIENT = "recipient"
    DATA = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpReply:
    """An SMTP server's reply."""

    stage: SmtpStage
    code: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The request ended without an answer."""

    error: TransportError


Observation: TypeAlias = HttpAnswer | SmtpReply | NoAnswer

TOO_MANY_REQUESTS = 429
#: As much of an answer's body as is kept.
BODY_KEPT = 2048


class AttemptAborted(OSError):
    """The attempt was aborted, or the service asked to wait: send nothing more."""


class AttemptRecord:
    """
    What was observed so far, and the socket to abort the attempt by.

    Written by the thread that sends; `abort` is called from another one.
    """

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.phase = Phase.IDLE
        #: The attempt's time was up before it ended by itself.
        self.aborted = False
        self._rate_limited = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def enter(self, phase: Phase, connection: socket.socket | None = None) -> None:
        """
        Note what happens next, and on which socket.

        Raises:
            AttemptAborted: the attempt was aborted, or the service answered 429.

        """
        with self._lock:
            self.phase = phase
            self._socket = connection
            if self.aborted or self._rate_limited:
                raise AttemptAborted("the attempt is over")

    def observe(self, observation: Observation) -> None:
        """Note how a request ended. A 429 ends the attempt too."""
        with self._lock:
            self.observations.append(observation)
            self.phase = Phase.IDLE
            self._socket = None
            if isinstance(observation, HttpAnswer):
                self._rate_limited |= observation.status == TOO_MANY_REQUESTS

    def observe_error(self, exc: BaseException) -> None:
        """Note the exception that ended the request in flight, if there is one."""
        if self.phase is not Phase.IDLE:
            self.observe(no_answer(exc, self.phase, timed_out=self.aborted or None))

    def abort(self) -> None:
        """End the attempt now; a thread that waits on its socket wakes up."""
        with self._lock:
            self.aborted = True
            connection, self._socket = self._socket, None
        if connection is not None:
            with suppress(OSError):
                # SSLSocket.shutdown would discard the TLS state while the other
                # thread reads.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def no_answer(exc: BaseException, phase: Phase, *, timed_out: bool | None = None) -> NoAnswer:
    """What an exception of requests, aiohttp or smtplib says about the connection."""
    causes = tuple(_causes(exc))
    if timed_out is None:
        timed_out = any(isinstance(cause, TimeoutError) for cause in causes)
    if phase is Phase.WAITING:
        return NoAnswer(TransportError.ANSWER_TIMEOUT if timed_out else TransportError.DROPPED)
    if phase is Phase.SENDING:
        return NoAnswer(TransportError.SENDING_TIMEOUT if timed_out else TransportError.SENDING)
    for kind, error in (
        (AddressForbidden, TransportError.FORBIDDEN),
        (socket.gaierror, TransportError.NAME),
        (ssl.SSLCertVerificationError, TransportError.CERTIFICATE),
        (ssl.SSLError, TransportError.TLS),
        (ConnectionRefusedError, TransportError.REFUSED),
    ):
        if any(isinstance(cause, kind) for cause in causes):
            return NoAnswer(error)
    return NoAnswer(TransportError.CONNECT_TIMEOUT if timed_out else TransportError.UNREACHABLE)


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """The exception and all that led to it, however its library links them."""
    todo, visited = [exc], set[int]()
    while todo:
        cause = todo.pop()
        if id(cause) in visited:
            continue
        visited.add(id(cause))
        yield cause
        linked = (cause.__cause__, getattr(cause, "reason", None), *cause.args)
        todo += [one for one in linked if isinstance(one, BaseException)]
        if isinstance(cause, BaseExceptionGroup):
            todo += cause.exceptions
        if cause.__cause__ is None and cause.__context__ is not None:
            todo.append(cause.__context__)


class DeliveredRecipients:
    """
    Who of several recipients has one message, before and during one attempt.

    A mark is a digest of the destination's URL, the message's id and the recipient:
    it holds no address and no secret, and it is the same in every process with the
    same URL. Written by the thread that sends; `marks` may be read from another.
    """

    def __init__(self, salt: str, message_id: str, marks: frozenset[str]) -> None:
        self._salt = salt
        self.message_id = message_id
        #: Of all recipients who have the message, before this attempt and since.
        self.marks = marks

    def has(self, *recipient: str) -> bool:
        """Whether this recipient has the message."""
        return self._mark(recipient) in self.marks

    def add(self, *recipient: str) -> None:
        """Note that this recipient has the message now."""
        self.marks = self.marks | {self._mark(recipient)}

    def _mark(self, recipient: tuple[str, ...]) -> str:
        return identify("rcp_", self._salt, self.message_id, json.dumps(recipient))


def salt_of(url: str) -> str:
    """What the marks of a destination's recipients are salted with."""
    return sha256(url.encode()).hexdigest()


_current: ContextVar[AttemptRecord | None] = ContextVar("attempt", default=None)


def current() -> AttemptRecord | None:
    """The record of the attempt that this thread makes, if it makes one."""
    return _current.get()


@contextmanager
def recording(record: AttemptRecord) -> Iterator[None]:
    """Requests made inside belong to this attempt."""
    token = _current.set(record)
    try:
        yield
    finally:
        _current.reset(token)
