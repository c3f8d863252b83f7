"""Where the dashboard listens, and who may come in."""

from ipaddress import ip_network
from pathlib import Path

import pytest
from configured import configure, refused

from notifier.settings.models import WebSettings

HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA"


@pytest.mark.parametrize("text", ["", "web:", "web: {}"])
def test_left_out_it_listens_on_loopback_and_may_find_it_taken(tmp_path: Path, text: str) -> None:
    assert configure(tmp_path, text).web == WebSettings()


@pytest.mark.parametrize("text", ["web: off", "web: 'off'"])
def test_it_can_be_left_out(tmp_path: Path, text: str) -> None:
    config = configure(tmp_path, text)

    assert config.web is None
    assert config.external_url is None


def test_an_address_that_is_given_is_asked_for_even_if_it_is_the_usual_one(
    tmp_path: Path,
) -> None:
    config = configure(tmp_path, "web: {listen: '127.0.0.1:8080'}")

    assert config.web == WebSettings(listen=("127.0.0.1", 8080))


def test_links_lead_where_people_reach_it(tmp_path: Path) -> None:
    config = configure(tmp_path, "web: {external_url: 'https://n.example.com/'}")

    assert config.external_url == "https://n.example.com"


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("HTTPS://N.Example.COM/", "https://n.example.com"),
        ("https://n.example.com:443", "https://n.example.com"),
        ("http://n.example.com:80/", "http://n.example.com"),
        ("https://n.example.com:80", "https://n.example.com:80"),
        ("https://n.example.com:8443", "https://n.example.com:8443"),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("https://faß.example:443", "https://xn--fa-hia.example"),
        ("http://[2001:DB8:0::1]:80", "http://[2001:db8::1]"),
        ("http://my_host:8080", "http://my_host:8080"),
    ],
)
def test_the_address_is_the_one_that_browsers_say(tmp_path: Path, written: str, said: str) -> None:
    config = configure(tmp_path, f"web: {{external_url: '{written}'}}")

    assert config.external_url == said


def test_it_has_more_names_and_proxies_if_they_are_given(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        "web: {hosts: [Notifier, notifier.Monitoring.svc, '[::1]'], "
        "trusted_proxies: [10.0.0.0/8, 'fd00::/8', 192.0.2.7]}",
    )

    assert config.web == WebSettings(
        hosts=("notifier", "notifier.monitoring.svc", "::1"),
        trusted_proxies=tuple(ip_network(one) for one in ("10.0.0.0/8", "fd00::/8", "192.0.2.7")),
    )


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "127.8.0.1:80", "[::1]:80"])
def test_on_loopback_no_password_is_needed(tmp_path: Path, listen: str) -> None:
    configure(tmp_path, f"web: {{listen: '{listen}'}}")


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "[::]:80", "192.168.1.5:80", "h:80"])
def test_where_others_reach_it_a_password_is_needed(tmp_path: Path, listen: str) -> None:
    (tmp_path / "it").write_text("hunter2\n")

    assert refused(tmp_path, f"web: {{listen: '{listen}'}}") == [
        "1: web.listen: others can reach it there; set password_file"
    ]
    config = configure(tmp_path, f"web: {{listen: '{listen}', password_file: it}}")

    assert config.web is not None
    assert config.web.password == "hunter2"
    assert "hunter2" not in repr(config)


def test_the_password_may_be_its_hash(tmp_path: Path) -> None:
    config = configure(tmp_path, f"web: {{password: '{HASH}'}}")

    assert config.web is not None
    assert config.web.password == HASH


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "web: {hosts: ['notifier:8080']}",
            ('1: web.hosts[0]: "notifier:8080" is no name of a host; a port is no part of it'),
        ),
        (
            "web: {trusted_proxies: [proxy]}",
            ('1: web.trusted_proxies[0]: "proxy" is no address or network such as 10.0.0.0/8'),
        ),
        (
            "web: {trusted_proxies: [10.1.2.3/8]}",
            (
                '1: web.trusted_proxies[0]: "10.1.2.3/8" is an address within a '
                "network; did you mean 10.0.0.0/8?"
            ),
        ),
        (
            "web: {external_url: 'https://a..b%.example'}",
            "1: web.external_url: is no name of a host; a port is no part of it",
        ),
        (
            "web: on",
            '1: web: "on" is neither off nor a mapping such as {listen: ...}',
        ),
        ("web: []", "1: web: must be a mapping of keys to values"),
        (
            "web: {password: '$argon2id$v=19$m=1'}",
            ("1: web.password: begins like an Argon2 hash, but is no whole argon2id hash"),
        ),
        (
            "web: {external_url: 'https://x.example/notifier'}",
            ("1: web.external_url: must end after the host and port: the pages need the root"),
        ),
        (
            "web: {external_url: 'https://u:p@x.example'}",
            ("1: web.external_url: must end before any ? or #, and hold no user name"),
        ),
    ],
)
def test_what_is_wrong_with_it_is_said(tmp_path: Path, text: str, problem: str) -> None:
    assert refused(tmp_path, text) == [problem]
