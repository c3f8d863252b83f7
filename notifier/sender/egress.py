"""Which addresses may be connected to, whatever a name resolves to."""

import ipaddress
from collections.abc import Callable
from typing import TypeAlias

#: Whether an IP address may be connected to.
Egress: TypeAlias = Callable[[str], bool]

#: Cloud metadata that lives outside of the link-local ranges.
_METADATA = frozenset(
    ipaddress.ip_address(address) for address in ("fd00:ec2::254", "100.100.100.200")
)


class Forbidden(OSError):
    """The destination's address may not be connected to."""


def anywhere(address: str) -> bool:
    """Everything but link-local addresses, where clouds keep their metadata."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None) or found
    return not (mapped.is_link_local or mapped in _METADATA)


def check_peer(peer: object, may_reach: Egress) -> None:
    """
    Let a connection live only if its other end may be reached.

    `peer` is what `getpeername` says; what is no IP address passes.

    Raises:
        Forbidden: close the connection and send nothing.

    """
    address = peer[0] if isinstance(peer, tuple) and peer else None
    if isinstance(address, str) and not may_reach(address):
        raise Forbidden("address not allowed")
