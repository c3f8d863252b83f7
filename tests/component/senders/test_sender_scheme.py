"""Our webhook as a plugin for Apprise alone."""

import base64
import json
from collections.abc import Iterator

import pytest
from apprise import Apprise
from sending import rendered
from servers.http_sink import Answer, HttpSink, http_sink
from standardwebhooks import Webhook
from test_sender_webhook import cloud_event

from notifier.senders.scheme import NotifyWebhook, announced, register

SECRET = "whsec_" + base64.b64encode(b"a secret that signs").decode()


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    register()
    with http_sink() as running:
        yield running


def one(url: str) -> Apprise:
    services = Apprise()
    assert services.add(url)
    return services


def test_apprise_sends_a_text_as_a_signed_notice(sink: HttpSink) -> None:
    services = one(f"webhook://{sink.netloc}/in?secret={SECRET}&+X-Key=k")

    assert services.notify(title="T", body="B")

    [received] = sink.requests
    Webhook(SECRET).verify(received.body, dict(received.headers))
    assert received.headers["x-key"] == "k"
    assert json.loads(received.body)["data"] == {"title": "T", "message": "B"}


def test_an_announced_message_goes_as_its_cloud_event(sink: HttpSink) -> None:
    token = announced.set(rendered("msg_A", events=(cloud_event("evt_A"),)))
    try:
        assert one(f"webhook://{sink.netloc}/in").notify(body="B")
    finally:
        announced.reset(token)

    [received] = sink.requests
    assert received.headers["webhook-id"] == "msg_A"
    assert json.loads(received.body)["id"] == "evt_A"


@pytest.mark.parametrize(
    "step", [Answer(500), Answer(302, headers={"Location": "/x"}), Answer(410)]
)
def test_anything_but_a_2xx_is_a_failure(sink: HttpSink, step: Answer) -> None:
    sink.answer("/in", step)

    assert not one(f"webhook://{sink.netloc}/in").notify(body="B")


def test_a_bad_url_is_not_added(sink: HttpSink) -> None:
    assert not Apprise().add(f"webhook://{sink.netloc}/?secret=nope")


def test_its_url_makes_the_same_again_and_tells_nothing() -> None:
    register()
    url = f"webhooks://u:hush@h.example/in?secret={SECRET}"

    [plugin] = one(url)

    assert isinstance(plugin, NotifyWebhook)
    assert plugin.url() == url
    assert plugin.url(privacy=True) == "webhooks://***"
    assert len(one(plugin.url())) == 1


def test_it_may_be_registered_again() -> None:
    register()
    register()

    details = Apprise().details()["schemas"]
    assert [one["service_name"] for one in details].count("Standard Webhook") == 1
