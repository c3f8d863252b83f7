"""What a webhook's receiver gets. Pure: nothing is sent here."""

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

RAW = b'{"id": "m-1",  "title":"Bears","odd_key":{"n":1.50},"u":"\\u00e9"}'
NEW = "whsec_" + base64.b64encode(b"the new secret, long").decode()
OLD = "whsec_" + base64.b64encode(b"the old secret, long").decode()


def cloud_event(
    event_id: str = "evt_A",
    *,
    time: datetime = datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
    changes: tuple[Change, ...] = (),
    milestone: bytes = RAW,
    supersedes: tuple[str, ...] = (),
    test: bool = False,
) -> CloudEvent:
    return CloudEvent(
        id=event_id,
        type="kalshi.milestone.updated",
        subject="m-1",
        time=time,
        title="Bears at Packers",
        message="moved",
        changes=changes,
        milestone=milestone,
        supersedes=supersedes,
        test=test,
    )


def built(
    message: Rendered,
    url: str = "webhook://h.example/in",
    *,
    now: datetime | None = None,
) -> WebhookRequest:
    return build_request(parse_url(url), message, now=now or datetime.now(UTC))


def test_a_word_to_the_operator_is_a_cloud_event_about_no_milestone() -> None:
    event = replace(
        cloud_event("ntc_A", milestone=b""),
        type="notifier.operator.raised",
        subject="suspended:ops",
        since=datetime(2026, 11, 22, 17, 54, tzinfo=UTC),
    )

    sent = json.loads(built(rendered(events=(event,))).body)

    assert (sent["id"], sent["type"]) == ("ntc_A", "notifier.operator.raised")
    assert sent["data"] == {
        "title": "Bears at Packers",
        "message": "moved",
        "condition": "suspended:ops",
        "since": "2026-11-22T17:54:00Z",
    }


def test_one_event_is_one_cloud_event_to_the_letter() -> None:
    change = Change(field="start_date", before="2026-11-22T12:00:00Z", after=None)

    sent = built(rendered(events=(cloud_event(changes=(change,)),)))

    assert sent.headers["content-type"] == "application/cloudevents+json"
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


def test_the_milestone_is_the_very_bytes_that_kalshi_sent() -> None:
    assert RAW in built(rendered(events=(cloud_event(),))).body


def test_ticker_changes_say_what_was_added_and_removed() -> None:
    change = Change(
        field="primary_event_tickers",
        before=("A",),
        after=("B", MappingProxyType({"deep": 1})),
        added=("B",),
        removed=("A",),
    )

    sent = built(rendered(events=(cloud_event(changes=(change,)),)))

    assert json.loads(sent.body)["data"]["changes"] == [
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
        (datetime(2026, 11, 22, 18, 0, tzinfo=UTC), "2026-11-22T18:00:00Z"),
        (
            datetime(2026, 11, 22, 18, 0, 0, 250_000, tzinfo=UTC),
            "2026-11-22T18:00:00.250000Z",
        ),
        (
            datetime(2026, 11, 22, 13, 0, tzinfo=timezone(timedelta(hours=-5))),
            "2026-11-22T18:00:00Z",
        ),
    ],
)
def test_instants_are_utc_and_end_in_z(at: datetime, text: str) -> None:
    sent = built(rendered(events=(cloud_event(time=at),)))

    assert json.loads(sent.body)["time"] == text


def test_a_net_change_names_what_it_supersedes_and_a_test_says_so() -> None:
    event = cloud_event(supersedes=("evt_1", "evt_2"), test=True)

    data = json.loads(built(rendered(events=(event,))).body)["data"]

    assert data["supersedes"] == ["evt_1", "evt_2"]
    assert data["test"] is True


def test_what_live_data_says_comes_with_when_it_said_so() -> None:
    at = datetime(2026, 11, 22, 18, 0, tzinfo=UTC)
    live = LiveData(status=Status.LIVE, word="halftime", since=at, checked_at=at)
    event = replace(cloud_event(), live=live)

    data = json.loads(built(rendered(events=(event,))).body)["data"]

    assert data["live"] == {
        "status": "live",
        "word": "halftime",
        "since": "2026-11-22T18:00:00Z",
        "checked_at": "2026-11-22T18:00:00Z",
    }
    plain = json.loads(built(rendered(events=(cloud_event(),))).body)["data"]
    assert "live" not in plain


@pytest.mark.parametrize("count", [1, 3])
def test_a_digest_is_a_batch_even_of_one(count: int) -> None:
    events = tuple(cloud_event(f"evt_{n}") for n in range(count))

    sent = built(rendered(events=events, digest=True))

    assert sent.headers["content-type"] == "application/cloudevents-batch+json"
    assert [one["id"] for one in json.loads(sent.body)] == [one.id for one in events]


def test_several_events_are_a_batch_whatever_the_flag_says() -> None:
    sent = built(rendered(events=(cloud_event("evt_1"), cloud_event("evt_2"))))

    assert len(json.loads(sent.body)) == 2


def test_a_text_about_no_milestone_is_a_notice() -> None:
    now = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

    sent = built(rendered("msg_N", title="T", body="B"), now=now)

    assert json.loads(sent.body) == {
        "specversion": "1.0",
        "id": "msg_N",
        "source": "kalshi/milestones",
        "type": "kalshi.milestone.notice",
        "time": "2026-11-22T12:00:00Z",
        "datacontenttype": "application/json",
        "data": {"title": "T", "message": "B"},
    }


def test_a_milestone_whose_bytes_were_lost_is_null() -> None:
    sent = built(rendered(events=(cloud_event(milestone=b""),)))

    assert json.loads(sent.body)["data"]["milestone"] is None


@pytest.mark.parametrize("secret", [NEW, OLD])
def test_every_secret_signs_so_that_one_may_be_changed_for_another(secret: str) -> None:
    url = f"webhooks://h.example/in?secret={NEW},{OLD}"

    sent = built(rendered("msg_S", events=(cloud_event(),)), url)

    Webhook(secret).verify(sent.body, dict(sent.headers))
    assert sent.headers["webhook-id"] == "msg_S"
    assert len(sent.headers["webhook-signature"].split(" ")) == 2


def test_a_changed_body_does_not_verify() -> None:
    url = f"webhooks://h.example/in?secret={NEW}"

    sent = built(rendered(events=(cloud_event(),)), url)

    with pytest.raises(WebhookVerificationError):
        Webhook(NEW).verify(sent.body + b" ", dict(sent.headers))


def test_each_attempt_has_its_own_time_and_the_same_id() -> None:
    message = rendered("msg_S", events=(cloud_event(),))
    first = datetime(2026, 11, 22, 12, 0, 0, 900_000, tzinfo=UTC)

    one = built(message, f"webhooks://h.example/in?secret={NEW}", now=first)
    two = built(
        message,
        f"webhooks://h.example/in?secret={NEW}",
        now=first + timedelta(seconds=5),
    )

    assert one.headers["webhook-timestamp"] == str(int(first.timestamp()))
    assert int(two.headers["webhook-timestamp"]) == int(first.timestamp()) + 5
    assert one.headers["webhook-id"] == two.headers["webhook-id"] == "msg_S"
    assert one.headers["webhook-signature"] != two.headers["webhook-signature"]
    assert one.body == two.body


def test_without_a_secret_there_is_an_id_and_a_time_but_no_signature() -> None:
    sent = built(rendered("msg_S", events=(cloud_event(),)))

    assert sent.headers["webhook-id"] == "msg_S"
    assert "webhook-timestamp" in sent.headers
    assert "webhook-signature" not in sent.headers


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


def test_headers_and_logins_of_the_url_are_sent() -> None:
    url = "webhook://ann:p%3Aw@h.example/?+X-Key=a+b%20c&%2BAccept-Language=en"

    headers = built(rendered(), url).headers

    assert headers["x-key"] == "a+b c"
    assert headers["accept-language"] == "en"
    assert headers["authorization"] == "Basic " + base64.b64encode(b"ann:p:w").decode()


def test_a_secret_may_hold_what_base64_holds() -> None:
    key = b"\xfb\xff\xfe" * 8
    encoded = base64.b64encode(key).decode()
    assert "+" in encoded
    assert "/" in encoded

    sent = built(rendered(), f"webhooks://h.example/?secret=whsec_{encoded}")

    Webhook(key).verify(sent.body, dict(sent.headers))


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

    assert "hush" not in shown
    assert "tok" not in shown
    assert NEW[6:] not in shown
