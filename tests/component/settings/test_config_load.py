"""What a configuration means: defaults, and every key that is read."""

from datetime import UTC, datetime, time, timedelta
from ipaddress import ip_network
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from configured import configure, refused

from notifier.domain.models import Format, Kind
from notifier.domain.quiet_hours import quiet_until
from notifier.domain.rules import (
    DigestPolicy,
    QuietPolicy,
    Rate,
    Route,
    Template,
    Templates,
    Then,
    Watch,
    Window,
)
from notifier.settings import load
from notifier.settings.models import Egress, Level, LogFormat, Updates, WebSettings

WEEK = frozenset(range(7))
ONE = "destinations: {a: {url: 'a://x', %s}}"
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$aGFzaA"


# --- defaults -----------------------------------------------------------------


def test_no_configuration_watches_everything_to_the_terminal(tmp_path: Path) -> None:
    config = load(None, {}, cwd=tmp_path)

    assert config.path is None
    assert config.source.watches == (Watch(),)
    assert [(d.name, d.url) for d in config.destinations] == [("terminal", "terminal://")]
    assert config.routes == (Route(name="all", to=("terminal",)),)
    assert config.store == f"sqlite:///{tmp_path}/notifier.db"
    assert config.operator.to == ()


def test_an_empty_file_gives_the_documented_defaults(tmp_path: Path) -> None:
    config = configure(tmp_path, "")
    source = config.source

    assert dict(config) == dict(load(None, {}, cwd=tmp_path))
    assert config.path == tmp_path / "notifier.yaml"
    assert source.base_url == "https://external-api.kalshi.com/trade-api/v2"
    assert source.poll_every == source.timeout == timedelta(seconds=30)
    assert source.sweep_every == source.started_grace == timedelta(minutes=30)
    assert source.full_read_every == source.ended_grace == timedelta(hours=24)
    assert source.look_back == timedelta(days=30)
    assert source.rate == Rate(count=2, per=timedelta(seconds=1))
    assert source.updates is Updates.CONTENT
    assert source.ignore_tickers == ("SIM*",)
    assert source.announce_existing is False
    assert source.started_again_after == timedelta(minutes=15)
    assert config.timezone.key == "UTC"
    assert config.egress is Egress.ANY
    assert (config.log.level, config.log.format) == (Level.INFO, LogFormat.AUTO)
    assert config.retention.events == timedelta(days=90)
    assert config.retention.deliveries == timedelta(days=30)


def test_sections_whose_keys_are_all_commented_out_are_empty(tmp_path: Path) -> None:
    sections = ["source", "destinations", "routes", "operator", "log", "retention", "web"]
    text = "".join(f"{section}:\n  # nothing\n" for section in sections)

    assert configure(tmp_path, text) == configure(tmp_path, "")


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert configure(tmp_path, "\ufefftimezone: Europe/Paris").timezone.key == "Europe/Paris"


# --- source -------------------------------------------------------------------


def test_every_key_of_the_source_is_read(tmp_path: Path) -> None:
    source = configure(
        tmp_path,
        """\
source:
  base_url: http://127.0.0.1:1234/v2/
  poll_every: 500ms
  sweep_every: 2s
  full_read_every: 3m
  look_back: 4h
  rate: 100/m
  timeout: 5s
  updates: timestamp
  watch:
    - {category: Sports, type: football_game}
    - {competition: NFL, source_id: no, related_event_ticker: KX-1}
    - {category: Sports, type: football_game}
  ignore_tickers: [SIM*, "~^TEST"]
  announce_existing: true
  started_grace: 0s
  ended_grace: 6h
  started_again_after: 7d
""",
    ).source

    assert source.base_url == "http://127.0.0.1:1234/v2"
    assert source.poll_every == timedelta(milliseconds=500)
    assert source.sweep_every == timedelta(seconds=2)
    assert source.full_read_every == timedelta(minutes=3)
    assert source.look_back == timedelta(hours=4)
    assert source.rate == Rate(count=100, per=timedelta(minutes=1))
    assert source.timeout == timedelta(seconds=5)
    assert source.updates is Updates.TIMESTAMP
    assert source.watch == (
        Watch(category="Sports", type="football_game"),
        Watch(competition="NFL", source_id="no", related_event_ticker="KX-1"),
    )
    assert source.ignore_tickers == ("SIM*", "~^TEST")
    assert source.announce_existing is True
    assert source.started_grace == timedelta(0)
    assert source.ended_grace == timedelta(hours=6)
    assert source.started_again_after == timedelta(days=7)


def test_a_watch_that_wants_live_data_is_still_the_same_watch(tmp_path: Path) -> None:
    text = """\
source:
  watch:
    - {category: Sports}
    - {category: Sports, live: true}
    - {category: Elections, live: false}
"""

    sports, elections = configure(tmp_path, text).source.watches
    [everything] = configure(tmp_path, "source: {watch: [{live: true}]}").source.watches

    assert (sports.name, sports.params) == ("category=Sports", {"category": "Sports"})
    assert (sports.live, elections.live) == (True, False)
    assert (everything.name, everything.params, everything.live) == ("everything", {}, True)


# --- destinations and routes --------------------------------------------------


def test_every_key_of_a_destination_is_read(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        """\
timezone: America/New_York
destinations:
  desk: {url: "mailto://hunter2", format: html, concurrency: 4, zone: Europe/Paris,
         rate: 10/m, digest: {over: 3}, on_ambiguous: drop}
  Team.1: {url: "slack://x", digest: off}
operator: {to: [Team.1, desk, Team.1]}
""",
    )
    desk, team = config.destinations

    assert (desk.name, desk.url, desk.format) == ("desk", "mailto://hunter2", Format.HTML)
    assert (desk.concurrency, desk.rate) == (4, Rate(count=10, per=timedelta(minutes=1)))
    assert (desk.zone.key, team.zone.key) == ("Europe/Paris", "America/New_York")
    assert (desk.digest, team.digest) == (DigestPolicy(over=3), DigestPolicy(over=None))
    assert (desk.drop_ambiguous, team.drop_ambiguous) == (True, False)
    assert (team.format, team.rate, team.quiet) == (None, None, None)
    assert config.routes[0].to == ("desk", "Team.1")
    assert config.operator.to == ("Team.1", "desk")
    assert "hunter2" not in repr(config)


def test_every_key_of_a_route_is_read(tmp_path: Path) -> None:
    first, second = configure(
        tmp_path,
        """\
destinations: {a: {url: "a://x"}, b: {url: "b://x"}}
routes:
  - name: games
    match:
      events: [created, started]
      category: Sports
      title: [~final, 2026]
      details.league: [NFL, no]
      source_id: "sr:*"
      changed: start_date
    to: [b, b]
    stop: true
    reminders: [1d, 15m, 24h]
    ignore_changes: []
    digest: off
    template: {title: T, started: {body: B}, ended: {}}
  - name: rest
""",
    ).routes

    assert first.match.events == {Kind.CREATED, Kind.STARTED}
    assert dict(first.match.fields) == {
        "category": ("Sports",),
        "title": ("~final", "2026"),
        "details.league": ("NFL", "no"),
        "source_id": ("sr:*",),
    }
    assert first.match.changed == ("start_date",)
    assert (first.to, first.stop) == (("b",), True)
    assert first.reminders == (timedelta(days=1), timedelta(minutes=15))
    assert first.ignore_changes == ()
    assert first.digest == DigestPolicy(over=None)
    assert first.template == Templates(title="T", started=Template(body="B"), ended=Template())
    assert second == Route(name="rest", to=("a", "b"))


def test_every_key_of_quiet_hours_is_read(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        """\
destinations:
  a:
    url: a://x
    quiet:
      windows: ["Mon-Fri 22:00-07:00", "Sat,Sun 00:00-24:00"]
      zone: Europe/Paris
      then: digest
      pass: [started, upcoming]
routes:
  - {name: first, quiet: {windows: "22:00-07:00"}}
  - {name: urgent, quiet: off}
  - name: rest
""",
    )
    (destination,) = config.destinations
    first, urgent, rest = config.routes

    assert destination.quiet == QuietPolicy(
        windows=(
            Window(days=frozenset(range(5)), start=time(22), end=time(7)),
            Window(days=frozenset({5, 6}), start=time(0), end=time(0)),
        ),
        zone=ZoneInfo("Europe/Paris"),
        then=Then.DIGEST,
        let_pass=frozenset({Kind.STARTED, Kind.UPCOMING}),
    )
    assert first.quiet == QuietPolicy(windows=(Window(days=WEEK, start=time(22), end=time(7)),))
    assert rest.quiet is None
    assert urgent.quiet is not None
    night = datetime(2026, 11, 23, 23, tzinfo=UTC)
    assert quiet_until(destination.quiet, destination.zone, night)
    assert quiet_until(urgent.quiet, destination.zone, night) is None


@pytest.mark.parametrize(
    ("digest", "policy"),
    [
        ("{window: 30s}", DigestPolicy(over=10, window=timedelta(seconds=30))),
        ("{at: '8:30', every: day, over: 0}", DigestPolicy(over=0, at=time(8, 30))),
        (
            "{over: 10, window: 30s, at: 08:00, every: day}",
            DigestPolicy(over=10, window=timedelta(seconds=30), at=time(8)),
        ),
        ("off", DigestPolicy(over=None)),
    ],
)
def test_every_key_of_a_digest_is_read(tmp_path: Path, digest: str, policy: DigestPolicy) -> None:
    (destination,) = configure(tmp_path, ONE % f"digest: {digest}").destinations

    assert destination.digest == policy


def test_routes_can_be_loaded_without_secrets(tmp_path: Path) -> None:
    text = (
        "heartbeat_url: ${NOT_SET}\nweb: {password_file: nope, listen: '0.0.0.0:80'}\n"
        "destinations: {a: {url: '${NOT_SET}', zone: Europe/Paris}, b: {url_file: nope}}\n"
        "routes: [{name: r, digest: {at: '08:00'}, to: [b, a]}]"
    )
    path = tmp_path / "notifier.yaml"
    path.write_text(text)

    found = load(path, {}, cwd=tmp_path, required_secrets=False)

    assert found.routes == (Route(name="r", to=("b", "a"), digest=DigestPolicy(at=time(8))),)
    assert [one.zone.key for one in found.destinations] == ["Europe/Paris", "UTC"]
    assert len(refused(tmp_path, text)) == 4


# --- the service itself -------------------------------------------------------


def test_egress_says_what_may_be_reached(tmp_path: Path) -> None:
    public = configure(tmp_path, "egress: public")

    assert public.may_reach("1.1.1.1")
    assert not public.may_reach("10.0.0.7")
    assert configure(tmp_path, "egress: any").may_reach("10.0.0.7")


def test_a_heartbeat_url_is_kept_as_written_and_not_printed(tmp_path: Path) -> None:
    config = configure(tmp_path, "heartbeat_url: https://example.com/hunter2/")

    assert config.heartbeat_url == "https://example.com/hunter2/"
    assert "hunter2" not in repr(config)


@pytest.mark.parametrize("text", ["web: off", "web: 'off'"])
def test_the_web_can_be_off(tmp_path: Path, text: str) -> None:
    config = configure(tmp_path, text)

    assert (config.web, config.external_url) == (None, None)


def test_every_key_of_the_web_is_read(tmp_path: Path) -> None:
    web = configure(
        tmp_path,
        f"web: {{listen: '127.0.0.1:8080', password: '{HASH}', "
        "hosts: [Notifier, notifier.Monitoring.svc, '[::1]'], "
        "trusted_proxies: [10.0.0.0/8, 'fd00::/8', 192.0.2.7]}",
    ).web

    assert WebSettings().address == ("127.0.0.1", 8080)
    assert web == WebSettings(
        listen=("127.0.0.1", 8080),
        password=HASH,
        hosts=("notifier", "notifier.monitoring.svc", "::1"),
        trusted_proxies=tuple(ip_network(one) for one in ("10.0.0.0/8", "fd00::/8", "192.0.2.7")),
    )


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("HTTPS://N.Example.COM/", "https://n.example.com"),
        ("https://n.example.com:443", "https://n.example.com"),
        ("http://n.example.com:80/", "http://n.example.com"),
        ("https://n.example.com:80", "https://n.example.com:80"),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("https://faß.example:443", "https://xn--fa-hia.example"),
        ("http://[2001:DB8:0::1]:80", "http://[2001:db8::1]"),
        ("http://my_host:8080", "http://my_host:8080"),
    ],
)
def test_the_external_url_is_the_one_that_browsers_send(
    tmp_path: Path, written: str, url: str
) -> None:
    assert configure(tmp_path, f"web: {{external_url: '{written}'}}").external_url == url


@pytest.mark.parametrize("listen", ["127.0.0.1:80", "127.8.0.1:80", "[::1]:80"])
def test_on_loopback_no_password_is_needed(tmp_path: Path, listen: str) -> None:
    configure(tmp_path, f"web: {{listen: '{listen}'}}")


@pytest.mark.parametrize("listen", ["0.0.0.0:80", "[::]:80", "192.168.1.5:80", "h:80"])
def test_beyond_loopback_a_password_is_needed(tmp_path: Path, listen: str) -> None:
    (tmp_path / "it").write_text("hunter2\n")

    assert refused(tmp_path, f"web: {{listen: '{listen}'}}") == [
        "1: web.listen: others can reach it there; set password_file"
    ]
    config = configure(tmp_path, f"web: {{listen: '{listen}', password_file: it}}")

    assert config.web is not None
    assert config.web.password == "hunter2"
    assert "hunter2" not in repr(config)
