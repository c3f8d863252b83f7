"""
A real SMTP server on loopback (aiosmtpd) that does what a script says.

    with smtp_sink() as sink:
        sink.refuse("bob@example.com", "451 4.7.1 greylisted", "250 OK")
        ...
        assert sink.mails[0].recipients == ["ann@example.com"]
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from servers.authority import Authority

_OK = "250 OK"


@dataclass(frozen=True, kw_only=True)
class Mail:
    """One mail, as it came."""

    sender: str
    recipients: list[str]
    content: bytes
    #: It came over TLS; and by whom, if somebody logged in.
    tls: bool
    login: str | None

    @property
    def message(self) -> EmailMessage:
        """The content, parsed."""
        parsed = message_from_bytes(self.content, policy=policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed


class SmtpSink:
    """The running server. Everything in it may be read from any thread."""

    def __init__(
        self, *, tls: Authority | None, logins: Mapping[str, str] | None
    ) -> None:
        self.mails: list[Mail] = []
        #: Every recipient that was asked for, refused or not.
        self.asked: list[str] = []
        self.connections = 0
        self.commands: list[str] = []
        self._logins = logins
        self._replies: dict[str, list[str]] = {}
        self._after_data: list[str | None] = [_OK]
        self._sender_reply = _OK
        self._login_reply: str | None = None
        self._changed = threading.Condition()
        self._peers: set[object] = set()
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=0,
            server_kwargs={
                "tls_context": tls.server if tls else None,
                "require_starttls": tls is not None,
                "authenticator": self._authenticate if logins else None,
                "auth_required": bool(logins),
                "auth_require_tls": False,
            },
        )
