"""Which addresses are connected to."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest
from sending import authority, destination, opened, rendered
from servers.http_sink import http_sink
from servers.smtp_sink import smtp_sink

from notifier.domain.egress_policy import anywhere, public
from notifier.domain.models import Outcome, Refused, Scope, Sent
from notifier.senders.egress_guard import AddressForbidden, Egress, guarded, install

pytestmark = pytest.mark.anyio

FORBIDDEN = Refused(reason="egress forbids its address", scope=Scope.DESTINATION)
FORMS = [
    "json://{http}/in",
    "jsons://{https}/in",
    "webhook://{http}/in",
    "webhooks://{https}/in",
    "mailto://{smtp}?from=us@example.com&to=ann@example.com",
    "mailtos://{smtps}?from=us@example.com&to=ann@example.com&mode=ssl",
    "irc://{http}/#ops",
]


@dataclass(frozen=True)
class Inside:
    """A host inside: a server of each kind, and whoever came near one of them."""

    names: dict[str, str]
    servers: dict[str, socket.socket]

    @property
    def untouched(self) -> bool:
        return not any(map(_was_asked, self.servers.values()))


def _was_asked(listener: socket.socket) -> bool:
    listener.setblocking(False)
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@contextmanager
def inside(host: str = "localhost") -> Iterator[Inside]:
    """Listeners that accept nothing by themselves: whoever connects is found."""
    with ExitStack() as stack:
        servers = {
            kind: stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            for kind in ("http", "https", "smtp", "smtps")
        }
        names = {kind: f"{host}:{one.getsockname()[1]}" for kind, one in servers.items()}
        yield Inside(names, servers)


async def outcome_of(url: str, may_reach: Egress) -> Outcome:
    async with opened(destination(url), may_reach=may_reach) as sender:
        return await sender.send("ops", rendered())


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("form", FORMS)
async def test_what_may_not_be_reached_is_not_even_connected_to(form: str, host: str) -> None:
    with inside(host) as here:
        outcome = await outcome_of(form.format(**here.names), public)

        assert outcome == FORBIDDEN
        assert here.untouched


@pytest.mark.parametrize(
    "url",
    [
        "json://169.254.169.254/latest/",
        "webhook://169.254.169.254/latest/",
        "webhook://[fe80::1]/",
        "webhook://[::ffff:169.254.169.254]/",
        "mailto://169.254.169.254?from=us@example.com&to=ann@example.com",
        "json://100.100.100.200/latest",
        # Figures that only the system's resolver takes for an address.
        "json://169.254.43518/latest/",
        "webhook://0xA9FEA9FE/latest/",
        "webhook://2852039166/latest/",
        "rsyslog://169.254.169.254",
    ],
)
async def test_metadata_is_never_connected_to(url: str) -> None:
    assert await outcome_of(url, anywhere) == FORBIDDEN


async def test_a_name_that_resolves_anew_is_judged_anew() -> None:
    judged: list[str] = []

    def once(address: str) -> bool:
        judged.append(address)
        return len(judged) == 1

    with http_sink() as far_end:
        url = far_end.url("/in").replace("http", "webhook")
        async with opened(destination(url), may_reach=once) as sender:
            first = await sender.send("ops", rendered())
            far_end.drop_connections()
            second = await sender.send("ops", rendered())

    assert (first, second) == (Sent(status=200), FORBIDDEN)
    assert judged == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("form", ["json://{host}/in", "slack://T1JJ3T3L2/A1BRTD4JD/x"])
async def test_public_goes_through_no_proxy(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_sink() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("no_proxy", "")

        outcome = await outcome_of(form.format(host="inside.localhost"), may_reach=lambda _: False)

        assert not isinstance(outcome, Sent)
        assert proxy.connections == 0


async def test_any_goes_through_a_proxy_but_not_to_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with http_sink() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        monkeypatch.setenv("no_proxy", "")

        well = await outcome_of("json://example.invalid/in", anywhere)
        never = await outcome_of("json://169.254.169.254/in", anywhere)

        assert well == Sent(status=200)
        assert never == FORBIDDEN
        assert len(proxy.requests) == 1


@pytest.mark.parametrize("host", ["169.254.169.254", "169.254.43518", "fe80::1"])
def test_outside_of_a_destination_metadata_stays_out_of_reach(host: str) -> None:
    install()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as link:
        with pytest.raises(AddressForbidden):
            link.sendto(b"x", (host, 9))
        with pytest.raises(AddressForbidden):
            link.sendto(b"x", 0, (host, 9))
        with pytest.raises(AddressForbidden):
            link.sendmsg([b"x"], [], 0, (host, 9))
        with pytest.raises(AddressForbidden):
            link.connect((host, 9))
        with pytest.raises(AddressForbidden):
            link.connect_ex((host, 9))


def test_no_datagram_leaves_for_where_public_does_not_lead() -> None:
    install()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as inside_,
        socket.socket(type=socket.SOCK_DGRAM) as link,
    ):
        inside_.bind(("127.0.0.1", 0))
        inside_.setblocking(False)

        with guarded(public) as guard, pytest.raises(AddressForbidden):
            link.sendmsg([b"x"], [], 0, inside_.getsockname())

        assert guard.refused
        with pytest.raises(BlockingIOError):
            inside_.recv(1)


def test_a_message_on_a_link_that_stands_needs_no_address() -> None:
    install()
    here, there = socket.socketpair()
    with here, there:
        assert here.sendmsg([b"x", b"y"]) == 2
        assert here.sendmsg([b"z"], [], 0, None) == 1
        assert there.recv(3) == b"xyz"


def test_sockets_of_other_families_are_left_alone() -> None:
    install()
    with guarded(lambda _: False), socket.socket(socket.AF_UNIX) as link:
        assert link.connect_ex("/nowhere/at/all") != 0


async def test_what_may_be_reached_is_reached() -> None:
    with (
        http_sink() as http,
        http_sink(tls=authority()) as https,
        smtp_sink() as smtp,
    ):
        for form in FORMS[:5]:
            url = form.format(http=http.netloc, https=https.netloc, smtp=smtp.netloc)
            assert isinstance(await outcome_of(url, anywhere), Sent)
