"""
A real SMTP server on loopback (aiosmtpd) that does what a script says.

    with smtp_sink() as sink:
        sink.on_recipient("bob@example.com", "451 4.7.1 Greylisted", "250 OK")
        ...
        assert sink.mails[0].recipients == ("ann@example.com",)
"""

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from servers.authority import Authority

_OK = "250 OK"

#: Instead of a reply: close the connection, or be silent until the sink closes.
DROP = "drop"
HANG = "hang"


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One accepted mail, as it was received."""

    sender: str
    recipients: Sequence[str]
    content: bytes
    tls: bool
    #: The user who is logged in.
    login: str | None

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class _Session(SMTP):
    """A connection that notes its end."""

    is_over = False

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        self.is_over = True


class SmtpSink:
    """The running server. Its attributes may be read from any thread."""

    def __init__(
        self,
        *,
        tls: Authority | None,
        implicit_tls: bool,
        logins: Mapping[str, str] | None,
    ) -> None:
        self.mails: list[Mail] = []
        self.connections = 0
        self._tls = tls
        self._implicit_tls = implicit_tls
        self._logins = logins
        self._scripts: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ready = threading.Event()
        self._sessions: list[_Session] = []
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._listener.getsockname()[1])

    @property
    def netloc(self) -> str:
        """`127.0.0.1:port`, for URLs."""
        return f"127.0.0.1:{self.port}"

    def on_recipient(self, address: str, *replies: str) -> None:
        """Answer RCPT TO this address by these replies from now on; the last one repeats."""
        self._script(address, replies)

    def on_sender(self, *replies: str) -> None:
        """The same for MAIL FROM."""
        self._script("MAIL", replies)

    def on_data(self, *replies: str) -> None:
        """The same for the dot after the content; or DROP, or HANG."""
        self._script("DATA", replies)

    def on_login(self, *replies: str) -> None:
        """The same for a login, before its password is checked."""
        self._script("AUTH", replies)

    def drop_connections(self) -> None:
        """Close every open connection, as an impatient server does."""
        self._loop.call_soon_threadsafe(self._abort_all)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()
        assert self._ready.wait(5)

    def stop(self) -> None:
        """End every connection and the thread."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(5)
        assert not self._thread.is_alive()

    # aiosmtpd's hooks; it calls them by these names.

    async def handle_MAIL(  # noqa: N802
        self,
        _server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if self._logins and not session.authenticated:
            return "530 5.7.0 Authentication required"
        reply = self._next("MAIL")
        if reply.startswith("2"):
            envelope.mail_from = address
            envelope.mail_options.extend(options)
        return reply

    async def handle_RCPT(  # noqa: N802
        self,
        server: SMTP,
        _session: Session,
        envelope: Envelope,
        address: str,
        _options: list[str],
    ) -> str:
        reply = self._next(address)
        if reply == DROP:
            _abort(server)
        if reply.startswith("2"):
            envelope.rcpt_tos.append(address)
        return reply

    async def handle_DATA(  # noqa: N802
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        reply = self._next("DATA")
        assert isinstance(envelope.content, bytes)
        if reply == DROP or reply.startswith("2"):
            self.mails.append(
                Mail(
                    sender=envelope.mail_from or "",
                    recipients=tuple(envelope.rcpt_tos),
                    content=envelope.content,
                    tls=session.ssl is not None or self._implicit_tls,
                    login=_login_of(session),
                )
            )
        if reply == HANG:
            await self._stopping.wait()
        if reply in (DROP, HANG):
            _abort(server)
        return reply

    def _authenticate(
        self,
        _server: SMTP,
        _session: Session,
        _envelope: Envelope,
        _mechanism: str,
        data: object,
    ) -> AuthResult:
        assert isinstance(data, LoginPassword)
        scripted = self._next("AUTH")
        if not scripted.startswith("2"):
            return AuthResult(success=False, handled=False, message=scripted)
        known = (self._logins or {}).get(data.login.decode())
        good = known is not None and known == data.password.decode()
        return AuthResult(success=good, handled=False, auth_data=data)

    def _script(self, command: str, replies: Sequence[str]) -> None:
        with self._lock:
            self._scripts[command] = list(replies)

    def _next(self, command: str) -> str:
        with self._lock:
            script = self._scripts.get(command, [_OK])
            return script.pop(0) if len(script) > 1 else script[0]

    def _run(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        server = await self._loop.create_server(
            self._session,
            sock=self._listener,
            ssl=self._tls.server if self._tls and self._implicit_tls else None,
        )
        self._ready.set()
        await self._stopping.wait()
        # asyncio does not close a socket that it accepts for a server just closed: let
        # accepted connections become sessions first.
        await asyncio.sleep(0.005)
        while not all(one.is_over for one in self._sessions) or len(asyncio.all_tasks()) > 1:
            self._abort_all()
            await asyncio.sleep(0.005)
        server.close()

    def _session(self) -> "_Session":
        self.connections += 1
        starttls: ssl.SSLContext | None = None
        if self._tls is not None and not self._implicit_tls:
            starttls = self._tls.server
        session = _Session(
            self,
            hostname="sink.test",
            enable_SMTPUTF8=False,
            tls_context=starttls,
            require_starttls=starttls is not None,
            authenticator=self._authenticate if self._logins else None,
            auth_require_tls=False,
            auth_exclude_mechanism=() if self._logins else ("LOGIN", "PLAIN"),
        )
        self._sessions.append(session)
        return session

    def _abort_all(self) -> None:
        for session in self._sessions:
            _abort(session)


@contextmanager
def smtp_sink(
    *,
    tls: Authority | None = None,
    implicit_tls: bool = False,
    logins: Mapping[str, str] | None = None,
) -> Iterator[SmtpSink]:
    """
    A running server.

    With an authority it requires STARTTLS (or, with `implicit_tls`, speaks TLS from the
    first byte); with `logins` (user -> password) it accepts mail from these users only.
    """
    sink = SmtpSink(tls=tls, implicit_tls=implicit_tls, logins=logins)
    sink.start()
    try:
        yield sink
    finally:
        sink.stop()


def _abort(session: SMTP) -> None:
    transport: object = session.transport
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()


def _login_of(session: Session) -> str | None:
    data: object = session.auth_data
    return data.login.decode() if isinstance(data, LoginPassword) else None
