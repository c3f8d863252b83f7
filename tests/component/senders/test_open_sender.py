"""Which destinations can be used, and what is said about the others."""

import io
import subprocess
import sys
from datetime import timedelta

import pytest
from sending import destination, opened

from notifier.clock import SystemClock
from notifier.domain.models import Format, Limits
from notifier.domain.rules import Destination, Rate
from notifier.errors import ConfigError
from notifier.senders.sender import check, open_sender

pytestmark = pytest.mark.anyio

MAIL = "mailto://127.0.0.1?from=us@example.com"
SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
TELEGRAM = "tgram://123456789:abcdefg_hijklmnop/12315544/"


def per(count: int, **unit: float) -> Rate:
    return Rate(count=count, per=timedelta(**unit))


@pytest.mark.parametrize(
    ("url", "rate"),
    [
        ("terminal://", None),
        ("webhook://127.0.0.1/in", None),
        ("webhooks://h.example/in?secret=whsec_aGVsbG8=", None),
        ("json://127.0.0.1/in", None),
        (f"{SLACK}/#ops", per(1, seconds=1)),
        (
            "https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ",
            per(1, seconds=1),
        ),
        (MAIL, per(10, minutes=1)),
        ("mailtos://me:pass@smtp.example.com?to=you@example.org", per(10, minutes=1)),
        (TELEGRAM, per(20, minutes=1)),
        ("discord://4174216298/JHMHI8qBe7bk2ZwO5U711o3dV_js", per(2, seconds=1)),
        ("ntfy://topic", per(1, seconds=5.5)),
        ("gotify://h.example/token", None),
        ("matrix://me:pw@127.0.0.1/#room", per(1, seconds=0.5)),
    ],
)
async def test_a_good_url_is_no_problem_and_has_a_rate(url: str, rate: Rate | None) -> None:
    assert check([destination(url)]) == {}
    async with opened(destination(url)) as sender:
        assert sender.default_rate("ops") == rate


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "does not begin with a scheme"),
        ("HUSHHUSH", "does not begin with a scheme"),
        ("slack:HUSHHUSH", "does not begin with a scheme"),
        ("slak://HUSHHUSH", "unknown scheme slak://; did you mean slack://?"),
        ("webhok://HUSHHUSH", "did you mean webhook://?"),
        ("qqqqqq://HUSHHUSH", "unknown scheme qqqqqq://"),
        ("https://h.example/HUSHHUSH", "for a webhook write webhooks://"),
        ("http://h.example/HUSHHUSH", "for a webhook write webhook://"),
        ("slack://HUSHHUSH", "no URL that Slack can use; it looks like slack://"),
        ("tgram://HUSHHUSH/", "no URL that Telegram can use"),
        ("discord://HUSHHUSH", "no URL that Discord can use"),
        ("twilio://HUSHHUSH:x@bad", "no URL that Twilio can use"),
        ("dbus://HUSHHUSH", "speaks to a desktop"),
        ("windows://HUSHHUSH", "speaks to a desktop"),
        ("mqtt://HUSHHUSH/topic", "not available on this machine; install paho-mqtt"),
        ("webhook://", "names no host"),
        ("webhooks://h.example/?secret=HUSHHUSH", "whsec_"),
        ("webhook://h.example/\nHUSHHUSH", "no part of a URL"),
        ("terminal://HUSHHUSH", "takes nothing"),
        ("json://HUSHHUSH/?retry=3", "leave out retry=: failed messages"),
        ("json://HUSHHUSH/?Wait=3", "leave out wait="),
        ("json://HUSHHUSH/?optional=yes", "leave out optional="),
        ("json://HUSHHUSH/?rto=60", "leave out rto=: each attempt"),
        ("json://HUSHHUSH/?cto=60", "leave out cto="),
        ("json://HUSHHUSH/?redirect=yes", "leave out redirect="),
        ("json://HUSHHUSH/?overflow=split", "leave out overflow="),
        ("webhook://h.example/?retry=3", "leave out retry="),
    ],
)
def test_a_bad_url_is_a_problem_that_says_what_to_do_and_no_secret(
    url: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    problems = check([destination(url)])

    assert problems.keys() == {"ops"}
    assert says in problems["ops"]
    assert "HUSHHUSH" not in problems["ops"].upper() + "".join(capfd.readouterr())


async def test_all_bad_destinations_are_named_at_once() -> None:
    bad = [
        destination("slak://x", name="one"),
        destination("terminal://", name="two"),
        destination("nothing", name="three"),
    ]

    with pytest.raises(ConfigError) as caught:
        await open_sender(bad, output=io.StringIO(), clock=SystemClock())

    assert caught.value.problems == (
        "destinations.one: unknown scheme slak://; did you mean slack://?",
        "destinations.three: it does not begin with a scheme such as slack://",
    )


def test_a_format_that_the_service_does_not_take_is_a_problem() -> None:
    problems = check([destination(SLACK, format=Format.HTML)])

    assert problems == {"ops": "it takes no format html, only markdown or text"}


@pytest.mark.parametrize(
    ("given", "limits"),
    [
        (destination(SLACK), Limits(format=Format.MARKDOWN, title=250, body=35_000)),
        (
            destination(SLACK, format=Format.TEXT),
            Limits(format=Format.TEXT, title=250, body=35_000),
        ),
        (
            destination(f"{SLACK}?blocks=yes"),
            Limits(format=Format.MARKDOWN, title=150, body=3_000),
        ),
        (destination(MAIL), Limits(format=Format.HTML, title=250, body=32_768)),
        (
            destination(f"{MAIL}&format=text"),
            Limits(format=Format.TEXT, title=250, body=32_768),
        ),
        (destination(TELEGRAM), Limits(format=Format.HTML, title=0, body=4_096)),
        (
            destination("webhook://127.0.0.1"),
            Limits(format=Format.TEXT, title=1_000, body=100_000),
        ),
        (destination("terminal://"), Limits(format=Format.TEXT, title=1_000, body=100_000)),
    ],
)
async def test_a_destination_has_limits(given: Destination, limits: Limits) -> None:
    async with opened(given) as sender:
        assert sender.limits("ops") == limits


@pytest.mark.parametrize(
    ("url", "loaded"),
    [("terminal://", []), ("webhooks://h.example", ["aiohttp"]), (SLACK, ["apprise", "requests"])],
)
def test_libraries_are_loaded_only_for_those_who_need_them(url: str, loaded: list[str]) -> None:
    code = """
import sys
from zoneinfo import ZoneInfo
from notifier.domain.rules import (Destination)
from notifier.senders.sender import check
assert check([Destination(name="x", url=sys.argv[1], zone=ZoneInfo("UTC"))]) == {}
print(*sorted({"aiohttp", "apprise", "requests"} & set(sys.modules)))
"""

    run = subprocess.run(
        [sys.executable, "-c", code, url], capture_output=True, text=True, check=True
    )

    assert run.stdout.split() == loaded
