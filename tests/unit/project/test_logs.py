"""What a log line shows."""

import io
import json

import pytest
import structlog

from notifier import logging
from notifier.senders.redaction import redact, secrets_of_environment, secrets_of_text


@pytest.fixture(autouse=True)
def _as_it_was() -> object:
    yield
    structlog.reset_defaults()


def logged(**values: object) -> dict[str, object]:
    out = io.StringIO()
    redactor = logging.redactor({"canary"}, redact)
    logging.set_up(level="debug", style="json", redact=redactor, stream=out)
    structlog.get_logger().info("config.rejected", **values)
    line: dict[str, object] = json.loads(out.getvalue())
    return line


def test_secrets_are_taken_out_however_deep_they_lie() -> None:
    line = logged(
        problems=["a: canary"],
        match={"canary": ("x canary", 1, None, True)},
        error=ValueError("canary"),
        destination="ops",
    )

    assert "canary" not in json.dumps(line)
    assert line["problems"] == ["a: ***"]
    assert line["match"] == {"***": ["x ***", 1, None, True]}
    assert line["destination"] == "ops"


def test_a_crash_is_logged_without_secrets() -> None:
    try:
        int("canary")
    except ValueError:
        shown = str(logged(exc_info=True)["exception"])
    else:
        shown = ""

    assert "ValueError" in shown
    assert "canary" not in shown


def test_the_login_of_a_proxy_is_a_secret() -> None:
    hidden = secrets_of_environment(
        {"https_proxy": "http://me:pass%20word@proxy:3128", "NO_PROXY": "localhost"}
    )

    assert redact("me pass word pass%20word localhost", hidden) == "me *** *** localhost"


def test_each_line_of_a_key_is_a_secret() -> None:
    hidden = secrets_of_text("-----BEGIN-----\nMC4CAQAwBQYDK2Vw\n")

    assert redact("bad line MC4CAQAwBQYDK2Vw of it", hidden) == "bad line *** of it"
