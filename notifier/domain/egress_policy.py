"""
Which addresses may be connected to, whatever a name resolves to.

Sources: IANA's special-purpose address registries for IPv4 and IPv6 and its IPv6
global unicast space (read 2026-11), and what clouds write of their metadata services.
"""

import ipaddress
import re
from collections.abc import Iterator
from functools import partial
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_NEVER = tuple(
    ipaddress.ip_network(block)
    for block in """
    169.254.0.0/16 fe80::/10
    100.100.100.200/32 168.63.129.16/32 192.0.0.192/32
    fd00:ec2::/32 fd20:ce::254/128 fd00:42::42/128
    """.split()  # noqa: SIM905 - a list of words reads as words
)
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(block)
    for block in """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12
    192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15
    198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    2001::/23 2001:db8::/32 3fff::/20
    """.split()  # noqa: SIM905 - a list of words reads as words
)
#: Of IPv6, IANA has given out nothing else to be reached from everywhere.
_UNICAST = ipaddress.IPv6Network("2000::/3")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.IPv6Network("64:ff9b:1::/48")
#: Of it a network takes a part as long as it likes, and that says where IPv4 stands.
_NAT64_LENGTHS = (48, 56, 64)
_COMPATIBLE = ipaddress.IPv6Network("::/96")
#: Of RFC 2765; not the mapped ones, which are `::ffff:0:0/96`.
_TRANSLATED = ipaddress.IPv6Network("::ffff:0:0:0/96")
_END_IN_IPV4 = (_NAT64, _NAT64_LOCAL, _COMPATIBLE, _TRANSLATED)
#: The beginning of an interface identifier that ends in an IPv4 address.
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})
_32_BITS = 0xFFFFFFFF
#: One part of an address as `inet_aton` reads it: base 16, 8 or 10.
_PART = re.compile(r"0x([0-9a-f]{1,16})|0([0-7]{0,16})|([1-9][0-9]{0,15})", re.ASCII)
_PARTS = 4
#: Of these it is sure that a lone number is a host: others have ids and topics there.
_AT_HOSTS = frozenset(
    "http https webhook webhooks json jsons xml xmls form forms mailto mailtos".split()  # noqa: SIM905 - a list of words reads as words
)


def anywhere(address: str) -> bool:
    """Everything but link-local addresses and those of clouds' metadata."""
    return not any(face in block for face in _faces(_read(address)) for block in _NEVER)


def public(address: str) -> bool:
    """Only what everyone on the internet reaches, and nothing that leads inside."""
    found = _read(address)
    return anywhere(address) and all(map(_is_public, _outer(found)))


def literal(url: str) -> str | None:
    """
    The address that a URL names instead of a host; None: it names none.

    Resolvers read figures as `inet_aton` does: 2852039166, 0xA9FEA9FE and
    0251.0376.43518 all are 169.254.169.254.
    """
    scheme, _, rest = url.partition("://")
    netloc = rest.replace("\\", "/")
    for end in "/?#":
        netloc = netloc.partition(end)[0]
    host = netloc.rpartition("@")[2]
    if host.startswith("["):
        host = host[1:].partition("]")[0]
    else:
        host = host.partition(":")[0].rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return "127.0.0.1"
    try:
        return str(_read(host))
    except ValueError:
        return _figures(host, is_host=scheme.lower() in _AT_HOSTS)


#: Libraries of these services connect in threads of their own, and reconnect.
_UNGUARDED = frozenset({"mqtt", "mqtts", "xmpp", "xmpps"})


def unreachable(url: str, *, only_public: bool) -> str | None:
    """Return why the policy forbids a URL whatever a name resolves to; None: it does not."""
    scheme = url.partition(":")[0].lower()
    if only_public and scheme in _UNGUARDED:
        return f"egress: public cannot see where {scheme}:// connects to"
    address = literal(url)
    if address is not None and not anywhere(address):
        return "a link-local address, or a cloud's metadata: never connected to"
    if only_public and address is not None and not public(address):
        return "egress: public forbids this address; any allows it"
    return None


def _figures(host: str, *, is_host: bool) -> str | None:
    """The address that `inet_aton` finds in figures, of which the last fills it up."""
    parts = host.split(".")
    if len(parts) > _PARTS or (host.isdigit() and not is_host):
        return None
    numbers = [number for part in parts if (number := _number(part)) is not None]
    if len(numbers) < len(parts):
        return None
    *first, last = numbers
    free = 8 * (_PARTS - len(first))
    if max(first, default=0) > 0xFF or last >> free:  # noqa: PLR2004 - a byte
        return None
    high = sum(number << 24 - 8 * place for place, number in enumerate(first))
    return str(ipaddress.IPv4Address(high | last))


def _number(part: str) -> int | None:
    found = _PART.fullmatch(part)
    if found is None:
        return None
    digits = found[found.lastindex or 0]
    return int(digits or "0", {1: 16, 2: 8, 3: 10}[found.lastindex or 0])


def _read(address: str) -> Address:
    return ipaddress.ip_address(address.partition("%")[0])


def _faces(address: Address) -> Iterator[Address]:
    """The address, and every IPv4 address that it stands for."""
    yield address
    if isinstance(address, ipaddress.IPv6Address):
        yield from _inner(address)


def _outer(address: Address) -> Iterator[Address]:
    """What is to be judged: an address that is only a wrapping is not."""
    wrapped = isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped is not None or address in _NAT64
    )
    faces = _faces(address)
    if wrapped:
        next(faces)
    yield from faces


def _inner(address: ipaddress.IPv6Address) -> Iterator[ipaddress.IPv4Address]:
    number = int(address)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    ends_in_ipv4 = (
        any(address in block for block in _END_IN_IPV4) or number >> 32 & _32_BITS in _ISATAP
    )
    if ends_in_ipv4:
        yield ipaddress.IPv4Address(number & _32_BITS)
    if address in _NAT64_LOCAL:
        yield from map(partial(_behind, number), _NAT64_LENGTHS)


def _behind(number: int, length: int) -> ipaddress.IPv4Address:
    """The IPv4 address behind a prefix; by RFC 6052 it leaves out bits 64 to 71."""
    without = number >> 64 << 56 | number & (1 << 56) - 1
    return ipaddress.IPv4Address(without >> 120 - 32 - length & _32_BITS)


def _is_public(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv6Address) and address not in _UNICAST:
        return False
    return not any(address in block for block in _NOT_PUBLIC)
