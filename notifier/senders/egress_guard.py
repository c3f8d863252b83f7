"""
The egress guard: which addresses the sender connects to, checked at the socket.

`install` makes every socket of the process check the address before it connects or
sends a datagram. By then a name is resolved, and nothing is sent yet: a redirect, a
name that resolves to another address later, or a library used by Apprise cannot get
past it. Inside `guarded` the policy of the destinations applies, outside of it the
one that always applies.

A proxy resolves names out of sight of this guard, so proxies are used only under the
policy `anywhere`.
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


class AddressForbidden(OSError):
    """The egress policy forbids connecting to this address."""


@dataclass(slots=True)
class Guard:
    """What the guard refused inside one `guarded`."""

    may_reach: Egress
    #: At least one address was not connected to.
    refused: bool = False


_guard: ContextVar[Guard | None] = ContextVar("egress", default=None)


@contextmanager
def guarded(may_reach: Egress) -> Iterator[Guard]:
    """Apply this policy to every socket that is connected inside."""
    guard = Guard(may_reach)
    token = _guard.set(guard)
    try:
        yield guard
    finally:
        _guard.reset(token)


def uses_proxies(may_reach: Egress) -> bool:
    """Whether the environment's proxies may be used under this policy."""
    return may_reach is anywhere


def check_literal(url: str) -> None:
    """
    Check a URL that goes through a proxy, as far as its address can be seen.

    Raises:
        AddressForbidden: the URL itself names an address that is forbidden.

    """
    if (address := literal(url)) is not None:
        _check(address)


def install() -> None:
    """Put the guard into every socket; may be called again."""
    if socket.socket.connect is not _connect:
        # All libraries in Python open connections by these methods.
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


def _allowed(connection: socket.socket, address: Any) -> Any:
    """
    The address with its name resolved, because a name may resolve differently later.

    Raises:
        AddressForbidden: it may not be connected to.

    """
    if connection.family not in _FAMILIES or not isinstance(address, tuple):
        return address
    host, port, *_ = address
    try:
        try:
            _check(host)
        except ValueError:  # a name
            found = socket.getaddrinfo(host, port, connection.family, connection.type)
            address = found[0][4]
            _check(str(address[0]))
    except AddressForbidden:
        # Not every library closes a socket that it could not connect.
        connection.close()
        raise
    return address


def _check(address: str) -> None:
    guard = _guard.get()
    if not (guard.may_reach if guard else anywhere)(address):
        if guard is not None:
            guard.refused = True
        raise AddressForbidden("address not allowed")
