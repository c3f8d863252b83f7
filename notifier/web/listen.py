"""The address: taken before the loops start, and kept over reloads."""

import socket
from contextlib import suppress
from dataclasses import dataclass

import structlog

from notifier.errors import NotifierError

log = structlog.get_logger()

_BACKLOG = 128


#: Every address of the machine, and one that leads to it from here.
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


class PortTaken(NotifierError):
    """The address that was asked for cannot be had."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An address and port; port 0: any that is free."""

    host: str
    port: int
    #: Without it the service does not run.
    is_asked_for: bool = False

    def __str__(self) -> str:
        return _spelt(self.host, self.port)

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        return f"http://{_spelt(_ANY.get(self.host, self.host), self.port)}/"


def _spelt(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Front:
    """Where the web listens; nowhere, to begin with."""

    def __init__(self) -> None:
        self._wish: Place | None = None
        self._socket: socket.socket | None = None

    @property
    def place(self) -> Place | None:
        """The address that it has; None: none."""
        if self._socket is None or self._wish is None:
            return None
        port = int(self._socket.getsockname()[1])
        return Place(host=self._wish.host, port=port, is_asked_for=self._wish.is_asked_for)

    def move(self, wish: Place | None) -> None:
        """
        Listen there from now on, and nowhere else; None: nowhere.

        Where the address is only the usual one, and taken, it does without.

        Raises: PortTaken when it was asked for; then everything stays as it was.
        """
        if wish == self._wish and (wish is None or self._socket is not None):
            return
        if self._is_at(wish):
            self._wish = wish
            return
        taken = None if wish is None else _taken(wish)
        self.close()
        self._wish, self._socket = wish, taken

    def _is_at(self, wish: Place | None) -> bool:
        """Whether only its urgency differs."""
        here = self.place
        return (
            wish is not None
            and here is not None
            and (wish.host, wish.port) == (here.host, here.port)
        )

    def share(self) -> socket.socket | None:
        """The socket for whoever accepts, to be closed by them; None: there is none."""
        return None if self._socket is None else self._socket.dup()

    def close(self) -> None:
        """Listen no more."""
        if self._socket is not None:
            self._socket.close()
        self._wish = self._socket = None


def _taken(wish: Place) -> socket.socket | None:
    try:
        return _listening(wish)
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if wish.is_asked_for:
            raise PortTaken(
                f"web.listen: {wish} cannot be had: {reason}; stop what listens there, "
                "choose another address, or say `web: off`"
            ) from exc
        log.warning("web.port_taken", address=str(wish), reason=reason)
        return None


def _listening(wish: Place) -> socket.socket:
    found = socket.getaddrinfo(
        wish.host, wish.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, kind, protocol, _, address = found[0]
    made = socket.socket(family, kind, protocol)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            with suppress(OSError):  # `::` is for both, where the system can do that
                made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(address)
        made.listen(_BACKLOG)
        made.setblocking(False)  # noqa: FBT003 - as socket has it
    except OSError:
        made.close()
        raise
    return made
