"""Which addresses are connected to."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.egress_policy import anywhere, literal, public

METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fe80::1%eth0",
    "febf::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:42::42",
]
INSIDE = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.7",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
]
INSIDE_6 = [
    "::",
    "::1",
    "100::1",
    "2001::1",
    "2001:2::1",
    "2001:10::1",
    "2001:db8::1",
    "3fff::1",
    "4000::1",
    "5f00::1",
    "fc00::1",
    "fd12::1",
    "fec0::1",
    "ff02::1",
    "ff0e::1",
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "198.20.0.1", "2606:4700::1111"]


def wrapped(address: str) -> list[str]:
    """The forms of IPv6 that lead to an IPv4 address."""
    number = int(ipaddress.IPv4Address(address))
    high, low = number >> 16, number & 0xFFFF
    return [
        f"::ffff:{address}",
        f"2002:{high:x}:{low:x}::1",
        f"64:ff9b::{address}",
        f"64:ff9b:1::{address}",
        f"64:ff9b:1:{high:x}:{low >> 8:x}:{(low & 0xFF) << 8:x}::",
        f"64:ff9b:1:ab{high >> 8:02x}:{high & 0xFF:x}:{low:x}::",
        f"64:ff9b:1:abcd:{number >> 24:x}:{number >> 8 & 0xFFFF:x}:{low & 0xFF:x}00::",
        f"64:ff9b:1:abcd::{address}",
        f"::ffff:0:{address}",
        f"::{address}",
        f"2606:4700::5efe:{address}",
        f"2606:4700::200:5efe:{address}",
        f"2001:0:0808:0808::{high ^ 0xFFFF:x}:{low ^ 0xFFFF:x}",
        f"2001:0:{high:x}:{low:x}::f7f7:f7f7",
    ]


@pytest.mark.parametrize("address", METADATA)
def test_link_local_and_metadata_addresses_are_never_reached(address: str) -> None:
    assert not anywhere(address)
    assert not public(address)


@pytest.mark.parametrize("address", [one for one in METADATA if "." in one])
def test_no_form_of_ipv6_leads_to_metadata(address: str) -> None:
    assert not any(map(anywhere, wrapped(address)))
    assert not any(map(public, wrapped(address)))


@pytest.mark.parametrize("address", [*INSIDE, *INSIDE_6])
def test_what_is_inside_is_reached_by_any_and_not_by_public(address: str) -> None:
    assert anywhere(address)
    assert not public(address)


@pytest.mark.parametrize("address", INSIDE)
def test_no_form_of_ipv6_leads_inside(address: str) -> None:
    assert not any(map(public, wrapped(address)))


@pytest.mark.parametrize("address", OUTSIDE)
def test_the_internet_is_reached(address: str) -> None:
    assert anywhere(address)
    assert public(address)


@pytest.mark.parametrize(
    "address",
    [
        "::ffff:8.8.8.8",
        "64:ff9b::8.8.8.8",
        "2002:808:808::1",
        "2606:4700::5efe:808:808",
    ],
)
def test_the_internet_is_reached_through_ipv6_as_well(address: str) -> None:
    assert public(address)


@given(st.ip_addresses())
def test_what_python_knows_to_be_inside_is_never_public(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped
    if not mapped and not address.is_global:
        assert not public(str(address))


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("json://127.0.0.1/in", "127.0.0.1"),
        ("json://ann:pw@10.0.0.7:8080?x=y", "10.0.0.7"),
        ("json://a@b@[fe80::1%eth0]:80/", "fe80::1"),
        ("webhook://[::1]", "::1"),
        ("webhook://LocalHost.:80/in", "127.0.0.1"),
        ("json://one.localhost", "127.0.0.1"),
        ("https://169.254.169.254#x", "169.254.169.254"),
        ("https://169.254.169.254\\@example.com", "169.254.169.254"),
        ("https://example.com/10.0.0.7", None),
        ("discord://4174216298/JHMHI8qBe7bk", None),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", None),
        ("terminal://", None),
        ("webhook://2852039166/in", "169.254.169.254"),
        ("webhooks://025177524776:80/", "169.254.169.254"),
        ("json://0xA9FEA9FE", "169.254.169.254"),
        ("json://0251.0376.0251.0376/", "169.254.169.254"),
        ("json://0xa9.254.43518", "169.254.169.254"),
        ("discord://169.16689662./x", "169.254.169.254"),
        ("http://127.1/", "127.0.0.1"),
        ("http://0/", "0.0.0.0"),
        ("http://4294967296/", None),
        ("http://1.2.65536", None),
        ("http://256.1", None),
        ("http://09.1.1.1", None),
        ("http://1.2.3.4.5", None),
        ("http://1..2", None),
        ("http://0x/", None),
        ("ntfy://2852039166/in", None),
        ("tgram://167772161:abcdef/1", None),
    ],
)
def test_an_address_that_stands_in_a_url_is_read(url: str, address: str | None) -> None:
    assert literal(url) == address
