"""What is wrong with a configuration: each problem at its line, all at once, no secret shown."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from configured import refused

from notifier.errors import ConfigError
from notifier.settings import load

#: One line of YAML, then indented what is said about it.
ONE_LINE = """
sorce: {}
    sorce: unknown key; did you mean source?
xyz: 1
    xyz: unknown key
- a
    must be a mapping of keys to values
source: 5
    source: must be a mapping of keys to values
source: !x {}
    source: begins with !, a YAML tag, and tags are not understood; quote it
source: {timeout: 0s}
    source.timeout: "0s" must be longer than 0
source: {announce_existing: 'true'}
    source.announce_existing: "true" is a text; write it without quotes
source: {poll_every: [30s]}
    source.poll_every: must be a single value, not a list or mapping
source: {base_url: kalshi.com}
    source.base_url: is not an address that begins with https:// or http://
source: {api_key: {id: k}}
    source.api_key.private_key: is missing; set private_key or private_key_file
source: {api_key: k}
    source.api_key: must be a mapping of keys to values
timezone: Europe/Pariss
    timezone: "Europe/Pariss" is no IANA time zone such as Europe/Paris; did you mean Europe/Paris?
routes: {name: x}
    routes: must be a list
routes: [{name: Big Games}]
    routes[0].name: "Big Games" is not a name of 1 to 64 of a-z 0-9 _ -; did you mean big-games?
routes: [{name: a, to: []}]
    routes[0].to: is empty; leave the key out to choose everything
routes: [{name: a, to: }]
    routes[0].to: is empty; leave the key out to choose everything
routes: [{name: a, to: x}]
    routes[0].to: "x" is no destination; there are terminal
routes: [{name: a, match: {categry: x}}]
    routes[0].match.categry: unknown key; did you mean category?
routes: [{name: a, match: {league: x}}]
    routes[0].match.league: unknown key; did you mean details.league?
routes: [{name: a, match: {details: {league: x}}}]
    routes[0].match.details: holds fields; match one of them, such as details.league: "..."
routes: [{name: a, match: {category: []}}]
    routes[0].match.category: is empty; leave the key out to choose everything
routes: [{name: a, reminders: [15]}]
    routes[0].reminders[0]: "15" has no unit (500ms, 2s, 30m, 1h, 30d); did you mean 15s?
destinations: {ops: {format: html}}
    destinations.ops.url: is missing; set url or url_file
destinations: {ops: slack://hunter2}
    destinations.ops: must be a mapping such as {url: "..."}
destinations: {a b: {url: 'a://'}}
    destinations.a b: is not a name of 1 to 64 of A-Z a-z 0-9 _ . -; did you mean a-b?
destinations: {a: {url: 'a://', name: b}}
    destinations.a.name: unknown key
destinations: {a: {url: 'a://', concurrency: 0}}
    destinations.a.concurrency: "0" is not between 1 and 100
destinations: {a: {url: 'a://x', url_file: b}}
    destinations.a.url_file: url is set as well; keep one of the two
operator: {to: [x]}
    operator.to[0]: "x" is no destination; there are terminal
log: {level: warn}
    log.level: "warn" is none of debug, info, warning, error; did you mean warning?
egress: pubic
    egress: "pubic" is none of any, public; did you mean public?
web: on
    web: "on" is neither off nor a mapping such as {listen: ...}
web: []
    web: must be a mapping of keys to values
web: {hosts: ['notifier:8080']}
    web.hosts[0]: "notifier:8080" is no name of a host; a port is no part of it
web: {trusted_proxies: [proxy]}
    web.trusted_proxies[0]: "proxy" is no address or network such as 10.0.0.0/8
web: {trusted_proxies: [10.1.2.3/8]}
    web.trusted_proxies[0]: "10.1.2.3/8" is an address within a network; did you mean 10.0.0.0/8?
web: {external_url: 'https://a..b%.example'}
    web.external_url: is no name of a host; a port is no part of it
web: {external_url: 'https://x.example/notifier'}
    web.external_url: must end after the host and port: the pages need the root
web: {external_url: 'https://u:p@x.example'}
    web.external_url: must end before any ? or #, and hold no user name
web: {password: '$argon2id$v=19$m=1'}
    web.password: begins like an Argon2 hash, but is no whole argon2id hash
"""
#: The same for `quiet` and `digest`, which destinations and routes have.
OF_POLICIES = """
quiet: {}
    quiet.windows: is missing
quiet: [22:00-07:00]
    quiet: must be a mapping of keys to values
quiet: Mon 21:00-07:00
    quiet: "Mon 21:00-07:00" is neither off nor a mapping such as {windows: "22:00-07:00"}
quiet: {windows: []}
    quiet.windows: is empty; quiet: off holds nothing back
quiet: {windows: [22-7]}
    quiet.windows[0]: "22-7" is not a time of day such as 08:00
quiet: {windows: ['09:00-17:00', 'Mon 22:00 - 07:00']}
    quiet.windows[1]: "Mon 22:00 - 07:00" is not a window such as Mon-Fri 22:00-07:00;
    did you mean Mon 22:00-07:00?
quiet: {windows: 'Mon, Tue 22:00-07:00'}
    quiet.windows: "Mon, Tue 22:00-07:00" is not a window such as Mon-Fri 22:00-07:00;
    did you mean Mon,Tue 22:00-07:00?
quiet: {windows: 'Monkey 22:00-07:00'}
    quiet.windows: "Monkey 22:00-07:00" names a day that is none of Mon Tue Wed Thu Fri Sat Sun
quiet: {windows: '7:00-07:00'}
    quiet.windows: "7:00-07:00" is empty; the whole day is 00:00-24:00
quiet: {windows: '22:00-07:00', zone: Europe/Pariss}
    quiet.zone: "Europe/Pariss" is no IANA time zone such as Europe/Paris;
    did you mean Europe/Paris?
quiet: {windows: '22:00-07:00', then: digests}
    quiet.then: "digests" is none of deliver, digest, drop; did you mean digest?
quiet: {windows: '22:00-07:00', pass: [start]}
    quiet.pass[0]: "start" is none of created, updated, upcoming, started, ended, removed;
    did you mean started?
quiet: {windows: '22:00-07:00', let_pass: [started]}
    quiet.let_pass: unknown key; did you mean pass?
digest: of
    digest: "of" is neither off nor a mapping such as {over: 10}
digest: {every: day}
    digest.every: needs at
digest: {at: '08:00', every: week}
    digest.every: "week" is none of day
digest: {at: 8}
    digest.at: "8" is not a time of day such as 08:00
digest: {at: '24:00'}
    digest.at: "24:00" is not a time of day such as 08:00
digest: {window: 0s}
    digest.window: "0s" must be longer than 0
"""
NEVER = "a link-local address, or a cloud's metadata: never connected to"
FORBIDDEN = "egress: public forbids this address; any allows it"


def cases(table: str) -> Iterator[tuple[str, str]]:
    """Every line of YAML with what is said about it."""
    lines = table.strip().splitlines()
    texts = [number for number, line in enumerate(lines) if not line.startswith("    ")]
    for begin, end in zip(texts, [*texts[1:], len(lines)], strict=True):
        yield lines[begin], " ".join(map(str.strip, lines[begin + 1 : end]))


@pytest.mark.parametrize(("text", "problem"), [*cases(ONE_LINE)])
def test_a_mistake_is_reported_at_its_line_with_what_to_do(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert refused(tmp_path, text) == [f"1: {problem}"]


@pytest.mark.parametrize(("text", "problem"), [*cases(OF_POLICIES)])
def test_destinations_and_routes_have_the_same_policies(
    tmp_path: Path, text: str, problem: str
) -> None:
    destination = f"destinations: {{a: {{url: 'a://x', {text}}}}}"

    assert refused(tmp_path, destination) == [f"1: destinations.a.{problem}"]
    assert refused(tmp_path, f"routes: [{{name: r, {text}}}]") == [f"1: routes[0].{problem}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("source:\n  look_back:", "2: source.look_back: has no value"),
        ("routes:\n  - to: terminal", "2: routes[0].name: is missing"),
        ("destinations:\n  ops:\n", "2: destinations.ops.url: is missing; set url or url_file"),
    ],
)
def test_what_is_missing_is_reported_where_it_should_be(
    tmp_path: Path, text: str, problem: str
) -> None:
    assert refused(tmp_path, text) == [problem]


def test_all_problems_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "notifier.yaml"

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
        '2: source.poll_every: "30" has no unit (500ms, 2s, 30m, 1h, 30d); did you mean 30s?',
        "3: source.poll_evry: unknown key; did you mean poll_every?",
        "5: source.watch[0].categry: unknown key; did you mean category?",
        "6: timezone: ${ZONE} is not set",
        "8: destinations.ops.url: is not an Apprise URL such as slack://... or mailtos://...",
        (
            '11: routes[0].match.events[0]: "creatd" is none of created, updated, upcoming, '
            "started, ended, removed; did you mean created?"
        ),
        (
            '11: routes[0].match.title: "~(" is not a regular expression after its ~ '
            "(missing ), unterminated subpattern at position 0)"
        ),
        '12: routes[0].to[0]: "osp" is no destination; did you mean ops?',
        f'13: routes[1].name: "games" is the name of the route at {file}:10 already',
        '14: routes[1].stop: "off" is neither true nor false; did you mean false?',
        f"16: store: is set twice, first at {file}:15",
        'NOTIFIER_LOG__LEVEL: log.level: "loud" is none of debug, info, warning, error',
    ]


def test_a_template_that_does_not_compile_is_reported_at_its_line(tmp_path: Path) -> None:
    problems = refused(
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
      ended: {body: "{{ title|nope }}"}
""",
    )

    assert problems[:2] == [
        (
            "4: routes[0].template.title: line 1 is not Jinja2: Expected an expression, "
            "got 'end of statement block'"
        ),
        (
            "9: routes[0].template.updated.body: line 3 is not Jinja2: unexpected end of "
            "template, expected 'end of print statement'"
        ),
    ]
    assert "No filter named 'nope'" in problems[2]


# --- addresses that are never reached -----------------------------------------


@pytest.mark.parametrize("egress", ["any", "public"])
def test_metadata_addresses_are_an_error(tmp_path: Path, egress: str) -> None:
    text = (
        f"egress: {egress}\n"
        "heartbeat_url: http://169.254.169.254/\n"
        "destinations:\n"
        "  a: {url: 'json://[fe80::1]/'}\n"
        "  b: {url: 'webhook://2852039166/'}"
    )

    assert refused(tmp_path, text) == [
        f"2: heartbeat_url: {NEVER}",
        f"4: destinations.a.url: {NEVER}",
        f"5: destinations.b.url: {NEVER}",
    ]


def test_public_refuses_private_addresses_and_what_it_cannot_see(tmp_path: Path) -> None:
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


# --- secrets ------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "source: {poll_every: '${S}'}",
        "source: {rate: '${S}', updates: '${S}', announce_existing: '${S}'}",
        "source: {base_url: hunter2}\nheartbeat_url: hunter2\nstore: hunter2",
        "source: {base_url: 'https://x:hunter2@y'}",
        "source: {watch: '${S}', ignore_tickers: ['~(${S}']}",
        "timezone: '${S}'",
        "log: {level: '${S}'}",
        "egress: '${S}'",
        "destinations: {a: {url: hunter2}, b: hunter2://x, c: {url: [hunter2]}}",
        'destinations: {a: {url: "x://hunter2\\n"}, b: {url_file: it}}',
        "destinations: {a: {url_file: '${S}'}, b: {url: 'hunter2 ${NOT_SET}'}}",
        "destinations: {a: {url: *hunter2, zone: !hunter2 x}}",
        "destinations: {a: {url: {hunter2}}}",
        "destinations: {a: {url: @hunter2}}",
        "destinations: {'json://hunter2': x}",
        "destinations: {a: {url: 'x://hunter2', rate: '${S}', concurrency: '${S}'}}",
        "routes: [{name: '${S}', to: ['${S}'], match: {title: '~(${S}'}}]",
        "routes: [{name: '${S}'}, {name: '${S}'}]",
        "web: {password: hunter2, listen: '${S}'}\nsource: {api_key: {private_key: hunter2}}",
        "store: 'postgresql://u:hunter2@x/y'",
    ],
)
def test_no_error_shows_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "it").write_text("hunter2")

    for problem in refused(tmp_path, text, S="hunter2", hunter3="x"):
        assert "hunter2" not in problem


@pytest.mark.parametrize(
    "text",
    [
        "source: {poll_every: '${S}'}",
        "destinations: {a: {url: 'a://x', rate: '${S}'}}",
        "routes: [{name: a, reminders: ['${S}']}]",
    ],
)
def test_no_suggestion_is_made_of_a_secret(tmp_path: Path, text: str) -> None:
    (problem, *_) = refused(tmp_path, text, S="4711")

    assert "4711" not in problem


# --- files that are no configuration ------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a: 1\nb: \xff\n", r"notifier\.yaml:2: is not UTF-8 text"),
        (b"#" * 1_000_001, "larger than any configuration"),
    ],
)
def test_a_file_that_is_no_configuration_is_refused(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=words):
        load(path, {}, cwd=tmp_path)
