"""
What we rely on in Apprise, requests and smtplib beyond their documentation.

When an upgrade breaks one of these, the seam must be looked at before anything
else: what fails here fails in production without a word.
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
from servers.http_sink import Answer as Step
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
from notifier.senders.sender import scheme_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


@pytest.fixture
def wire() -> Iterator[apprise_http.HttpConnections]:
    apprise_http.install()
    made = apprise_http.HttpConnections(authority().client)
    yield made
    made.close()


def test_requests_asks_for_its_session_where_we_put_ours(
    sink: HttpSink, wire: apprise_http.HttpConnections
) -> None:
    recorder = AttemptRecord()

    with recording(recorder), apprise_http.through(wire):
        requests.post(sink.url("/a"), data=b"x", timeout=3)
        requests.get(sink.url("/b"), timeout=3)

    assert recorder.observations == [
        HttpAnswer(status=200, body=b"ok"),
        HttpAnswer(status=200, body=b"ok"),
    ]
    assert recorder.phase is Phase.IDLE
    assert sink.connections == 1


def test_requests_outside_of_an_attempt_are_as_ever(sink: HttpSink) -> None:
    apprise_http.install()
    recorder = AttemptRecord()

    answer = requests.get(sink.url("/a"), timeout=3)
    requests.get(sink.url("/a"), timeout=3)

    assert answer.text == "ok"
    assert recorder.observations == []
    assert sink.connections == 2


def test_a_gigantic_answer_is_not_read_whole(
    sink: HttpSink, wire: apprise_http.HttpConnections
) -> None:
    sink.answer("/", Step(500, b"x" * 8_000_000))

    with recording(AttemptRecord()), apprise_http.through(wire):
        answer = requests.post(sink.url(), data=b"x", timeout=3)

    assert apprise_http.BODY_CAP <= len(answer.content) < 2 * apprise_http.BODY_CAP


def test_urllib3_shares_our_tls_context(wire: apprise_http.HttpConnections) -> None:
    with http_sink(tls=authority()) as sink:
        with recording(AttemptRecord()), apprise_http.through(wire):
            for _ in range(3):
                requests.post(sink.url(), data=b"x", timeout=3)

        [pool] = wire.poolmanager.pools._container.values()
        assert pool.conn_kw["ssl_context"] is authority().client
        assert vars(pool)["ca_certs"] is None
        assert sink.connections == 1


def test_an_attempt_that_was_cut_sends_nothing_more(
    sink: HttpSink, wire: apprise_http.HttpConnections
) -> None:
    recorder = AttemptRecord()
    recorder.abort()

    with (
        recording(recorder),
        apprise_http.through(wire),
        pytest.raises(requests.RequestException),
    ):
        requests.post(sink.url(), data=b"x", timeout=3)

    assert sink.requests == []


def test_the_mail_plugin_asks_for_its_controller_where_we_put_ours() -> None:
    apprise_smtp.install()
    pool = apprise_smtp.SmtpPool(tls=authority().client, unverified=authority().client)
    recorder, marks = AttemptRecord(), DeliveredRecipients("salt", "msg_ONE", frozenset())
    with smtp_sink() as sink:
        plugin = Apprise.instantiate(
            f"mailto://{sink.netloc}?from=us@example.com&to=ann@example.com"
        )
        assert isinstance(plugin, NotifyBase)

        with recording(recorder), apprise_smtp.through(pool, marks):
            assert plugin.notify(body="hello")
        pool.close()

    assert [one for one in recorder.observations if isinstance(one, SmtpReply)] != []
    assert marks.has("ann@example.com", "ann@example.com")
    assert len(marks.marks) == 1


def test_the_controller_is_called_with_the_names_that_we_take() -> None:
    theirs = set(inspect.signature(AppriseSMTPController.__init__).parameters)

    assert theirs - {"self"} == set(apprise_smtp.SmtpServer.__dataclass_fields__)
    assert "AppriseSMTPController(" in inspect.getsource(apprise.plugins.email.base)


def test_apprise_still_remembers_whom_it_served() -> None:
    base = apprise.plugins.base

    assert isinstance(base._delivery_tracker, ContextVar)
    assert base._delivery_tracker.get() is None
    assert "_delivery_tracker.get()" in inspect.getsource(NotifyBase.is_delivered)


def test_apprise_asks_and_tells_our_tracker_by_type_and_text() -> None:
    plugin = registry.load("json", destination("json://127.0.0.1"), read_timeout_s=9)
    marks = DeliveredRecipients("salt", "msg_ONE", frozenset())
    token = apprise.plugins.base._delivery_tracker.set(
        DeliveryTracker(marks, is_confirmed=lambda: True)  # type: ignore[arg-type] # a set of ours
    )

    try:
        plugin.mark_delivered(("message", "#one"))
        plugin.mark_delivered(object())
        known = [plugin.is_delivered(("message", one)) for one in ("#one", "#two")]
    finally:
        apprise.plugins.base._delivery_tracker.reset(token)

    assert known == [True, False]
    assert marks.has("0", "tuple", "('message', '#one')")
    assert len(marks.marks) == 1


def test_the_plugins_that_are_loaded_alone_are_those_that_apprise_would_load() -> None:
    known = NotificationManager()  # type: ignore[no-untyped-call] # untyped in Apprise

    for scheme, (module, name) in registry.COMMON.items():
        kind = known[scheme]
        assert kind.__name__ == name
        assert kind.__module__.startswith(module)


def test_a_plugins_waiting_and_redirects_are_where_we_turn_them_off() -> None:
    plugin = registry.load("json", destination("json://127.0.0.1"), read_timeout_s=9)

    assert "self.throttle" in inspect.getsource(type(plugin).send)
    assert "self.redirects" in inspect.getsource(type(plugin).send)
    assert plugin.throttle is registry._no_throttle
    assert plugin.redirects is False
    assert plugin.request_timeout == (4.0, 9)


@pytest.mark.parametrize(
    ("url", "medium"),
    [
        ("json://127.0.0.1", registry.WireProtocol.HTTP),
        ("matrix://me:pw@127.0.0.1/%23room", registry.WireProtocol.HTTP),
        ("mailto://127.0.0.1?from=a@b.example", registry.WireProtocol.SMTP),
        ("rsyslog://127.0.0.1", registry.WireProtocol.OTHER),
    ],
)
def test_every_plugin_is_watched_by_its_seam(url: str, medium: registry.WireProtocol) -> None:
    plugin = registry.load(scheme_of(url), destination(url), read_timeout_s=9)

    assert registry.protocol_of(type(plugin)) is medium
