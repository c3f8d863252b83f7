"""
Where Apprise's e-mail plugin meets SMTP.

It opens a new connection for every message, keeps the server's codes to itself, and
draws a new `Message-ID` for every try. `install` puts `_controller` in the place of
its own: during an attempt mails go through the destination's `MailPool`, each reply
is written down, only those recipients are asked again who do not have the message
yet, and a mail that is repeated has the id that it had before.
"""

import re
import smtplib
import socket
import ssl
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from email.header import Header, decode_header, make_header
from functools import partial
from hashlib import sha256
from types import TracebackType
from typing import Any, Self

import apprise.plugins.email.base as plugin
from apprise.plugins.email.smtp import AppriseSMTPController, SMTPSecureMode

from notifier.senders.attempt import (
    Break,
    Broken,
    Phase,
    Recorder,
    Reply,
    Stage,
    current,
)
from notifier.senders.delivered_recipients import Marks

#: A kept connection is dropped after so many seconds without use, and in all.
IDLE_S = 60.0
AGE_S = 600.0
#: Servers may think long about a mail. The attempt's own limit comes first.
REPLY_S = 120.0
#: A server that lists its extensions needs a thousandth of it.
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

_MAIL_ERRORS = (OSError, smtplib.SMTPException)


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A mail server and how to be let in, as Apprise's plugin names it."""

    host: str
    port: int
    secure_mode: str
    user: str | None = None
    password: str | None = None
    verify_certificate: bool = True
    socket_connect_timeout: float = 15.0


class _Capped:
    """A server's reply, which is not read for ever."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self._room = 0

    def begin(self) -> None:
        """Another reply comes."""
        self._room = REPLY_CAP

    def readline(self, limit: int = -1) -> bytes:
        """
        One line of it.

        Raises:
            SMTPServerDisconnected: it is longer than any reply.

        """
        line: bytes = self._file.readline(limit)
        self._room -= len(line)
        if self._room < 0:
            raise smtplib.SMTPServerDisconnected("the reply has no end")
        return line

    def close(self) -> None:
        """Close it."""
        self._file.close()


class _Session(smtplib.SMTP):
    """A connection to a mail server."""

    file: Any
    opened_at = 0.0
    used_at = 0.0

    def getreply(self) -> tuple[int, bytes]:
        """Wait for a reply on a socket that the attempt can be cut by."""
        recorder = current()
        try:
            if recorder is not None:
                recorder.enter(recorder.phase, self.sock)
        except OSError:
            self.close()
            raise
        if self.sock is not None:
            # smtplib ends no reply that a server never ends.
            self.file = self.file or _Capped(self.sock.makefile("rb"))
            self.file.begin()
        return super().getreply()


class _TlsSession(_Session, smtplib.SMTP_SSL):
    """The same, in TLS from the first byte."""


class MailPool:
    """One destination's connections to its mail server."""

    def __init__(self, *, tls: ssl.SSLContext, unverified: ssl.SSLContext) -> None:
        self._tls = tls
        self._unverified = unverified
        self._idle: deque[_Session] = deque()

    def take(self, server: Server, recorder: Recorder) -> _Session:
        """
        A connection that is logged in: a kept one that still answers, or new.

        Raises:
            OSError, SMTPException: there is none; why is written down.

        """
        while self._idle:
            session = self._idle.pop()
            if _is_alive(session):
                return session
            session.close()
        return self._open(server, recorder)

    def give(self, session: _Session) -> None:
        """Keep a connection for the next message."""
        session.used_at = time.monotonic()
        if session.sock is None or len(self._idle) >= _KEPT:
            session.close()
        else:
            self._idle.append(session)

    def close(self) -> None:
        """Close what is kept."""
        while self._idle:
            self._idle.pop().close()

    def _open(self, server: Server, recorder: Recorder) -> _Session:
        stage = Stage.CONNECT
        with ExitStack() as unless_well:
            try:
                recorder.enter(Phase.CONNECTING)
                session = self._connect(server)
                unless_well.callback(session.close)
                stage = Stage.LOGIN
                if server.user and server.password:
                    session.login(server.user, server.password)
                recorder.enter(Phase.IDLE)
            except _MAIL_ERRORS as exc:
                _note(recorder, exc, stage)
                raise
            unless_well.pop_all()
        session.opened_at = time.monotonic()
        return session

    def _connect(self, server: Server) -> _Session:
        tls = self._tls if server.verify_certificate else self._unverified
        at = (server.host, server.port, _own_name())
        timeout = server.socket_connect_timeout
        if server.secure_mode == SMTPSecureMode.SSL:
            session: _Session = _TlsSession(*at, timeout=timeout, context=tls)
        else:
            session = _Session(*at, timeout=timeout)
        if server.secure_mode == SMTPSecureMode.STARTTLS:
            _start_tls(session, tls)
        if session.sock is not None:
            session.sock.settimeout(REPLY_S)
        return session


_through: ContextVar[tuple[MailPool, Marks] | None] = ContextVar("mail", default=None)


@contextmanager
def through(pool: MailPool, marks: Marks) -> Iterator[None]:
    """Mails sent inside use this pool, pass over those marked, and mark others."""
    token = _through.set((pool, marks))
    try:
        yield
    finally:
        _through.reset(token)


def install() -> None:
    """Let the e-mail plugin be watched; may be called again."""
    # The seam itself: the plugin looks its controller up under this name.
    plugin.AppriseSMTPController = _controller  # type: ignore[attr-defined,assignment]


class WatchedMail:
    """What the e-mail plugin talks to during an attempt."""

    def __init__(self, server: Server, *, pool: MailPool, marks: Marks, recorder: Recorder) -> None:
        self._server = server
        self._pool = pool
        self._marks = marks
        self._recorder = recorder
        self._session: _Session | None = None

    def __enter__(self) -> Self:
        """Be logged in, or raise what the plugin takes for a failure."""
        self._session = self._pool.take(self._server, self._recorder)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the connection back."""
        if self._session is not None:
            self._pool.give(self._session)

    def sendmail(self, sender: str, to: Sequence[str], message: str) -> bool:
        """Send it to those who lack it; whether everyone has it now."""
        main = to[0]
        missing = [address for address in to if not self._marks.has(main, address)]
        if missing:
            message = _named(message, self._marks.message_id, main)
            for address in self._deliver(sender, missing, message):
                self._marks.add(main, address)
        return all(self._marks.has(main, address) for address in to)

    def _deliver(self, sender: str, to: Sequence[str], message: str) -> Sequence[str]:
        try:
            if self._session is None:
                self._session = self._pool.take(self._server, self._recorder)
        except _MAIL_ERRORS:
            return ()
        mail = _Transaction(self._session, self._recorder)
        try:
            return mail.run(sender, to, message)
        except _MAIL_ERRORS as exc:
            _note(self._recorder, exc, mail.stage)
            self._session.close()
            return ()
        finally:
            if self._session.sock is None:
                self._session = None


def _controller(**server: object) -> AppriseSMTPController | WatchedMail:
    """What the plugin gets when it asks for its controller."""
    recorder, bound = current(), _through.get()
    if recorder is None or bound is None:
        return AppriseSMTPController(**server)  # type: ignore[arg-type] # as the plugin calls it
    pool, marks = bound
    return WatchedMail(
        Server(**server),  # type: ignore[arg-type] # a contract test pins the names
        pool=pool,
        marks=marks,
        recorder=recorder,
    )


class _Transaction:
    """One mail on one connection."""

    def __init__(self, session: _Session, recorder: Recorder) -> None:
        self.stage = Stage.SENDER
        self._session = session
        self._recorder = recorder

    def run(self, sender: str, to: Sequence[str], message: str) -> Sequence[str]:
        """Say who has it now; what kept it from the others is written down."""
        content = _content(message)
        self._recorder.enter(Phase.SENDING)
        self._session.ehlo_or_helo_if_needed()
        sized = self._session.has_extn("size")
        options = [f"size={len(content)}"] if sized else []
        if not self._is_well(*self._session.mail(sender, options)):
            return self._end(())
        self.stage = Stage.RECIPIENT
        to = [address for address in to if self._is_well(*self._session.rcpt(address))]
        if not to or self._session.sock is None:
            return self._end(())
        self.stage = Stage.DATA
        return self._end(to if self._write(content) else ())

    def _write(self, content: bytes) -> bool:
        code, text = self._session.docmd("DATA")
        if code != _GO_AHEAD:
            return self._is_well(code, text)
        self._session.send(content)
        self._recorder.enter(Phase.WAITING, self._session.sock)
        code, text = self._session.getreply()
        if code == _OK:
            self._recorder.saw(Reply(stage=self.stage, code=code))
            return True
        return self._is_well(code, text)

    def _is_well(self, code: int, text: bytes) -> bool:
        if code in (_OK, _WILL_FORWARD):
            return True
        said = text.decode("utf-8", "replace")
        self._recorder.saw(Reply(stage=self.stage, code=code, text=said))
        self._recorder.enter(Phase.SENDING, self._session.sock)
        if code == _CLOSING:
            self._session.close()
        return False

    def _end(self, served: Sequence[str]) -> Sequence[str]:
        """Leave the connection ready for the next mail, or closed."""
        if self._session.sock is not None:
            try:
                self._recorder.enter(Phase.IDLE, self._session.sock)
                if not served:
                    self._session.rset()
            except _MAIL_ERRORS:
                self._session.close()
        return served


def _start_tls(session: _Session, context: ssl.SSLContext) -> None:
    with ExitStack() as unless_well:
        unless_well.callback(session.close)
        code, text = session.starttls(context=context)
        if code != _READY:
            raise smtplib.SMTPResponseException(code, text)
        unless_well.pop_all()


def _own_name() -> str:
    """Our name for EHLO, without asking a name server, which may hang."""
    name = socket.gethostname()
    return name if "." in name else "[127.0.0.1]"


def _is_alive(session: _Session) -> bool:
    now = time.monotonic()
    if now - session.used_at > IDLE_S or now - session.opened_at > AGE_S:
        return False
    with suppress(*_MAIL_ERRORS):
        return session.noop()[0] == _OK
    return False


def _note(recorder: Recorder, exc: BaseException, stage: Stage) -> None:
    """Write down what smtplib raised."""
    match exc:
        case smtplib.SMTPResponseException(smtp_code=code, smtp_error=text):
            said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
            recorder.saw(Reply(stage=stage, code=code, text=said))
        case smtplib.SMTPNotSupportedError() if stage is Stage.CONNECT:
            recorder.saw(Broken(Break.NO_STARTTLS))
        case smtplib.SMTPException() if stage is Stage.LOGIN and _is_bare(exc):
            recorder.saw(Broken(Break.NO_LOGIN))
        case _:
            recorder.broke(exc)


def _is_bare(exc: BaseException) -> bool:
    """Whether smtplib raised it before it asked the server anything."""
    return type(exc) in (smtplib.SMTPException, smtplib.SMTPNotSupportedError)


def _folded(found: re.Match[str]) -> str:
    """A subject without blanks, which the library leaves on one line of any length."""
    text = str(make_header(decode_header(found[1])))
    return f"Subject: {Header(text, 'utf-8', header_name='Subject').encode()}"


def _named(message: str, message_id: str, main: str) -> str:
    """
    The mail under an id that a repeat has too: whoever keeps mails sees them as one.

    Each of several main recipients gets a mail of its own, with an id of its own.
    """
    name = f"{message_id}.{sha256(main.encode()).hexdigest()[:16]}"
    headers, blank, body = message.partition("\n\n")
    return _MESSAGE_ID.sub(partial(_renamed, name), headers) + blank + body


def _renamed(name: str, found: re.Match[str]) -> str:
    return f"Message-ID: <{name}@{found[1]}>"


def _content(message: str) -> bytes:
    """The mail as DATA wants it: CRLF, dots doubled, ended by a dot."""
    message = _LONG_SUBJECT.sub(_folded, message, count=1)
    lines = re.sub(r"\r\n|\r|\n", "\r\n", message.removesuffix("\n"))
    dotted = re.sub(r"(?m)^\.", "..", lines)
    return dotted.encode("ascii", "surrogateescape") + b"\r\n.\r\n"
