"""Silences as a person asks for them, beside the running service and without one."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest
from commanding import Ended, Kalshi, Running, kalshi, started, typed
from storing import DAY, HOOK, MINUTE, doc, opened, row, stamp, stocked

from notifier.domain.silences import create_silence
from notifier.storage import admin
from notifier.storage.sqlite import InstanceLock, writer
from notifier.workers import admin_socket

CONFIGURATION = """\
source: {{base_url: "{base_url}", poll_every: 500ms, rate: 20/s}}
destinations: {{terminal: {{url: "terminal://"}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store that knows a game of a week ago, and of today a game and an election."""

    async def fill() -> None:
        now = datetime.now(UTC)
        async with opened(tmp_path / "notifier.db") as store:
            shelf = await stocked(store)
            await shelf.show(row("old"), now=now - 8 * DAY)
            await shelf.show(row("game"), now=now - DAY)
            await shelf.show(row("vote", category="Elections"), now=now - MINUTE)

    anyio.run(fill)
    return tmp_path


def add(folder: Path, *match: str, until: str = "2h", why: str = "noisy") -> Ended:
    pairs = [word for one in match for word in ("--match", one)]
    return typed(*("silence", "add", *pairs, "--until", until, "--why", why), cwd=folder)


def listed(folder: Path, *options: str) -> list[dict[str, Any]]:
    return typed("silence", "list", "--json", *options, cwd=folder).rows


def test_a_silence_says_what_it_does_and_is_listed_from_then_on(folder: Path) -> None:
    before = datetime.now(UTC)

    ended = add(folder, "category=sports", "category=Golf", f"destination={HOOK}")

    (silence,) = listed(folder)
    assert (ended.status, ended.out) == (0, f"{silence['id']}\n")
    assert "Nothing of category=sports, category=Golf goes to hook until" in ended.err
    assert "(in 2 h)" in ended.err
    assert "It matches 1 of the 2 events of the last 7 days." in ended.err
    assert silence == {
        "id": silence["id"],
        "active": True,
        "created_at": silence["created_at"],
        "until": silence["until"],
        "expired_at": None,
        "match": {"category": ["sports", "Golf"], "destination": [HOOK]},
        "why": "noisy",
    }
    lasts = datetime.fromisoformat(silence["until"]) - before
    assert timedelta(hours=2) <= lasts < timedelta(hours=2, minutes=5)
    assert silence["id"].startswith("sil_")


def test_an_instant_in_any_zone_ends_a_silence(folder: Path) -> None:
    add(folder, "category=*", until="2199-12-01T08:00+01:00")

    assert [one["until"] for one in listed(folder)] == ["2199-12-01T07:00:00Z"]


def test_a_rehearsal_silences_nothing(folder: Path) -> None:
    ended = typed(
        *("silence", "add", "--dry-run", "--match", "category=*"),
        *("--until", "2h", "--why", "noisy"),
        cwd=folder,
    )

    assert (ended.status, ended.out) == (0, "")
    assert "It matches 2 of the 2 events" in ended.err
    assert listed(folder, "--all") == []


def test_people_see_what_is_silenced_and_for_how_long(folder: Path) -> None:
    add(folder, "category=Sports", "events=started", until="1d", why="\x1b[1mover it")

    shown = typed("silence", "list", cwd=folder)
    status = typed("status", cwd=folder)

    (silence,) = listed(folder)
    assert silence["id"][:12] in shown.out
    assert "1 day" in shown.out
    assert "events=started, category=Sports" in shown.out
    assert "over it" in shown.out
    assert f"{silence['id'][:12]} ends in 1 day: events=started, " in status.out
    assert "\x1b" not in shown.out + status.out
    (row,) = typed("status", "--json", cwd=folder).rows
    assert row["silences"] == [{key: silence[key] for key in ("id", "until", "match", "why")}]


def test_a_silence_that_is_over_is_shown_only_when_asked_for(folder: Path) -> None:
    now = datetime.now(UTC)
    engine = writer(folder / "notifier.db")
    with engine.begin() as conn:
        keys = {"category": ["*"]}
        over = create_silence(keys, why="over", created_at=now - DAY, until=now - MINUTE)
        admin.add_silence(conn, over)
    engine.dispose()

    assert listed(folder) == []
    assert [(one["id"], one["active"]) for one in listed(folder, "--all")] == [(over.id, False)]
    assert "No silence is in force." in typed("silence", "list", cwd=folder).err
    assert "ended 1 min ago" in typed("silence", "list", "--all", cwd=folder).out


def test_the_beginning_of_an_id_ends_a_silence(folder: Path) -> None:
    silence = add(folder, "category=Sports").out.strip()
    add(folder, "category=Elections", why="later")

    ended = typed("silence", "expire", silence[:12], cwd=folder)

    assert (ended.status, ended.out) == (0, f"{silence}\n")
    assert [one["why"] for one in listed(folder)] == ["later"]
    by_hand = {one["id"]: one["expired_at"] for one in listed(folder, "--all")}
    assert by_hand[silence] is not None
    assert "ended by hand" in typed("silence", "list", "--all", cwd=folder).out


def test_what_there_is_is_named_when_nothing_can_be_ended(folder: Path) -> None:
    nothing = typed("silence", "expire", "sil_", cwd=folder)
    silence = add(folder, "category=Sports").out.strip()
    other = typed("silence", "expire", "sil_1", cwd=folder)

    assert nothing.status == other.status == 1
    assert "no silence is in force" in nothing.err
    assert f"there is {silence} (noisy)" in other.err


@pytest.mark.parametrize(
    ("match", "said"),
    [
        ([], "'category=*', which silences everything"),
        (["Sports"], "'Sports' is not KEY=PATTERN, such as category=Sports"),
        (["=Sports"], "'=Sports' is not KEY=PATTERN"),
        (["categry=Sports"], "categry: unknown key; did you mean category?"),
        (["kind=started"], "kind: unknown key; did you mean events?"),
        (["destinaton=hook"], "destinaton: unknown key; did you mean destination?"),
        (["league=NFL"], "league: unknown key; did you mean details.league?"),
        (["details=NFL"], "details: holds fields"),
        (["category="], "category: has no value"),
        (["events=strated"], 'events: "strated" is none of created,'),
        (["events=strated"], "did you mean started?"),
        (["title=~("], "is not a regular expression after its ~"),
        (["destination=hok"], "'hok' is no destination; did you mean hook?"),
        (["destination=mail"], "'mail' is no destination; there are hook"),
        (["changed=title", "events=started"], "add events=updated"),
    ],
    ids=lambda value: ",".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_matched_is_refused_with_a_hint(
    match: list[str], said: str, folder: Path
) -> None:
    ended = add(folder, *match)

    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err
    assert listed(folder) == []


def test_everything_that_is_wrong_is_said_at_once(folder: Path) -> None:
    ended = add(folder, "categry=Sports", "type=football*", "title=~[")

    assert "categry: unknown key" in ended.err
    assert "title: " in ended.err
    assert "type: " not in ended.err


@pytest.mark.parametrize(
    ("until", "said"),
    [
        ("2020-01-01T00:00Z", "is over; it must lie in the future"),
        ("0s", "is over; it must lie in the future"),
        ("2199-12-01T08:00", "2199-12-01T08:00:00Z is UTC"),
        ("2", "did you mean 2s?"),
        ("tomorrow", "is neither a span such as 7d"),
        ("9999-12-31T23:59-05:00", "is beyond all calendars"),
    ],
)
def test_a_silence_needs_an_end_that_is_to_come(until: str, said: str, tmp_path: Path) -> None:
    ended = add(tmp_path, "category=Sports", until=until)

    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err


@pytest.mark.parametrize(
    ("why", "said"), [(" ", "needs a reason"), ("x" * 201, "at most 200 characters")]
)
def test_a_silence_needs_a_reason_of_one_line(why: str, said: str, folder: Path) -> None:
    ended = add(folder, "category=Sports", why=why)

    assert (ended.status, ended.out) == (2, "")
    assert said in ended.err


@pytest.mark.parametrize("command", ["add", "list", "expire"])
def test_where_nothing_has_run_yet_there_is_nothing_to_silence(
    command: str, tmp_path: Path
) -> None:
    options = {
        "add": ("--match", "category=*", "--until", "2h", "--why", "noisy"),
        "expire": ("sil_A",),
    }

    ended = typed("silence", command, *options.get(command, ()), cwd=tmp_path)

    assert ended.status == 1
    assert "nothing has run here yet" in ended.err


@pytest.mark.parametrize("words", [(), ("add",), ("list",), ("expire",)])
def test_the_options_of_every_command_count_here_too(
    words: tuple[str, ...], folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    helped = typed("silence", *words, "--help", cwd=folder)
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    there = elsewhere / "there.yaml"
    there.write_text(f"store: sqlite:///{folder / 'notifier.db'}\n")

    ended = typed("silence", "-c", there, "list", "--json", cwd=elsewhere)

    assert "--config FILE" in helped.out
    assert "--log-level LEVEL" in helped.out
    assert (ended.status, ended.out) == (0, "")


def test_nobody_writes_beside_a_service_that_cannot_be_asked(folder: Path) -> None:
    lock = InstanceLock(folder / "notifier.db")
    lock.take()
    try:
        ended = add(folder, "category=Sports")
    finally:
        lock.release()

    assert (ended.status, ended.out) == (75, "")
    assert listed(folder) == []


# --- beside the service -------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """A service that runs, and the list that it watches."""

    folder: Path
    service: Running
    api: Kalshi


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    folder = tmp_path_factory.mktemp("served")
    with kalshi(milestones=20, cwd=folder) as api:
        text = CONFIGURATION.format(base_url=api.base_url)
        (folder / "notifier.yaml").write_text(text)
        with started("run", cwd=folder) as service:
            service.read_until(service.process.stderr, "baseline.completed")
            yield Beside(folder, service, api)
            service.process.send_signal(signal.SIGTERM)
            ended = service.end()
    assert ended.status == 0
    assert '"silence.added"' in ended.err
    assert '"silence.expired"' in ended.err


@pytest.fixture
def served(beside: Beside) -> Path:
    return beside.folder


def test_what_falls_under_a_silence_is_dropped_and_says_why(beside: Beside) -> None:
    silence = add(beside.folder, "title=*quiet*", why="enough of it").out.strip()
    now = datetime.now(UTC)
    for key in ("quiet", "loud"):
        game = doc(key, title=f"A {key} game", start_date=stamp(now + DAY))
        beside.api.tell("add", **game | {"last_updated_ts": stamp(now)})
    beside.service.read_until(beside.service.process.stdout, "A loud game")
    typed("silence", "expire", silence, cwd=beside.folder)

    rows = typed("deliveries", "--json", cwd=beside.folder).rows
    said = {row["milestone_id"]: (row["state"], row["reason"]) for row in rows}
    state, reason = said["quiet"]
    assert state == "dropped"
    assert f"by {silence}: enough of it" in reason
    assert said["loud"] == ("delivered", None)


def test_the_running_service_takes_silences_and_ends_them(served: Path) -> None:
    silence = add(served, "events=updated", "destination=terminal", why="flaps").out
    shown = listed(served)
    ended = typed("silence", "expire", silence.strip()[:14], cwd=served)

    assert [f"{one['id']}\n" for one in shown] == [silence]
    assert shown[0]["match"] == {"events": ["updated"], "destination": ["terminal"]}
    assert (ended.status, ended.out) == (0, silence)
    assert listed(served) == []
    assert typed("silence", "expire", "sil_", cwd=served).status == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"match": {"title": ["~("]}, "until": "2199-01-01T00:00:00+00:00"},
        {"match": {"title": ["x"]}, "until": "2199-01-01T00:00:00"},
        {"match": {"title": ["x"]}, "until": "2020-01-01T00:00:00+00:00"},
        {"match": {"title": ["x"]}, "until": "9999-12-31T23:59:00-05:00"},
        {"match": {"title": ["x"]}, "until": "soon"},
        {"match": {"title": "x"}, "until": "2199-01-01T00:00:00+00:00"},
        {"match": {"events": ["begun"]}, "until": "2199-01-01T00:00:00+00:00"},
        {"match": {}, "until": "2199-01-01T00:00:00+00:00"},
    ],
    ids=lambda wrong: str(wrong["match"]) + wrong["until"],
)
def test_the_running_service_takes_no_silence_that_it_cannot_keep(
    served: Path, wrong: dict[str, Any]
) -> None:
    said = admin_socket.ask(served / "notifier.db", {"ask": "silence", "why": "noisy", **wrong})

    assert list(said) == ["error"]
    assert listed(served) == []
    assert typed("healthcheck", cwd=served).status == 0
