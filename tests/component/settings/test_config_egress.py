"""`egress`: which addresses a configuration may name."""

from pathlib import Path

import pytest
from configured import configure, refused

from notifier.settings.models import Egress

NEVER = "a link-local address, or a cloud's metadata: never connected to"
FORBIDDEN = "egress: public forbids this address; any allows it"


def test_any_is_the_default_and_public_can_be_asked_for(tmp_path: Path) -> None:
    assert configure(tmp_path, "{}").egress is Egress.ANY

    wanted = configure(tmp_path, "egress: public")

    assert wanted.egress is Egress.PUBLIC
    assert wanted.may_reach("1.1.1.1")
    assert not wanted.may_reach("10.0.0.7")
    assert configure(tmp_path, "egress: any").may_reach("10.0.0.7")


def test_a_misspelt_egress_is_told(tmp_path: Path) -> None:
    assert refused(tmp_path, "egress: pubic") == [
        '1: egress: "pubic" is none of any, public; did you mean public?'
    ]


@pytest.mark.parametrize("egress", ["any", "public"])
def test_metadata_in_figures_is_an_error_at_its_line(tmp_path: Path, egress: str) -> None:
    text = (
        f"egress: {egress}\n"
        "heartbeat_url: http://169.254.169.254/\n"
        "destinations:\n"
        "  a: {url: 'json://[fe80::1]/'}"
    )

    assert refused(tmp_path, text) == [
        f"2: heartbeat_url: {NEVER}",
        f"4: destinations.a.url: {NEVER}",
    ]


@pytest.mark.parametrize(
    "host", ["2852039166", "0xA9FEA9FE", "0251.0376.0251.0376", "169.254.43518"]
)
def test_metadata_is_known_however_its_figures_are_written(tmp_path: Path, host: str) -> None:
    text = f"destinations:\n  a: {{url: 'webhook://{host}/'}}"

    assert refused(tmp_path, text) == [f"2: destinations.a.url: {NEVER}"]


def test_public_refuses_private_addresses_in_figures(tmp_path: Path) -> None:
    text = (
        "egress: public\n"
        "heartbeat_url: http://localhost:8080/\n"
        "destinations:\n"
        "  a: {url: 'webhooks://10.0.0.7/in'}\n"
        "  b: {url: 'json://inside.example.com/in'}\n"
        "  c: {url: 'mqtts://ann:pw@example.com/topic'}"
    )

    assert refused(tmp_path, text) == [
        f"2: heartbeat_url: {FORBIDDEN}",
        f"4: destinations.a.url: {FORBIDDEN}",
        "6: destinations.c.url: egress: public cannot see where mqtts:// connects to",
    ]
    configure(tmp_path, text.replace("egress: public", "egress: any"))
