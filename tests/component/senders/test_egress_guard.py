"""Which addresses are connected to."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta

import pytest
from sending import authority, destination, opened, rendered, send_once
from servers.http_sink import Answer, Hang, http_sink
from servers.smtp_sink import smtp_sink

from notifier.domain.egress_policy import anywhere, public
from notifier.domain.models import Ambiguous, Refused, Scope, Sent
from notifier.senders.egress_guard import AddressForbidden, guarded, install

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


@contextmanager
def listening(host: str) -> Iterator[tuple[dict[str, str], list[socket.socket]]]:
    """Ports by kind, and their listeners, which accept nothing by themselves."""
    with ExitStack() as stack:
        kinds = ("http", "https", "smtp", "smtps")
        listeners = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in kinds]
        ports = [one.getsockname()[1] for one in listeners]
        yield {kind: f"{host}:{port}" for kind, port in zip(kinds, ports, strict=True)}, listeners


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("form", FORMS)
async def test_a_forbidden_address_is_not_even_connected_to(form: str, host: str) -> None:
    with listening(host) as (addresses, listeners):
        outcome = await send_once(form.format(**addresses), may_reach=public)

        assert outcome == FORBIDDEN
        for listener in listeners:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()


@pytest.mark.parametrize(
    "url",
    [
        "json://169.254.169.254/latest/",
        "webhook://169.254.169.254/latest/",
        "webhook://[fe80::1]/",
        "webhook://[::ffff:169.254.169.254]/",
        "mailto://169.254.169.254?from=us@example.com&to=ann@example.com",
        "json://100.100.100.200/latest",
        # Only the system's resolver reads these as addresses.
        "json://169.254.43518/latest/",
        "webhook://0xA9FEA9FE/latest/",
        "webhook://2852039166/latest/",
        "rsyslog://169.254.169.254",
    ],
)
async def test_metadata_is_never_connected_to(url: str) -> None:
    assert await send_once(url, may_reach=anywhere) == FORBIDDEN


@pytest.mark.parametrize("scheme", ["webhook", "json"])
async def test_each_connection_is_checked_anew(scheme: str) -> None:
    checked: list[str] = []

    def once(address: str) -> bool:
        checked.append(address)
        return len(checked) == 1

    with http_sink() as sink:
        url = f"{scheme}://localhost:{sink.port}/in"
        async with opened(destination(url), may_reach=once) as sender:
            first = await sender.send("ops", rendered())
            sink.drop_connections()
            second = await sender.send("ops", rendered())

    assert (first, second) == (Sent(status=200), FORBIDDEN)
    assert checked == ["127.0.0.1", "127.0.0.1"]


@pytest.mark.parametrize("scheme", ["webhook", "json"])
async def test_a_name_with_a_forbidden_and_an_allowed_address_is_reached(
    scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def two_addresses(host: str, *more: object, **named: object) -> list[object]:
        if host != "two.example":
            return list(resolve(host, *more, **named))  # type: ignore[arg-type] # passed on
        return [
            found
            for address in ("127.0.0.2", "127.0.0.1")
            for found in resolve(address, *more, **named)  # type: ignore[arg-type] # passed on
        ]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    with http_sink() as sink:
        sink.answer("/in", Answer(200, close=True), Hang())
        url = destination(f"{scheme}://two.example:{sink.port}/in")
        limit = timedelta(seconds=0.5)

        async with opened(
            url, may_reach=lambda address: address != "127.0.0.2", attempt_limit=limit
        ) as sender:
            outcomes = [await sender.send("ops", rendered()) for _ in range(2)]

    assert outcomes == [
        Sent(status=200),
        Ambiguous(reason="timed out after the request was sent"),
    ]


@pytest.mark.parametrize("form", ["json://{host}/in", "slack://T1JJ3T3L2/A1BRTD4JD/x"])
async def test_public_uses_no_proxy(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_sink() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url())
        monkeypatch.setenv("no_proxy", "")

        url = form.format(host="inside.localhost")
        outcome = await send_once(url, may_reach=lambda _: False)

        assert not isinstance(outcome, Sent)
        assert proxy.connections == 0


async def test_any_uses_a_proxy_but_not_for_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_sink() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url())
        monkeypatch.setenv("no_proxy", "")

        allowed = await send_once("json://example.invalid/in", may_reach=anywhere)
        metadata = await send_once("json://169.254.169.254/in", may_reach=anywhere)

        assert allowed == Sent(status=200)
        assert metadata == FORBIDDEN
        assert [one.path for one in proxy.requests] == ["http://example.invalid/in"]


@pytest.mark.parametrize("host", ["169.254.169.254", "169.254.43518", "fe80::1"])
def test_sockets_outside_of_a_destination_do_not_reach_metadata(host: str) -> None:
    install()
    address = (host, 9)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    calls: list[Callable[[socket.socket], object]] = [
        lambda one: one.sendto(b"x", address),
        lambda one: one.sendto(b"x", 0, address),
        lambda one: one.sendmsg([b"x"], [], 0, address),
        lambda one: one.connect(address),
        lambda one: one.connect_ex(address),
    ]
    for call in calls:
        with socket.socket(family, socket.SOCK_DGRAM) as sending, pytest.raises(AddressForbidden):
            call(sending)


def test_no_datagram_is_sent_to_a_forbidden_address() -> None:
    install()
    with (
        socket.socket(type=socket.SOCK_DGRAM) as receiving,
        socket.socket(type=socket.SOCK_DGRAM) as sending,
    ):
        receiving.bind(("127.0.0.1", 0))
        receiving.setblocking(False)

        with guarded(public) as guard, pytest.raises(AddressForbidden):
            sending.sendmsg([b"x"], [], 0, receiving.getsockname())

        assert guard.refused
        with pytest.raises(BlockingIOError):
            receiving.recv(1)


def test_connected_sockets_and_other_families_are_left_alone() -> None:
    install()
    with guarded(lambda _: False):
        one, other = socket.socketpair()
        with one, other, socket.socket(socket.AF_UNIX) as unix:
            assert one.sendmsg([b"x", b"y"]) == 2
            assert one.sendmsg([b"z"], [], 0, None) == 1
            assert other.recv(3) == b"xyz"
            assert unix.connect_ex("/nowhere/at/all") != 0


async def test_an_allowed_address_is_reached() -> None:
    with (
        http_sink() as http,
        http_sink(tls=authority()) as https,
        smtp_sink() as smtp,
    ):
        for form in FORMS[:5]:
            url = form.format(http=http.netloc, https=https.netloc, smtp=smtp.netloc)
            assert isinstance(await send_once(url, may_reach=anywhere), Sent)
