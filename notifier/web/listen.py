"""The sockets that the web listens on: bound before the workers start, kept over reloads."""

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from notifier.errors import NotifierError

log = structlog.get_logger()

_BACKLOG = 128
#: Where a browser on this machine reaches a socket that listens on every address.
_LOOPBACK_OF = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound


class PortTaken(NotifierError):
    """The configured address cannot be bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """A host and a port; port 0 stands for any free port."""

    host: str
    port: int
    #: Set in the configuration: the service does not run without it.
    is_asked_for: bool = False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL for a browser on this machine."""
        local = Address(host=_LOOPBACK_OF.get(self.host, self.host), port=self.port)
        return f"http://{local}/"


class ListenSocket:
    """The bound TCP socket of the web; at first there is none."""

    def __init__(self) -> None:
        self._wanted: Address | None = None
        self._socket: socket.socket | None = None

    @property
    def address(self) -> Address | None:
        """The bound address, with the actual port; None if nothing is bound."""
        if self._socket is None or self._wanted is None:
            return None
        port = int(self._socket.getsockname()[1])
        return Address(host=self._wanted.host, port=port, is_asked_for=self._wanted.is_asked_for)

    def move(self, wanted: Address | None) -> None:
        """
        Bind this address and release the previous one; None: release only.

        If the default address is in use, log a warning and bind nothing.

        Raises:
            PortTaken: a configured address is in use; the previous one stays bound.
        """
        if wanted == self._wanted and (wanted is None or self._socket is not None):
            return
        here = self.address
        if wanted and here and (wanted.host, wanted.port) == (here.host, here.port):
            self._wanted = wanted
            return
        bound = None if wanted is None else _bind(wanted)
        self.close()
        self._wanted, self._socket = wanted, bound

    def duplicate(self) -> socket.socket | None:
        """A copy of the socket for a server, which closes it; None if nothing is bound."""
        return None if self._socket is None else self._socket.dup()

    def close(self) -> None:
        """Stop listening."""
        if self._socket is not None:
            self._socket.close()
        self._wanted = self._socket = None


def _bind(address: Address) -> socket.socket | None:
    try:
        infos = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        family, kind, protocol, _, resolved = infos[0]
        bound = socket.socket(family, kind, protocol)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                with suppress(OSError):  # lets `::` accept IPv4 too, where the system can
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            bound.bind(resolved)
            bound.listen(_BACKLOG)
            bound.setblocking(False)  # noqa: FBT003 - the signature of socket
        except OSError:
            bound.close()
            raise
    except OSError as exc:
        reason = exc.strerror or str(exc)
        if address.is_asked_for:
            raise PortTaken(
                f"web.listen: cannot listen on {address}: {reason}; stop the other program, "
                "choose another address, or set `web: off`"
            ) from exc
        log.warning("web.port_taken", address=str(address), reason=reason)
        return None
    return bound


def bind_unix_socket(path: Path) -> socket.socket:
    """
    Listen on a Unix socket that only its owner can connect to, replacing a stale one.

    The caller holds the lock of the store, so no other service uses the path. At most
    107 bytes fit into the address of a Unix socket.

    Raises:
        OSError: the socket cannot be created there.
    """
    path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    umask = os.umask(0o177)
    try:
        bound.bind(os.fspath(path))
        bound.listen(_BACKLOG)
        bound.setblocking(False)  # noqa: FBT003 - the signature of socket
    except OSError:
        bound.close()
        raise
    finally:
        os.umask(umask)
    return bound
