from datetime import timedelta
from pathlib import Path

import pytest
from configured import configure, refused

from notifier.domain.models import Format, Kind
from notifier.domain.rules import DigestPolicy, Rate, Template, Templates, Watch
from notifier.domain.rules import Route as Rule
from notifier.errors import ConfigError
from notifier.settings import load
from notifier.settings.models import Level, LogFormat, Updates

# --- defaults -----------------------------------------------------------------


def test_no_configuration_watches_everything_to_the_terminal(tmp_path: Path) -> None:
    config = load(None, {}, cwd=tmp_path)

    assert config.path is None
    assert config.source.watches == (Watch(),)
    assert [(d.name, d.url) for d in config.destinations] == [("terminal", "terminal://")]
    assert config.routes == (Rule(name="all", to=("terminal",)),)
    assert config.store == f"sqlite:///{tmp_path}/notifier.db"


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
    assert (config.log.level, config.log.format) == (Level.INFO, LogFormat.AUTO)
    assert config.retention.events == timedelta(days=90)
    assert config.retention.deliveries == timedelta(days=30)


def test_sections_whose_keys_are_all_commented_out_are_empty(tmp_path: Path) -> None:
    sections = ["source", "destinations", "routes", "operator", "log", "retention"]
    text = "".join(f"{section}:\n  # nothing\n" for section in sections)

    assert configure(tmp_path, text) == configure(tmp_path, "")


# --- what is read -------------------------------------------------------------


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

    sports, elections = configure(tmp_path, text).source.watch

    assert sports.name == "category=Sports"
    assert sports.params == {"category": "Sports"}
    assert (sports.live, elections.live) == (True, False)


def test_live_data_may_be_wanted_of_everything(tmp_path: Path) -> None:
    [watch] = configure(tmp_path, "source: {watch: [{live: true}]}").source.watch

    assert (watch.name, watch.params, watch.live) == ("everything", {}, True)


def test_every_available_key_of_a_destination_is_read(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        """\
timezone: America/New_York
destinations:
  desk: {url: "mailto://x", format: html, concurrency: 4, zone: Europe/Paris,
         digest: {over: 3}, on_ambiguous: retry}
  Team.1: {url: "slack://x", digest: off}
""",
    )
    desk, team = config.destinations

    assert (desk.name, desk.url, desk.format) == ("desk", "mailto://x", Format.HTML)
    assert desk.concurrency == 4
    assert (desk.zone.key, team.zone.key) == ("Europe/Paris", "America/New_York")
    assert (desk.digest, team.digest) == (DigestPolicy(over=3), DigestPolicy(over=None))
    assert team.format is None
    assert config.routes[0].to == ("desk", "Team.1")


def test_every_available_key_of_a_route_is_read(tmp_path: Path) -> None:
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
    assert second == Rule(name="rest", to=("a", "b"))


# --- what is refused ----------------------------------------------------------


def test_all_problems_are_told_at_once_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    problems = refused(
        tmp_path,
        """\
source:
  poll_every: 30
  poll_evry: 30s
  watch:
    - {categry: Sports}
timezone: ${ZONE}
destinations:
  ops: {url: nonsense}
routes:
  - name: games
    match: {events: [creatd], title: "~("}
    to: [osp]
  - name: games
    stop: off
store: x
store: y
""",
        NOTIFIER_LOG__LEVEL="loud",
    )

    assert problems == [
        ('2: source.poll_every: "30" has no unit (500ms, 2s, 30m, 1h, 30d); did you mean 30s?'),
        "3: source.poll_evry: unknown key; did you mean poll_every?",
        "5: source.watch[0].categry: unknown key; did you mean category?",
        "6: timezone: ${ZONE} is not set",
        ("8: destinations.ops.url: is not an Apprise URL such as slack://... or mailtos://..."),
        (
            '11: routes[0].match.events[0]: "creatd" is none of created, updated, '
            "upcoming, started, ended, removed; did you mean created?"
        ),
        (
            '11: routes[0].match.title: "~(" is not a regular expression after its ~ '
            "(missing ), unterminated subpattern at position 0)"
        ),
        '12: routes[0].to[0]: "osp" is no destination; did you mean ops?',
        problems[8],
        '14: routes[1].stop: "off" is neither true nor false; did you mean false?',
        problems[10],
        'NOTIFIER_LOG__LEVEL: log.level: "loud" is none of debug, info, warning, error',
    ]
    assert problems[10].startswith("16: store: is set twice, first at ")
    assert problems[8].startswith('13: routes[1].name: "games" is the name of the route')


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sorce: {}", "1: sorce: unknown key; did you mean source?"),
        ("xyz: 1", "1: xyz: unknown key"),
        ("- a", "1: must be a mapping of keys to values"),
        ("source: 5", "1: source: must be a mapping of keys to values"),
        ("source:\n  look_back:", "2: source.look_back: has no value"),
        ("source: {timeout: 0s}", '1: source.timeout: "0s" must be longer than 0'),
        (
            "source: {announce_existing: 'true'}",
            '1: source.announce_existing: "true" is a text; write it without quotes',
        ),
        (
            "source: {poll_every: [30s]}",
            "1: source.poll_every: must be a single value, not a list or mapping",
        ),
        (
            "source: {base_url: kalshi.com}",
            ("1: source.base_url: is not an address that begins with https:// or http://"),
        ),
        (
            "timezone: Europe/Pariss",
            (
                '1: timezone: "Europe/Pariss" is no IANA time zone such as '
                "Europe/Paris; did you mean Europe/Paris?"
            ),
        ),
        ("routes: {name: x}", "1: routes: must be a list"),
        ("routes:\n  - to: terminal", "2: routes[0].name: is missing"),
        (
            "routes: [{name: Big Games}]",
            (
                '1: routes[0].name: "Big Games" is not a name of 1 to 64 of '
                "a-z 0-9 _ -; did you mean big-games?"
            ),
        ),
        (
            "routes: [{name: a, to: []}]",
            "1: routes[0].to: is empty; leave the key out to choose everything",
        ),
        (
            "routes: [{name: a, to: }]",
            "1: routes[0].to: is empty; leave the key out to choose everything",
        ),
        (
            "routes: [{name: a, to: x}]",
            '1: routes[0].to: "x" is no destination; there are terminal',
        ),
        (
            "routes: [{name: a, match: {categry: x}}]",
            "1: routes[0].match.categry: unknown key; did you mean category?",
        ),
        (
            "routes: [{name: a, match: {league: x}}]",
            "1: routes[0].match.league: unknown key; did you mean details.league?",
        ),
        (
            "routes: [{name: a, match: {details: {league: x}}}]",
            (
                "1: routes[0].match.details: holds fields; match one of them, such as "
                'details.league: "..."'
            ),
        ),
        (
            "routes: [{name: a, match: {category: []}}]",
            ("1: routes[0].match.category: is empty; leave the key out to choose everything"),
        ),
        (
            "routes: [{name: a, reminders: [15]}]",
            (
                '1: routes[0].reminders[0]: "15" has no unit (500ms, 2s, 30m, '
                "1h, 30d); did you mean 15s?"
            ),
        ),
        ("destinations:\n  ops:\n", "2: destinations.ops.url: is missing; set url or url_file"),
        (
            "destinations: {ops: {format: html}}",
            "1: destinations.ops.url: is missing; set url or url_file",
        ),
        (
            "destinations: {ops: slack://hunter2}",
            '1: destinations.ops: must be a mapping such as {url: "..."}',
        ),
        (
            "destinations: {a b: {url: 'a://'}}",
            (
                "1: destinations.a b: is not a name of 1 to 64 of A-Z a-z 0-9 _ . -; "
                "did you mean a-b?"
            ),
        ),
        (
            "destinations: {a: {url: 'a://', concurrency: 0}}",
            '1: destinations.a.concurrency: "0" is not between 1 and 100',
        ),
        (
            "operator: {to: [x]}",
            ('1: operator.to[0]: "x" is no destination; there are terminal'),
        ),
        (
            "log: {level: warn}",
            ('1: log.level: "warn" is none of debug, info, warning, error; did you mean warning?'),
        ),
        ("retention: {events: 0d}", '1: retention.events: "0d" must be longer than 0'),
        (
            "source: !x {}",
            ("1: source: begins with !, a YAML tag, and tags are not understood; quote it"),
        ),
    ],
)
def test_a_mistake_is_told_at_its_line_with_what_to_do(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert refused(tmp_path, text) == [problem]


def test_a_template_that_does_not_compile_is_told_at_its_line(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        """\
routes:
  - name: a
    template:
      title: "{% if %}"
      updated:
        body: |
          fine

          {{ milestone.title
""",
    ) == [
        (
            "4: routes[0].template.title: line 1 is not Jinja2: Expected an "
            "expression, got 'end of statement block'"
        ),
        (
            "9: routes[0].template.updated.body: line 3 is not Jinja2: unexpected end "
            "of template, expected 'end of print statement'"
        ),
    ]


def test_a_template_may_not_use_what_the_sandbox_lacks(tmp_path: Path) -> None:
    (problem,) = refused(tmp_path, "routes: [{name: a, template: {body: '{{ title|nope }}'}}]")

    assert "No filter named 'nope'" in problem


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_bytes(b"a: 1\nb: \xff\n")

    with pytest.raises(ConfigError, match=r"notifier\.yaml:2: is not UTF-8 text"):
        load(path, {}, cwd=tmp_path)


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    assert configure(tmp_path, "\ufefftimezone: Europe/Paris").timezone.key == "Europe/Paris"


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_text("#" * 1_000_001)

    with pytest.raises(ConfigError, match="larger than any configuration"):
        load(path, {}, cwd=tmp_path)
