"""
SMTP of Apprise's e-mail plugin, through connections that are kept and observed.

The plugin opens a connection for every message, hides the server's codes, and draws a
new `Message-ID` for every attempt. `install` replaces its controller: during an attempt,
mails go through the destination's `SmtpPool`, each reply is recorded, only recipients
who do not have the message yet are addressed, and a repeated mail keeps its id.
"""

import re
import smtplib
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from email.header import Header, decode_header, make_header
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import apprise.plugins.email.base as plugin
from apprise.plugins.email.smtp import AppriseSMTPController, SMTPSecureMode

from notifier.senders.attempt import (
    AttemptRecord,
    DeliveredRecipients,
    NoAnswer,
    Phase,
    SmtpReply,
    SmtpStage,
    TransportError,
    current,
)

#: A kept connection is closed after so many seconds without use, and in all.
IDLE_S = 60.0
AGE_S = 600.0
#: Servers may take long over a mail. The attempt's own limit comes first.
REPLY_S = 120.0
#: The list of a server's extensions needs a thousandth of it.
REPLY_CAP = 1 << 20
_KEPT = 2
_READY = 220
_OK = 250
_WILL_FORWARD = 251
_GO_AHEAD = 354
_CLOSING = 421

#: Servers refuse lines of more than 998 bytes.
_LONG_SUBJECT = re.compile(r"^Subject: (.{900,})$", re.MULTILINE)

#: Apprise's; a long one is folded.
_MESSAGE_ID = re.compile(r"^Message-ID:\s+<[^<>@]*@([^<>]*)>$", re.MULTILINE)

_SMTP_ERRORS = (OSError, smtplib.SMTPException)


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """A mail server and its login; the fields are the arguments of Apprise's controller."""

    host: str
    port: int
    secure_mode: str
    user: str | None = None
    password: str | None = None
    verify_certificate: bool = True
    socket_connect_timeout: float = 15.0


class _CappedReply:
    """The file that smtplib reads replies from, with a cap on the length of each."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._left = 0

    def begin(self) -> None:
        """Begin a reply."""
        self._left = REPLY_CAP

    def readline(self, limit: int = -1) -> bytes:
        """
        One line of the reply.

        Raises:
            SMTPServerDisconnected: the reply is longer than the cap.

        """
        line: bytes = self._file.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise smtplib.SMTPServerDisconnected("the reply has no end")
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class _Connection(smtplib.SMTP):
    """A connection to a mail server."""

    file: Any
    opened_at = 0.0
    used_at = 0.0

    def getreply(self) -> tuple[int, bytes]:
        """Read a reply, on a socket that the attempt can be aborted by."""
        record = current()
        try:
            if record is not None:
                record.enter(record.phase, self.sock)
        except OSError:
            self.close()
            raise
        if self.sock is not None:
            # smtplib itself reads a reply without an end for ever.
            self.file = self.file or _CappedReply(self.sock.makefile("rb"))
            self.file.begin()
        return super().getreply()

    def is_usable(self) -> bool:
        """Whether it may be used again and still answers."""
        now = time.monotonic()
        if now - self.used_at > IDLE_S or now - self.opened_at > AGE_S:
            return False
        with suppress(*_SMTP_ERRORS):
            return self.noop()[0] == _OK
        return False


class _TlsConnection(_Connection, smtplib.SMTP_SSL):
    """The same, in TLS from the first byte."""


class SmtpPool:
    """One destination's connections to its mail server."""

    def __init__(self, *, tls: ssl.SSLContext, unverified: ssl.SSLContext) -> None:
        self._tls = tls
        self._unverified = unverified
        self._idle: deque[_Connection] = deque()

    def acquire(self, server: SmtpServer, record: AttemptRecord) -> _Connection:
        """
        A connection that is logged in: a kept one that still answers, or a new one.

        Raises:
            OSError, SMTPException: there is none; the reason is recorded.

        """
        while self._idle:
            connection = self._idle.pop()
            if connection.is_usable():
                return connection
            connection.close()
        stage = SmtpStage.CONNECT
        opened: _Connection | None = None
        try:
            record.enter(Phase.CONNECTING)
            opened = self._connect(server)
            stage = SmtpStage.LOGIN
            if server.user and server.password:
                opened.login(server.user, server.password)
            record.enter(Phase.IDLE)
        except BaseException as exc:
            if isinstance(exc, _SMTP_ERRORS):
                _record_error(record, exc, stage)
            if opened is not None:
                opened.close()
            raise
        opened.opened_at = time.monotonic()
        return opened

    def release(self, connection: _Connection) -> None:
        """Keep a connection for the next message."""
        connection.used_at = time.monotonic()
        if connection.sock is None or len(self._idle) >= _KEPT:
            connection.close()
        else:
            self._idle.append(connection)

    def close(self) -> None:
        """Close the kept connections."""
        while self._idle:
            self._idle.pop().close()

    def _connect(self, server: SmtpServer) -> _Connection:
        tls = self._tls if server.verify_certificate else self._unverified
        # For EHLO; smtplib would ask a name server for it, which may hang.
        own_name = socket.gethostname()
        own_name = own_name if "." in own_name else "[127.0.0.1]"
        at = (server.host, server.port, own_name)
        timeout = server.socket_connect_timeout
        if server.secure_mode == SMTPSecureMode.SSL:
            connection: _Connection = _TlsConnection(*at, timeout=timeout, context=tls)
        else:
            connection = _Connection(*at, timeout=timeout)
        if server.secure_mode == SMTPSecureMode.STARTTLS:
            try:
                code, text = connection.starttls(context=tls)
            except BaseException:
                connection.close()
                raise
            if code != _READY:
                connection.close()
                raise smtplib.SMTPResponseException(code, text)
        if connection.sock is not None:
            connection.sock.settimeout(REPLY_S)
        return connection


_through: ContextVar[tuple[SmtpPool, DeliveredRecipients] | None] = ContextVar("smtp", default=None)


@contextmanager
def through(pool: SmtpPool, recipients: DeliveredRecipients) -> Iterator[None]:
    """Send the mails inside through this pool, to those who do not have the message."""
    token = _through.set((pool, recipients))
    try:
        yield
    finally:
        _through.reset(token)


def install() -> None:
    """Have the e-mail plugin observed; may be called again."""
    # The plugin looks up its controller under this name.
    plugin.AppriseSMTPController = _controller  # type: ignore[attr-defined,assignment]


def _controller(**server: object) -> "AppriseSMTPController | ObservedController":
    record, bound = current(), _through.get()
    if record is None or bound is None:
        return AppriseSMTPController(**server)  # type: ignore[arg-type] # as the plugin calls it
    pool, recipients = bound
    return ObservedController(
        SmtpServer(**server),  # type: ignore[arg-type] # a contract test pins the names
        pool=pool,
        recipients=recipients,
        record=record,
    )


class ObservedController:
    """What the e-mail plugin sends through during an attempt."""

    def __init__(
        self,
        server: SmtpServer,
        *,
        pool: SmtpPool,
        recipients: DeliveredRecipients,
        record: AttemptRecord,
    ) -> None:
        self._server = server
        self._pool = pool
        self._recipients = recipients
        self._record = record
        self._connection: _Connection | None = None
        self._stage = SmtpStage.CONNECT

    def __enter__(self) -> Self:
        """Log in, or raise what the plugin takes for a failure."""
        self._connection = self._pool.acquire(self._server, self._record)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the connection back."""
        if self._connection is not None:
            self._pool.release(self._connection)

    def sendmail(self, sender: str, to: Sequence[str], message: str) -> bool:
        """Send it to those who do not have it; whether everyone has it now."""
        main = to[0]
        missing = [address for address in to if not self._recipients.has(main, address)]
        if missing:
            data = _data(_with_stable_id(message, self._recipients.message_id, main))
            with suppress(*_SMTP_ERRORS):  # they are recorded
                for address in self._deliver(sender, missing, data):
                    self._recipients.add(main, address)
        return all(self._recipients.has(main, address) for address in to)

    def _deliver(self, sender: str, to: Sequence[str], data: bytes) -> Sequence[str]:
        """The recipients who have it now; why the others do not is recorded."""
        if self._connection is None:
            self._connection = self._pool.acquire(self._server, self._record)
        connection, self._stage = self._connection, SmtpStage.SENDER
        try:
            self._record.enter(Phase.SENDING)
            connection.ehlo_or_helo_if_needed()
            options = [f"size={len(data)}"] if connection.has_extn("size") else []
            delivered: Sequence[str] = ()
            if self._is_accepted(connection, *connection.mail(sender, options)):
                self._stage = SmtpStage.RECIPIENT
                taken = [a for a in to if self._is_accepted(connection, *connection.rcpt(a))]
                if taken and connection.sock is not None:
                    self._stage = SmtpStage.DATA
                    delivered = taken if self._send(connection, data) else ()
        except _SMTP_ERRORS as exc:
            _record_error(self._record, exc, self._stage)
            connection.close()
            delivered = ()
        if connection.sock is not None:
            # Leave the connection ready for the next mail.
            try:
                self._record.enter(Phase.IDLE, connection.sock)
                if not delivered:
                    connection.rset()
            except _SMTP_ERRORS:
                connection.close()
        if connection.sock is None:
            self._connection = None
        return delivered

    def _send(self, connection: _Connection, data: bytes) -> bool:
        code, text = connection.docmd("DATA")
        if code != _GO_AHEAD:
            return self._is_accepted(connection, code, text)
        connection.send(data)
        self._record.enter(Phase.WAITING, connection.sock)
        code, text = connection.getreply()
        if code == _OK:
            self._record.observe(SmtpReply(stage=self._stage, code=code))
            return True
        return self._is_accepted(connection, code, text)

    def _is_accepted(self, connection: _Connection, code: int, text: bytes) -> bool:
        """Whether the server goes on; a refusal is recorded."""
        if code in (_OK, _WILL_FORWARD):
            return True
        decoded = text.decode("utf-8", "replace")
        self._record.observe(SmtpReply(stage=self._stage, code=code, text=decoded))
        self._record.enter(Phase.SENDING, connection.sock)
        if code == _CLOSING:
            connection.close()
        return False


def _record_error(record: AttemptRecord, exc: BaseException, stage: SmtpStage) -> None:
    """Record what smtplib raised."""
    # It raises these bare before it asks the server anything.
    is_local = type(exc) in (smtplib.SMTPException, smtplib.SMTPNotSupportedError)
    match exc:
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=text):
            decoded = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            record.observe(SmtpReply(stage=stage, code=code, text=decoded))
        case smtplib.SMTPNotSupportedError() if stage is SmtpStage.CONNECT:
            record.observe(NoAnswer(TransportError.NO_STARTTLS))
        case smtplib.SMTPException() if stage is SmtpStage.LOGIN and is_local:
            record.observe(NoAnswer(TransportError.NO_LOGIN))
        case _:
            record.observe_error(exc)


def _with_stable_id(message: str, message_id: str, main: str) -> str:
    """
    The mail with a `Message-ID` that a repeat has too, so that mail programs see one mail.

    Each main recipient gets a mail of its own, with an id of its own.
    """
    name = f"{message_id}.{sha256(main.encode()).hexdigest()[:16]}"
    headers, blank, body = message.partition("\n\n")
    headers = _MESSAGE_ID.sub(lambda found: f"Message-ID: <{name}@{found[1]}>", headers)
    return headers + blank + body


def _data(message: str) -> bytes:
    """The mail as DATA wants it: CRLF, dots doubled, ended by a dot."""

    def fold(found: re.Match[str]) -> str:
        # The library leaves a subject without blanks on one line of any length.
        text = str(make_header(decode_header(found[1])))
        return f"Subject: {Header(text, 'utf-8', header_name='Subject').encode()}"

    message = _LONG_SUBJECT.sub(fold, message, count=1)
    lines = re.sub(r"\r\n|\r|\n", "\r\n", message.removesuffix("\n"))
    dotted = re.sub(r"(?m)^\.", "..", lines)
    return dotted.encode("ascii", "surrogateescape") + b"\r\n.\r\n"
