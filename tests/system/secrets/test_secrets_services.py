"""What any of Apprise's services is sent stays between it and us."""

# mypy: disable-error-code="no-untyped-call,override,assignment,misc"

import base64
import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from apprise import NotifyBase
from apprise.manager_plugins import NotificationManager
from canaries import Baited, baited, services
from gateway import DRIP, DROP, MUTE, STALL, Gateway, gateway
from leaks import found
from servers.http_sink import closed_port
from servers.smtp_sink import smtp_sink

from notifier.clock import SystemClock
from notifier.domain.egress_policy import anywhere
from notifier.domain.models import Ambiguous, Failed, Format, Outcome, Refused, Rendered, Sent
from notifier.domain.rules import Destination
from notifier.errors import ConfigError
from notifier.senders import registry
from notifier.senders.redaction import redact, secrets_of_url
from notifier.senders.sender import open_sender, scheme_of

pytestmark = pytest.mark.anyio

#: They check more of a URL than can be made up: keys, or parts that we do not guess.
PICKY = frozenset(
    """
    amqp cliq lauther nostr pagertree pingram pushward ses session sns threema trigv
    wechat wpush wxpusher youlmk
    """.split()  # noqa: SIM905 - a list of words reads as words
)
BY_HAND = (
    ("ses", "ses://us@example.com/{a}/{b}/us-east-1/ann@example.com"),
    ("sns", "sns://{a}/{b}/us-east-1/+15551234567"),
    ("threema", "threema://*CANARY1@{a}/15551234567"),
    ("pagertree", "pagertree://{int_a}"),
    ("wxpusher", "wxpusher://{AT_a}/123"),
)
#: Keys of a form that templates do not tell, with the canaries in them.
KEYS = (
    ("cliq", "cliq://{a}/channel", "1000.canary0a0a0a.canary0b0b0b", ""),
    ("lauther", "lauther://{a}", "lpt_canary0a0a0a", ""),
    ("nostr", "nostr://{a}", "ca0a" * 16, ""),
    ("pingram", "pingram://{a}/{b}", "pingram_sk_canary0a0a", "canary0b@example.com"),
    ("pushward", "pushward://{a}", "hlk_canary0a0a0a", ""),
    ("session", "session://{a}:{b}@{{here}}/room", "ca0a" * 16, "ca0b" * 16),
    ("trigv", "trigv://{a}", "trgv_canary0a_" + "canary0b" * 4, ""),
    ("wechat", "wechat://{a}:{b}@1000002", "canary0a0a0a", "canary0b0b0b"),
    ("wpush", "wpush://{a}", "WPUSH" + "canary0a0" * 3, ""),
    ("youlmk", "youlmk://{a}", "ylk_" + "canary0a" * 4, ""),
)
#: No URL of theirs loads unless a library is installed, which we do not depend on.
NEEDS_A_LIBRARY = frozenset({"amqp"})  # pika or python-qpid-proton
MESSAGE = Rendered(
    message_id="msg_ONE",
    title="Bears at Packers",
    body="Starts at 15:30, was 12:00.",
    format=Format.TEXT,
    urgent=False,
    events=(),
)
FAULTS = (401, 500, 200, DROP)
#: Faults that last until the time for one attempt is over.
ENDLESS = (MUTE, STALL, DRIP)


@pytest.fixture(scope="module")
def proxy() -> Iterator[Gateway]:
    with gateway() as running, pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
            patch.setenv(name, running.url)
        for name in ("no_proxy", "NO_PROXY"):
            patch.setenv(name, "")
        yield running


def urls(scheme: str) -> list[Baited]:
    made = baited(scheme)
    for name, form in BY_HAND:
        if name == scheme:
            canaries = {
                name: f"{name.removesuffix('a')}canary0{name[-1]}0{name[-1]}0{name[-1]}"
                for name in ("a", "b", "int_a", "AT_a")
            }
            used = {key: one for key, one in canaries.items() if f"{{{key}}}" in form}
            made.append(Baited(scheme, form.format(**canaries), used))
    for name, form, one, other in KEYS:
        if name == scheme:
            used = {"a": one} | ({"b": other} if other else {})
            made.append(Baited(scheme, form.format(a=one, b=other), used))
    return made


def test_nearly_every_service_has_a_url_full_of_canaries() -> None:
    without = {scheme for scheme in services() if not baited(scheme)}

    assert without <= PICKY
    assert {scheme for scheme in without if not urls(scheme)} <= NEEDS_A_LIBRARY
    assert len(services()) > 150


@pytest.mark.parametrize("scheme", [name for name, *_ in KEYS])
def test_a_key_made_by_hand_is_one_that_its_service_takes(scheme: str) -> None:
    for one in urls(scheme):
        url = one.url.format(here="sink.example.com", port=8080)
        destination = Destination(name="ops", url=url, zone=ZoneInfo("UTC"))

        registry.load(scheme_of(destination.url), destination, read_timeout_s=1)


@pytest.mark.parametrize("scheme", sorted(services()))
def test_every_canary_is_known_however_it_is_encoded(scheme: str) -> None:
    for one in urls(scheme):
        url = one.url.format(here="sink.example.com", port=8080)
        hidden = secrets_of_url(url)
        texts = [url, f"cannot post to {url}: refused"]
        for canary in one.canaries.values():
            texts.append(f"of {canary}, and no other")
            texts += [
                base64.b64encode(before + canary.encode() + b":x").decode()
                for before in (b"", b"u", b"me", b"ann:")
            ]

        for text in texts:
            assert found(one.canaries, redact(text, hidden)) == []


@contextmanager
def listening() -> Iterator[io.StringIO]:
    """Everything that any library logs, down to the last detail."""
    heard = io.StringIO()
    handler = logging.StreamHandler(heard)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield heard
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


async def sent(url: str, proxy: Gateway, *, limit_s: float = 3) -> Outcome:
    sender = await open_sender(
        [Destination(name="ops", url=url, zone=ZoneInfo("UTC"))],
        output=io.StringIO(),
        clock=SystemClock(),
        trust=proxy.trust,
        may_reach=anywhere,
        attempt_limit=timedelta(seconds=limit_s),
    )
    try:
        return await sender.send("ops", MESSAGE)
    finally:
        await sender.aclose()


def said(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return ""
        case Failed(reason=reason) | Refused(reason=reason) | Ambiguous(reason=reason):
            return reason


@pytest.mark.parametrize(
    "scheme",
    [
        scheme
        for scheme, kind in sorted(services().items())
        if registry.protocol_of(kind) is registry.WireProtocol.HTTP
    ],
)
async def test_no_fault_of_a_service_shows_a_canary(
    scheme: str, proxy: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    for one in urls(scheme):
        url = one.url.format(here="sink.example.com", port=8080)
        for fault in FAULTS:
            proxy.status = fault
            with listening() as heard:
                outcome = await sent(url, proxy)

            assert found(one.canaries, said(outcome)) == [], outcome
            assert found(one.canaries, heard.getvalue()) == []
    shown = "".join(capfd.readouterr())
    assert all(found(one.canaries, shown) == [] for one in urls(scheme))


@pytest.mark.parametrize(
    "scheme",
    [
        scheme
        for scheme, kind in sorted(services().items())
        if registry.protocol_of(kind) is registry.WireProtocol.HTTP
    ],
)
async def test_no_time_limit_shows_a_canary(
    scheme: str, proxy: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    for one in urls(scheme)[:1]:
        url = one.url.format(here="sink.example.com", port=8080)
        for fault in ENDLESS:
            proxy.status = fault
            with listening() as heard:
                outcome = await sent(url, proxy, limit_s=0.05)

            assert found(one.canaries, said(outcome) + heard.getvalue()) == []
            # Nothing arrived, so nothing may be settled as sent.
            assert not isinstance(outcome, Sent), fault
        shown = "".join(capfd.readouterr())
        assert found(one.canaries, shown) == []


@pytest.mark.parametrize("reply", ["451", "535", "550"])
async def test_a_mail_server_that_quotes_a_login_betrays_nothing(
    reply: str, proxy: Gateway
) -> None:
    user, password, target = "canaryuser", "canarypassword", "canarytarget@example.com"
    plain = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
    with smtp_sink() as server:
        server.on_sender(f"{reply} {user} {password} {plain}")
        url = f"mailto://{user}:{password}@{server.netloc}/{target}?from=a@b.example"
        with listening() as heard:
            outcome = await sent(url, proxy)

    canaries = {"user": user, "password": password, "target": target}
    assert not isinstance(outcome, Sent)
    assert found(canaries, said(outcome) + heard.getvalue()) == []


@pytest.mark.parametrize(
    "scheme",
    [
        scheme
        for scheme, kind in sorted(services().items())
        if registry.protocol_of(kind) is not registry.WireProtocol.HTTP
    ],
)
async def test_nobody_there_shows_no_canary(scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    for one in urls(scheme):
        url = one.url.format(here="sink.localhost", port=closed_port())
        with listening() as heard:
            sender = await open_sender(
                [Destination(name="ops", url=url, zone=ZoneInfo("UTC"))],
                output=io.StringIO(),
                clock=SystemClock(),
                may_reach=lambda _: False,
                attempt_limit=timedelta(seconds=3),
            )
            outcome = await sender.send("ops", MESSAGE)
            await sender.aclose()

        shown = said(outcome) + heard.getvalue() + "".join(capfd.readouterr())
        assert found(one.canaries, shown) == []


@pytest.mark.parametrize("scheme", [*sorted(services()), "webhooks", "nonsense"])
async def test_a_url_that_cannot_be_used_is_not_shown(
    scheme: str, capfd: pytest.CaptureFixture[str]
) -> None:
    canaries = {"it": "canary4711"}
    broken = [
        f"{scheme}://canary4711",
        f"{scheme}://canary4711:canary4711@/canary4711?canary4711",
        f"{scheme}://sink.example.com:canary4711/",
        f"{scheme}://sink.example.com/?canary4711",
        f"{scheme}://sink.example.com/?%2Bcanary4711",
        f"{scheme}://sink.example.com/?%2BAuthorization: Bearer canary4711",
        f"{scheme}://sink.example.com/?secret=canary4711&verify=canary4711",
        f"{scheme}://sink.example.com/?format=canary4711&mode=canary4711",
        f"{scheme}://canary4711 canary4711\\canary4711",
    ]
    for url in broken:
        with listening() as heard:
            try:
                sender = await open_sender(
                    [Destination(name="ops", url=url, zone=ZoneInfo("UTC"))],
                    output=io.StringIO(),
                    clock=SystemClock(),
                )
            except ConfigError as exc:
                words = str(exc)
            else:
                await sender.aclose()
                words = ""

        shown = words + heard.getvalue() + "".join(capfd.readouterr())
        assert found(canaries, shown) == [], (url, shown)


class Crashing(NotifyBase):
    """A plugin that stumbles, and tells everything."""

    service_name = "Crashing"
    service_url = "https://example.com/"
    protocol = "canarycrash"
    templates = ("{schema}://{host}",)

    def send(self, *_args: object, **_kwargs: object) -> bool:
        """Fail as plugins do."""
        self.logger.error("cannot post to %s", self.password)
        raise KeyError(f"{self.user}:{self.password}")

    def url(self, *_args: object, **_kwargs: object) -> str:
        """Nothing."""
        return "canarycrash://"


async def test_a_plugin_that_crashes_betrays_nothing(
    proxy: Gateway, capfd: pytest.CaptureFixture[str]
) -> None:
    canaries = {"user": "canaryuser", "password": "canarypassword"}
    NotificationManager().add(Crashing, force=True)
    try:
        with listening() as heard:
            outcome = await sent("canarycrash://canaryuser:canarypassword@host", proxy)
    finally:
        NotificationManager().remove("canarycrash")

    assert outcome == Failed(reason="KeyError in the service's plugin")
    assert found(canaries, heard.getvalue() + "".join(capfd.readouterr())) == []
