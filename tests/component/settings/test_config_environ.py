from datetime import timedelta
from pathlib import Path

import pytest
from configured import configure, refused
from hypothesis import given
from hypothesis import strategies as st

from notifier.domain.rules import Templates
from notifier.errors import ConfigError
from notifier.settings import load
from notifier.settings.models import Level


def test_variables_are_put_into_values(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        """\
source: {poll_every: "${EVERY}", announce_existing: "${ALL:-true}",
         ignore_tickers: ["${X:-}A"]}
destinations: {a: {url: "slack://${A}/$${B}/${C:-d}", concurrency: "${N:-3}"}}
routes: [{name: a, template: {title: "${A} $${A}"}}]
""",
        EVERY="10s",
        A="${EVERY}",
        C="",
    )

    assert config.source.poll_every == timedelta(seconds=10)
    assert config.source.announce_existing is True
    assert config.source.ignore_tickers == ("A",)
    assert config.destinations[0].url == "slack://${EVERY}/${B}/d"
    assert config.destinations[0].concurrency == 3
    assert config.routes[0].template == Templates(title="${A} $${A}")


def test_a_variable_that_is_missing_is_named_with_its_line(tmp_path: Path) -> None:
    assert refused(
        tmp_path,
        "timezone: UTC\ndestinations:\n  ops: {url: '${SLACK_ULR}'}",
        SLACK_URL="x",
    ) == ["3: destinations.ops.url: ${SLACK_ULR} is not set; did you mean SLACK_URL?"]


@pytest.mark.parametrize("value", ["${", "a${B", "${1}", "${A-b}", "${A:-${B}}", "${}"])
def test_what_is_no_variable_is_refused(tmp_path: Path, value: str) -> None:
    (problem,) = refused(tmp_path, f"timezone: '{value}'", A="x", B="y")

    assert problem.startswith("1: timezone: holds ${ but neither ${VAR} nor")


def test_keys_are_no_place_for_variables(tmp_path: Path) -> None:
    assert refused(tmp_path, "'${KEY}': x", KEY="timezone") == ["1: ${KEY}: unknown key"]


def test_overrides_beat_the_file(tmp_path: Path) -> None:
    config = configure(
        tmp_path,
        """\
source: {poll_every: "${NOT_SET}", rate: 1/s}
destinations: {my-hook: {url: "a://x"}, File: {url_file: /nope}}
routes: [{name: a, to: my-hook}, {name: b}]
""",
        NOTIFIER_SOURCE__POLL_EVERY="10s",
        NOTIFIER_SOURCE__WATCH="[{category: Sports}, {category: Politics}]",
        NOTIFIER_SOURCE__ANNOUNCE_EXISTING="true",
        NOTIFIER_DESTINATIONS__MY_HOOK__URL="a://$${x}/${y}",
        NOTIFIER_DESTINATIONS__FILE__URL="f://x",
        NOTIFIER_DESTINATIONS__NEW__URL="n://x",
        NOTIFIER_ROUTES__1__TEMPLATE__BODY="{{ title }}",
        NOTIFIER_LOG__LEVEL="debug",
        NOTIFIER_STORE="sqlite:///other.db",
        NOTIFIER__TIMEZONE="Europe/Paris",
    )

    assert config.source.poll_every == timedelta(seconds=10)
    assert config.source.rate.count == 1
    assert [watch.category for watch in config.source.watch] == ["Sports", "Politics"]
    assert config.source.announce_existing is True
    assert [(d.name, d.url) for d in config.destinations] == [
        ("my-hook", "a://$${x}/${y}"),
        ("File", "f://x"),
        ("new", "n://x"),
    ]
    assert config.routes[1].template == Templates(body="{{ title }}")
    assert config.log.level is Level.DEBUG
    assert config.store.endswith("/other.db")
    assert config.timezone.key == "Europe/Paris"


@pytest.mark.parametrize(
    "name",
    [
        *("NOTIFIER_PORT", "NOTIFIER_SERVICE_HOST", "NOTIFIER_TIMEZONE"),
        *("NOTIFIER_STORE_PORT", "OTHER__SOURCE"),
    ],
)
def test_names_without_two_underscores_are_not_ours(tmp_path: Path, name: str) -> None:
    assert configure(tmp_path, "", **{name: "tcp://10.0.0.1:80"}) == configure(tmp_path, "")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("SOURCE__POL_EVERY=1s", "source.pol_every: unknown key; did you mean poll_every?"),
        ("SORCE__POLL_EVERY=1s", "sorce: unknown key; did you mean source?"),
        (
            "SOURCE__POLL_EVERY=10",
            'source.poll_every: "10" has no unit (500ms, 2s, 30m, 1h, 30d); did you mean 10s?',
        ),
        ("SOURCE__POLL_EVERY=", "source.poll_every: has no value"),
        ("SOURCE__WATCH=[{", "source.watch: is no list or mapping in YAML"),
        (
            "SOURCE__WATCH=[{type: a, type: b}]",
            "source.watch[0].type: is set twice, first at NOTIFIER_SOURCE__WATCH",
        ),
        ("ROUTES__1__STOP=true", "'1' is no position in a list of 1, from 0 on"),
        ("STOR=x.db", "unknown variable; did you mean NOTIFIER_STORE?"),
        ("_EGRESS=pubic", 'egress: "pubic" is none of any, public; did you mean public?'),
    ],
)
def test_a_wrong_override_is_reported_by_its_name(tmp_path: Path, line: str, problem: str) -> None:
    name, _, value = f"NOTIFIER_{line}".partition("=")
    text = "destinations: {a: {url: 'a://x'}}\nroutes: [{name: a}]"

    assert refused(tmp_path, text, **{name: value}) == [f"{name}: {problem}"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_at_any_key_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, value: str
) -> None:
    keys = ["SOURCE__POLL_EVERY", "SOURCE__RATE", "LOG__LEVEL", "DESTINATIONS__A__URL"]
    more = ["SOURCE__WATCH", "DESTINATIONS__A__QUIET__WINDOWS", "ROUTES", "_TIMEZONE"]
    environ = {f"NOTIFIER_{key}": value for key in (*keys, *more, "STORE", "WEB__LISTEN")}

    try:
        load(None, environ, cwd=tmp_path_factory.getbasetemp())
        problems: tuple[str, ...] = ()
    except ConfigError as exc:
        problems = exc.problems

    assert all(problem.startswith("NOTIFIER_") for problem in problems)


# --- secret files -------------------------------------------------------------


def test_a_secret_file_loses_one_final_newline(tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(b"mailtos://x\n")
    (tmp_path / "dos").write_bytes(b"a://${NOT}\r\n")

    config = configure(
        tmp_path,
        "destinations: {desk: {url_file: mail}, dos: {url_file: '${DIR}/dos'}}",
        DIR=str(tmp_path),
    )

    assert [d.url for d in config.destinations] == ["mailtos://x", "a://${NOT}"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"a://x\n\n", "destinations.a.url: holds a line break"),
        (b"", "destinations.a.url: is not an Apprise URL"),
        (b"\xff", 'destinations.a.url_file: "it" cannot be read: it is not UTF-8 text'),
        (b"x" * 70_000, 'destinations.a.url_file: "it" cannot be read: it is larger'),
        (None, 'destinations.a.url_file: "it" cannot be read: No such file or directory'),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_secret_file_without_a_url_is_refused(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "it").write_bytes(content)

    (found,) = refused(tmp_path, "timezone: UTC\ndestinations: {a: {url_file: it}}")

    assert found.startswith(f"2: {problem}")
