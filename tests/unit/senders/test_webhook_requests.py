"""What a webhook's receiver gets."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from sending import rendered
from standardwebhooks import Webhook, WebhookVerificationError

from notifier.domain.live_status import LiveData, Status
from notifier.domain.models import Change, CloudEvent, Rendered
from notifier.errors import DestinationError
from notifier.senders.webhook import WebhookRequest, build_request, parse_url

NOW = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
RAW = b'{"id": "m-1",  "title":"Bears","odd_key":{"n":1.50},"u":"\\u00e9"}'
NEW = "whsec_" + base64.b64encode(b"the new secret, long").decode()
OLD = "whsec_" + base64.b64encode(b"the old secret, long").decode()
EVENT = CloudEvent(
    id="evt_A",
    type="kalshi.milestone.updated",
    subject="m-1",
    time=NOW,
    title="Bears at Packers",
    message="moved",
    changes=(),
    milestone=RAW,
    supersedes=(),
    test=False,
)


def request(
    *events: CloudEvent,
    url: str = "webhook://h.example/in",
    now: datetime | None = None,
    digest: bool = False,
) -> WebhookRequest:
    return posted(rendered("msg_S", events=events, digest=digest), url, now=now)


def posted(message: Rendered, url: str, *, now: datetime | None = None) -> WebhookRequest:
    return build_request(parse_url(url), message, now=now or datetime.now(UTC))


def data(event: CloudEvent) -> object:
    return json.loads(request(event).body)["data"]


def test_one_event_is_one_cloud_event_to_the_letter() -> None:
    change = Change(field="start_date", before="2026-11-22T12:00:00Z", after=None)

    sent = request(replace(EVENT, changes=(change,)))

    assert sent.headers["content-type"] == "application/cloudevents+json"
    assert RAW in sent.body  # the very bytes that Kalshi sent
    assert json.loads(sent.body) == {
        "specversion": "1.0",
        "id": "evt_A",
        "source": "kalshi/milestones",
        "type": "kalshi.milestone.updated",
        "subject": "m-1",
        "time": "2026-11-22T18:00:00Z",
        "datacontenttype": "application/json",
        "data": {
            "title": "Bears at Packers",
            "message": "moved",
            "changes": [{"field": "start_date", "before": "2026-11-22T12:00:00Z", "after": None}],
            "milestone": json.loads(RAW),
        },
    }


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (EVENT, {"changes": [], "milestone": json.loads(RAW)}),
        (replace(EVENT, milestone=b""), {"changes": [], "milestone": None}),
        (
            replace(EVENT, milestone=b"", supersedes=("evt_1", "evt_2"), test=True),
            {"changes": [], "milestone": None, "supersedes": ["evt_1", "evt_2"], "test": True},
        ),
        (
            replace(
                EVENT,
                milestone=b"",
                live=LiveData(status=Status.LIVE, word="halftime", since=NOW, checked_at=NOW),
            ),
            {
                "changes": [],
                "milestone": None,
                "live": {
                    "status": "live",
                    "word": "halftime",
                    "since": "2026-11-22T18:00:00Z",
                    "checked_at": "2026-11-22T18:00:00Z",
                },
            },
        ),
        (
            replace(EVENT, milestone=b"", subject="suspended:ops", since=NOW),
            {"condition": "suspended:ops", "since": "2026-11-22T18:00:00Z"},
        ),
    ],
    ids=["plain", "lost bytes", "net change and test", "live data", "to the operator"],
)
def test_the_data_of_an_event(event: CloudEvent, expected: dict[str, object]) -> None:
    assert data(event) == {"title": "Bears at Packers", "message": "moved", **expected}


def test_ticker_changes_say_what_was_added_and_removed() -> None:
    change = Change(
        field="primary_event_tickers",
        before=("A",),
        after=("B", MappingProxyType({"deep": 1})),
        added=("B",),
        removed=("A",),
    )

    sent = json.loads(request(replace(EVENT, changes=(change,))).body)

    assert sent["data"]["changes"] == [
        {
            "field": "primary_event_tickers",
            "before": ["A"],
            "after": ["B", {"deep": 1}],
            "added": ["B"],
            "removed": ["A"],
        }
    ]


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (NOW + timedelta(microseconds=250_000), "2026-11-22T18:00:00.250000Z"),
        (NOW.astimezone(timezone(timedelta(hours=-5))), "2026-11-22T18:00:00Z"),
    ],
)
def test_instants_are_utc_and_end_in_z(at: datetime, text: str) -> None:
    assert json.loads(request(replace(EVENT, time=at)).body)["time"] == text


@pytest.mark.parametrize(("count", "digest"), [(1, True), (3, True), (2, False)])
def test_a_digest_and_several_events_are_a_batch(count: int, digest: bool) -> None:
    events = [replace(EVENT, id=f"evt_{n}") for n in range(count)]

    sent = request(*events, digest=digest)

    assert sent.headers["content-type"] == "application/cloudevents-batch+json"
    assert [one["id"] for one in json.loads(sent.body)] == [one.id for one in events]


def test_a_text_about_no_milestone_is_a_notice() -> None:
    sent = posted(rendered("msg_N", title="T", body="B"), "webhook://h.example", now=NOW)

    assert json.loads(sent.body) == {
        "specversion": "1.0",
        "id": "msg_N",
        "source": "kalshi/milestones",
        "type": "kalshi.milestone.notice",
        "time": "2026-11-22T18:00:00Z",
        "datacontenttype": "application/json",
        "data": {"title": "T", "message": "B"},
    }


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_each_secret_signs_the_body(secret: str) -> None:
    sent = request(EVENT, url=f"webhooks://h.example/in?secret={NEW},{OLD}")

    Webhook(secret).verify(sent.body, dict(sent.headers))
    assert len(sent.headers["webhook-signature"].split(" ")) == 2
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(sent.body + b" ", dict(sent.headers))


def test_a_secret_may_hold_what_base64_holds() -> None:
    key = b"\xfb\xff\xfe" * 8
    encoded = base64.b64encode(key).decode()
    assert {"+", "/"} <= set(encoded)

    sent = request(url=f"webhooks://h.example/?secret=whsec_{encoded}")

    Webhook(key).verify(sent.body, dict(sent.headers))


def test_each_attempt_has_its_own_time_and_the_same_id() -> None:
    first = NOW + timedelta(milliseconds=900)
    url = f"webhooks://h.example/in?secret={NEW}"

    one, two = (request(EVENT, url=url, now=first + timedelta(seconds=s)) for s in (0, 5))

    assert one.headers["webhook-timestamp"] == str(int(first.timestamp()))
    assert int(two.headers["webhook-timestamp"]) == int(first.timestamp()) + 5
    assert one.headers["webhook-id"] == two.headers["webhook-id"] == "msg_S"
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]
    assert one.body == two.body


def test_without_a_secret_there_is_no_signature() -> None:
    headers = request(EVENT).headers

    assert {"webhook-id", "webhook-timestamp"} <= set(headers)
    assert "webhook-signature" not in headers


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("webhook://h.example", "http://h.example/"),
        ("webhooks://h.example:8443/a/b", "https://h.example:8443/a/b"),
        ("WEBHOOKS://h.example/", "https://h.example/"),
        ("webhook://[::1]:8080/x", "http://[::1]:8080/x"),
        ("webhook://u:p@h.example/x?verify=no", "http://h.example/x"),
        ("webhook://h.example/x?-a=1&-b=%2F%26", "http://h.example/x?a=1&b=%2F%26"),
    ],
)
def test_a_url_names_its_target(url: str, target: str) -> None:
    assert parse_url(url).url == target
    assert parse_url(url).verify == ("verify=no" not in url)


def test_headers_and_logins_of_the_url_are_sent() -> None:
    headers = request(
        url="webhook://ann:p%3Aw@h.example/?+X-Key=a+b%20c&%2BAccept-Language=en"
    ).headers

    assert headers["x-key"] == "a+b c"
    assert headers["accept-language"] == "en"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"ann:p:w").decode()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("webhook://", "no host"),
        ("webhook:///path", "no host"),
        ("webhook://user:hush@", "no host"),
        ("webhook://h.example:http/", "port"),
        ("webhook://h.example:70000/", "port"),
        ("webhook://h.example/?secret=hush", "whsec_"),
        ("webhook://h.example/?secret=whsec_", "whsec_"),
        ("webhook://h.example/?secret=whsec_hush!", "whsec_"),
        ("webhook://h.example/?secret=", "whsec_"),
        ("webhook://h.example/?verify=maybe", "yes or no"),
        ("webhook://h.example/?token=hush", "unknown option 'token'"),
        ("webhook://h.example/?hush", "no value"),
        ("webhook://h.example/?+X-Key=hush%0Ax", "x-key"),
        ("webhook://h.example/?+X%20Key=hush", "no name"),
        ("webhook://h.example/?+Webhook-Id=hush", "itself"),
        ("webhook://h.example/?+Content-Length=1", "itself"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_no_secret(url: str, says: str) -> None:
    with pytest.raises(DestinationError, match=says) as caught:
        parse_url(url)

    assert "hush" not in str(caught.value)


def test_a_target_shows_nothing_when_printed() -> None:
    shown = repr(parse_url(f"webhooks://u:hush@h.example/tok?secret={NEW}&+K=hush"))

    assert not any(secret in shown for secret in ("hush", "tok", NEW[6:]))
