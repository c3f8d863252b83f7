from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from configured import configure, refused

from notifier.domain.models import Kind
from notifier.domain.quiet_hours import quiet_until
from notifier.domain.rules import DigestPolicy, QuietPolicy, Then, Window
from notifier.settings import load

WEEK = frozenset(range(7))
ONE = "destinations: {a: {url: 'a://x', %s}}"
RULE = "routes: [{name: r, %s}]"

# --- quiet hours --------------------------------------------------------------


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
  b: {url: "b://x"}
routes:
  - name: first
    quiet: {windows: "00:00-06:00", then: drop, pass: started}
  - name: second
""",
    )

    assert [one.quiet for one in config.destinations] == [
        QuietPolicy(
            windows=(
                Window(days=frozenset(range(5)), start=time(22), end=time(7)),
                Window(days=frozenset({5, 6}), start=time(0), end=time(0)),
            ),
            zone=ZoneInfo("Europe/Paris"),
            then=Then.DIGEST,
            let_pass=frozenset({Kind.STARTED, Kind.UPCOMING}),
        ),
        None,
    ]
    assert [one.quiet for one in config.routes] == [
        QuietPolicy(
            windows=(Window(days=WEEK, start=time(0), end=time(6)),),
            then=Then.DROP,
            let_pass=frozenset({Kind.STARTED}),
        ),
        None,
    ]


def test_quiet_hours_need_windows_and_nothing_else(tmp_path: Path) -> None:
    (destination,) = configure(tmp_path, ONE % "quiet: {windows: ['22:00-07:00']}").destinations

    assert destination.quiet == QuietPolicy(
        windows=(Window(days=WEEK, start=time(22), end=time(7)),),
        zone=None,
        then=Then.DELIVER,
        let_pass=frozenset(),
    )


@pytest.mark.parametrize(
    ("quiet", "problem"),
    [
        ("{}", ".windows: is missing"),
        ("[22:00-07:00]", ": must be a mapping of keys to values"),
        (
            "of",
            (': "of" is neither off nor a mapping such as {windows: "22:00-07:00"}'),
        ),
        (
            "Mon 21:00-07:00",
            (': "Mon 21:00-07:00" is neither off nor a mapping such as {windows: "22:00-07:00"}'),
        ),
        ("{windows: []}", ".windows: is empty; quiet: off holds nothing back"),
        (
            "{windows: [22-7]}",
            '.windows[0]: "22-7" is not a time of day such as 08:00',
        ),
        (
            "{windows: ['09:00-17:00', 'Mon 22:00 - 07:00']}",
            (
                '.windows[1]: "Mon 22:00 - 07:00" is not a window such as Mon-Fri '
                "22:00-07:00; did you mean Mon 22:00-07:00?"
            ),
        ),
        (
            "{windows: 'Mon, Tue 22:00-07:00'}",
            (
                '.windows: "Mon, Tue 22:00-07:00" is not a window such as Mon-Fri '
                "22:00-07:00; did you mean Mon,Tue 22:00-07:00?"
            ),
        ),
        (
            "{windows: 'Monkey 22:00-07:00'}",
            (
                '.windows: "Monkey 22:00-07:00" names a day that is none of '
                "Mon Tue Wed Thu Fri Sat Sun"
            ),
        ),
        (
            "{windows: '7:00-07:00'}",
            '.windows: "7:00-07:00" is empty; the whole day is 00:00-24:00',
        ),
        (
            "{windows: '22:00-07:00', zone: Europe/Pariss}",
            (
                '.zone: "Europe/Pariss" is no IANA time zone such as Europe/Paris; '
                "did you mean Europe/Paris?"
            ),
        ),
        (
            "{windows: '22:00-07:00', then: digests}",
            '.then: "digests" is none of deliver, digest, drop; did you mean digest?',
        ),
        (
            "{windows: '22:00-07:00', pass: [start]}",
            (
                '.pass[0]: "start" is none of created, updated, upcoming, started, '
                "ended, removed; did you mean started?"
            ),
        ),
        (
            "{windows: '22:00-07:00', let_pass: [started]}",
            ".let_pass: unknown key; did you mean pass?",
        ),
    ],
)
def test_wrong_quiet_hours_are_refused(tmp_path: Path, quiet: str, problem: str) -> None:
    assert refused(tmp_path, ONE % f"quiet: {quiet}") == [f"1: destinations.a.quiet{problem}"]
    assert refused(tmp_path, RULE % f"quiet: {quiet}") == [f"1: routes[0].quiet{problem}"]


def test_a_route_can_lift_its_destinations_quiet_hours(tmp_path: Path) -> None:
    hours = ONE % "quiet: {windows: '22:00-07:00'}"
    config = configure(tmp_path, f"{hours}\n{RULE % 'quiet: off'}")

    [destination], [route] = config.destinations, config.routes
    assert destination.quiet is not None
    assert destination.quiet.windows
    assert route.quiet == QuietPolicy(windows=())
    night = datetime(2026, 11, 22, 23, tzinfo=UTC)
    assert quiet_until(destination.quiet, destination.zone, night)
    assert quiet_until(route.quiet, destination.zone, night) is None


# --- timed digests ------------------------------------------------------------


@pytest.mark.parametrize(
    ("digest", "policy"),
    [
        ("{window: 30s}", DigestPolicy(over=10, window=timedelta(seconds=30))),
        ("{at: 08:00}", DigestPolicy(over=10, at=time(8))),
        ("{at: '8:30', every: day, over: 0}", DigestPolicy(over=0, at=time(8, 30))),
        (
            "{over: 10, window: 30s, at: '08:00', every: day}",
            DigestPolicy(over=10, window=timedelta(seconds=30), at=time(8)),
        ),
        ("off", DigestPolicy(over=None)),
    ],
)
def test_a_timed_digest_is_read(tmp_path: Path, digest: str, policy: DigestPolicy) -> None:
    (destination,) = configure(tmp_path, ONE % f"digest: {digest}").destinations
    (route,) = configure(tmp_path, RULE % f"digest: {digest}").routes

    assert destination.digest == route.digest == policy


@pytest.mark.parametrize(
    ("digest", "problem"),
    [
        ("{every: day}", "every: needs at"),
        ("{every: day, window: 30s}", "every: needs at"),
        ("{at: '08:00', every: week}", 'every: "week" is none of day'),
        ("{at: 8}", 'at: "8" is not a time of day such as 08:00'),
        ("{at: '24:00'}", 'at: "24:00" is not a time of day such as 08:00'),
        ("{window: 0s}", 'window: "0s" must be longer than 0'),
    ],
)
def test_a_wrong_timed_digest_is_refused(tmp_path: Path, digest: str, problem: str) -> None:
    assert refused(tmp_path, ONE % f"digest: {digest}") == [f"1: destinations.a.digest.{problem}"]
    assert refused(tmp_path, RULE % f"digest: {digest}") == [f"1: routes[0].digest.{problem}"]


def test_routes_alone_keep_their_quiet_hours_and_digests(tmp_path: Path) -> None:
    path = tmp_path / "notifier.yaml"
    path.write_text(RULE % "digest: {at: '08:00'}, quiet: {windows: '22:00-07:00'}")

    (route,) = load(path, {}, cwd=tmp_path, required_secrets=False).routes

    assert (route,) == load(path, {}, cwd=tmp_path).routes
    assert route.digest == DigestPolicy(at=time(8))
    assert route.quiet


def test_a_digest_that_is_one_wrong_word_might_have_been_off(tmp_path: Path) -> None:
    problem = '"of" is neither off nor a mapping such as {over: 10}'

    assert refused(tmp_path, ONE % "digest: of") == [f"1: destinations.a.digest: {problem}"]


# --- what may have arrived ----------------------------------------------------


@pytest.mark.parametrize(
    ("text", "dropped"),
    [
        ("rate: 1/s", False),
        ("on_ambiguous: retry", False),
        ("on_ambiguous: drop", True),
    ],
)
def test_what_may_have_arrived_is_sent_again_unless_dropped(
    tmp_path: Path,
    text: str,
    dropped: bool,
) -> None:
    (destination,) = configure(tmp_path, ONE % text).destinations

    assert destination.drop_ambiguous is dropped


# --- the operator -------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("operator: {to: [b, a, b]}", ("b", "a")),
        ("operator: {to: a}", ("a",)),
        ("operator: {to: []}", ()),
        ("operator: {}", ()),
        ("", ()),
    ],
)
def test_the_operator_is_told_through_destinations(
    tmp_path: Path, text: str, names: tuple[str, ...]
) -> None:
    config = configure(
        tmp_path, f"destinations: {{a: {{url: 'a://x'}}, b: {{url: 'b://x'}}}}\n{text}"
    )

    assert config.operator.to == names


def test_the_terminal_can_tell_the_operator(tmp_path: Path) -> None:
    assert configure(tmp_path, "operator: {to: terminal}").operator.to == ("terminal",)
