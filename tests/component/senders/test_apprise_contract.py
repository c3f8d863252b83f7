"""
What we rely on in Apprise, requests and smtplib beyond their documentation.

When an upgrade breaks one of these, look at apprise_http, apprise_smtp and
apprise_channel before anything else: what fails here fails silently in production.
"""

import inspect
from collections.abc import Iterator
from contextvars import ContextVar

import apprise.plugins.base
import apprise.plugins.email.base
import pytest
import requests
from apprise import Apprise, NotifyBase
from apprise.manager_plugins import NotificationManager
from apprise.plugins.email.smtp import AppriseSMTPController
from sending import authority, destination
from servers.http_sink import HttpSink, http_sink
from servers.smtp_sink import smtp_sink

from notifier.senders import apprise_http, apprise_smtp, registry
from notifier.senders.apprise_channel import DeliveryTracker
from notifier.senders.attempt import (
    AttemptRecord,
    DeliveredRecipients,
    HttpAnswer,
    Phase,
    SmtpReply,
    recording,
)
from notifier.senders.registry import WireProtocol
from notifier.senders.sender import scheme_of


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


@pytest.fixture
def connections() -> Iterator[apprise_http.HttpConnections]:
    apprise_http.install()
    opened = apprise_http.HttpConnections(authority().client)
    yield opened
    opened.close()


def plugin_of(url: str) -> NotifyBase:
    return registry.load(scheme_of(url), destination(url), read_timeout_s=9)


def test_requests_uses_our_session_and_connections(
    sink: HttpSink, connections: apprise_http.HttpConnections
) -> None:
    record = AttemptRecord()

    with recording(record), apprise_http.through(connections):
        requests.post(sink.url("/a"), data=b"x", timeout=3)
        requests.get(sink.url("/b"), timeout=3)

    assert record.observations == [HttpAnswer(status=200, body=b"ok")] * 2
    assert record.phase is Phase.IDLE
    assert sink.connections == 1


def test_requests_outside_of_an_attempt_are_as_usual(sink: HttpSink) -> None:
    apprise_http.install()

    answers = [requests.get(sink.url("/a"), timeout=3) for _ in range(2)]

    assert [one.text for one in answers] == ["ok", "ok"]
    assert sink.connections == 2


def test_urllib3_shares_our_tls_context(connections: apprise_http.HttpConnections) -> None:
    with http_sink(tls=authority()) as sink:
        with recording(AttemptRecord()), apprise_http.through(connections):
            for _ in range(3):
                requests.post(sink.url(), data=b"x", timeout=3)

        [pool] = connections.poolmanager.pools._container.values()
        assert pool.conn_kw["ssl_context"] is authority().client
        assert vars(pool)["ca_certs"] is None
        assert sink.connections == 1


def test_an_aborted_attempt_sends_nothing_more(
    sink: HttpSink, connections: apprise_http.HttpConnections
) -> None:
    record = AttemptRecord()
    record.abort()

    with (
        recording(record),
        apprise_http.through(connections),
        pytest.raises(requests.RequestException),
    ):
        requests.post(sink.url(), data=b"x", timeout=3)

    assert sink.requests == []


def test_the_mail_plugin_uses_our_controller() -> None:
    apprise_smtp.install()
    pool = apprise_smtp.SmtpPool(tls=authority().client, unverified=authority().client)
    record, recipients = AttemptRecord(), DeliveredRecipients("salt", "msg_ONE", frozenset())
    with smtp_sink() as sink:
        plugin = Apprise.instantiate(
            f"mailto://{sink.netloc}?from=us@example.com&to=ann@example.com"
        )
        assert isinstance(plugin, NotifyBase)

        with recording(record), apprise_smtp.through(pool, recipients):
            assert plugin.notify(body="hello")
        pool.close()

    assert any(isinstance(one, SmtpReply) for one in record.observations)
    assert recipients.has("ann@example.com", "ann@example.com")
    assert len(recipients.marks) == 1


def test_the_controller_is_called_with_the_names_that_we_take() -> None:
    theirs = set(inspect.signature(AppriseSMTPController.__init__).parameters)

    assert theirs - {"self"} == set(apprise_smtp.SmtpServer.__dataclass_fields__)
    assert "AppriseSMTPController(" in inspect.getsource(apprise.plugins.email.base)


def test_apprise_consults_our_tracker_by_type_and_text() -> None:
    tracker = apprise.plugins.base._delivery_tracker
    assert isinstance(tracker, ContextVar)
    assert tracker.get() is None
    plugin = plugin_of("json://127.0.0.1")
    recipients = DeliveredRecipients("salt", "msg_ONE", frozenset())
    token = tracker.set(
        DeliveryTracker(recipients, is_confirmed=lambda: True)  # type: ignore[arg-type] # in place of a set
    )

    try:
        plugin.mark_delivered(("message", "#one"))
        plugin.mark_delivered(object())
        delivered = [plugin.is_delivered(("message", one)) for one in ("#one", "#two")]
    finally:
        tracker.reset(token)

    assert delivered == [True, False]
    assert recipients.has("0", "tuple", "('message', '#one')")
    assert len(recipients.marks) == 1


def test_the_plugins_that_are_loaded_alone_are_those_that_apprise_would_load() -> None:
    known = NotificationManager()  # type: ignore[no-untyped-call] # untyped in Apprise

    for scheme, (module, name) in registry.COMMON.items():
        kind = known[scheme]
        assert kind.__name__ == name
        assert kind.__module__.startswith(module)


def test_a_plugins_throttle_and_redirects_are_turned_off_where_it_reads_them() -> None:
    plugin = plugin_of("json://127.0.0.1")

    assert "self.throttle" in inspect.getsource(type(plugin).send)
    assert "self.redirects" in inspect.getsource(type(plugin).send)
    assert plugin.throttle is registry._no_throttle
    assert plugin.redirects is False
    assert plugin.request_timeout == (4.0, 9)


@pytest.mark.parametrize(
    ("url", "protocol"),
    [
        ("json://127.0.0.1", WireProtocol.HTTP),
        ("matrix://me:pw@127.0.0.1/%23room", WireProtocol.HTTP),
        ("mailto://127.0.0.1?from=a@b.example", WireProtocol.SMTP),
        ("rsyslog://127.0.0.1", WireProtocol.OTHER),
    ],
)
def test_the_protocol_of_a_plugin_is_recognised(url: str, protocol: WireProtocol) -> None:
    assert registry.protocol_of(type(plugin_of(url))) is protocol
