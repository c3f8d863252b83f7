"""
The guard at the socket: which addresses the sender connects to.

`install` has every socket of the process ask before it connects or sends a datagram.
What a name resolved to is known by then, and nothing was sent yet: no redirect, no
name that resolves anew and no library of Apprise's gets past it. Inside of `guarded`
the destinations' policy holds, outside of it the one that always holds.

A proxy resolves names where no guard looks, so that it is gone through only by those
who may go `anywhere`.
"""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, TypeAlias

from notifier.domain.egress_policy import anywhere, literal

#: Whether an IP address may be connected to.
Egress: TypeAlias = Callable[[str], bool]

_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})


class Forbidden(OSError):
    """The destination's address may not be connected to."""


@dataclass(slots=True)
class Guard:
    """What the guard saw inside of one `guarded`."""

    may_reach: Egress
    #: Some address was not connected to.
    refused: bool = False


_guard: ContextVar[Guard | None] = ContextVar("egress", default=None)


@contextmanager
def guarded(may_reach: Egress) -> Iterator[Guard]:
    """Sockets opened inside connect to nothing else."""
    guard = Guard(may_reach)
    token = _guard.set(guard)
    try:
        yield guard
    finally:
        _guard.reset(token)


def uses_proxies(may_reach: Egress) -> bool:
    """Whether the proxies of the environment may be gone through."""
    return may_reach is anywhere


def check_literal(url: str) -> None:
    """
    What is left to be seen of an address behind a proxy.

    Raises:
        Forbidden: the URL itself names an address that may not be reached.

    """
    if (address := literal(url)) is not None:
        _check(address)


def install() -> None:
    """Let every socket ask; may be called again."""
    if socket.socket.connect is not _connect:
        # The seam itself: whatever opens connections in Python does it by these.
        socket.socket.connect = _connect  # type: ignore[method-assign,assignment]
        socket.socket.connect_ex = _connect_ex  # type: ignore[method-assign,assignment]
        socket.socket.sendto = _sendto  # type: ignore[method-assign,assignment]
        socket.socket.sendmsg = _sendmsg  # type: ignore[method-assign,assignment]


_plain_connect = socket.socket.connect
_plain_connect_ex = socket.socket.connect_ex
_plain_sendto: Callable[..., int] = socket.socket.sendto
_plain_sendmsg: Callable[..., int] = socket.socket.sendmsg


def _connect(self: socket.socket, address: Any, /) -> None:
    _plain_connect(self, _allowed(self, address))


def _connect_ex(self: socket.socket, address: Any, /) -> int:
    return _plain_connect_ex(self, _allowed(self, address))


def _sendto(self: socket.socket, data: Any, *rest: Any) -> int:
    *flags, address = rest
    return _plain_sendto(self, data, *flags, _allowed(self, address))


def _sendmsg(
    self: socket.socket,
    buffers: Any,
    ancillary: Any = (),
    flags: int = 0,
    address: Any = None,
    /,
) -> int:
    return _plain_sendmsg(self, buffers, ancillary, flags, _allowed(self, address))


def _allowed(link: socket.socket, address: Any) -> Any:
    """
    The address, with its name resolved: a name may mean another one a moment later.

    Raises:
        Forbidden: it may not be connected to.

    """
    if link.family not in _FAMILIES or not isinstance(address, tuple):
        return address
    try:
        return _checked(link, address)
    except Forbidden:
        # Whoever opened it may not think of closing it.
        link.close()
        raise


def _checked(link: socket.socket, address: Any) -> Any:
    host, port, *_ = address
    try:
        _check(host)
    except ValueError:
        found = socket.getaddrinfo(host, port, link.family, link.type)
        address = found[0][4]
        _check(str(address[0]))
    return address


def _check(address: str) -> None:
    guard = _guard.get()
    if not (guard.may_reach if guard else anywhere)(address):
        if guard is not None:
            guard.refused = True
        raise Forbidden("address not allowed")
