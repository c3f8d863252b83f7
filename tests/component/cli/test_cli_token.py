"""Tokens as a person makes them, beside the running service and without one."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest
from commanding import Running, done, kalshi, started, typed
from storing import ask, opened

from notifier.storage.sqlite import InstanceLock


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    async def fill() -> None:
        async with opened(tmp_path / "notifier.db"):
            pass

    anyio.run(fill)
    (tmp_path / "notifier.yaml").write_text(
        "destinations: {ops: {url: '${NOT_SET}'}}\nroutes: [{name: games}]\n"
    )
    return tmp_path


def test_a_token_is_printed_once_and_kept_nowhere(folder: Path) -> None:
    ended = typed("token", "add", "desk-bot", "--scope", "write", cwd=folder)

    assert ended.status == 0
    assert re.fullmatch(r"ntk_[0-9a-f]{64}\n", ended.out)
    assert "shown this once" in ended.err
    for file in folder.iterdir():
        assert ended.out.strip().encode() not in file.read_bytes()
    (row,) = typed("token", "list", "--json", cwd=folder).rows
    assert row.pop("created_at").endswith("Z")
    assert row == {
        "name": "desk-bot",
        "kind": "api",
        "scope": "write",
        "expires_at": None,
        "used_at": None,
        "revoked_at": None,
    }
    assert ended.out.strip() not in typed("token", "list", cwd=folder).out


def test_left_alone_a_token_may_only_look(folder: Path) -> None:
    typed("token", "add", "prometheus", "--expires", "90d", cwd=folder)

    (row,) = typed("token", "list", "--json", cwd=folder).rows
    assert row["scope"] == "read"
    assert row["expires_at"] > row["created_at"]
    assert re.search(
        r"prometheus\s+read\s.*in 90 d.*\snever", typed("token", "list", cwd=folder).out
    )


def test_a_feeds_token_is_for_a_route_that_is_there(folder: Path) -> None:
    ended = typed("token", "add", "phone", "--feed", "games", cwd=folder)
    every = typed("token", "add", "reader", "--feed", "*", cwd=folder)
    wrong = typed("token", "add", "x", "--feed", "gamse", cwd=folder)
    both = typed(*("token", "add", "x", "--feed", "games", "--scope", "read"), cwd=folder)

    assert "/feeds/games.ics" in ended.err
    assert "any feed" in every.err
    assert (wrong.status, both.status) == (2, 2)
    assert "did you mean games?" in wrong.err
    scopes = [row["scope"] for row in typed("token", "list", "--json", cwd=folder).rows]
    assert scopes == ["games", "*"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("add", "a b"), "did you mean a-b?"),
        (("add", "a", "--scope", "all"), "neither read nor write"),
        (("add", "a", "--expires", "soon"), "neither a span"),
        (("add",), "NAME"),
    ],
)
def test_a_wish_that_makes_no_sense_is_refused(
    folder: Path, words: tuple[str, ...], said: str
) -> None:
    ended = typed("token", *words, cwd=folder)

    assert (ended.status, ended.out) == (2, "")
    assert said in re.sub(r"[\s│]+", " ", ended.err)


def test_a_name_is_free_again_once_its_token_is_revoked(folder: Path) -> None:
    typed("token", "add", "bot", cwd=folder)
    again = typed("token", "add", "bot", cwd=folder)
    revoked = typed("token", "revoke", "bot", cwd=folder)
    gone = typed("token", "revoke", "bot", cwd=folder)
    anew = typed("token", "add", "bot", cwd=folder)

    assert [again.status, revoked.status, gone.status, anew.status] == [1, 0, 1, 0]
    assert "there is a token 'bot' already" in again.err
    assert "'bot' is no token in force" in gone.err
    assert len(typed("token", "list", "--json", cwd=folder).rows) == 1
    assert len(typed("token", "list", "--all", "--json", cwd=folder).rows) == 2
    assert "revoked" in typed("token", "list", "--all", cwd=folder).out
    assert ask(folder / "notifier.db", "SELECT who, action FROM audit") == [
        ("command", "token add"),
        ("command", "token revoke"),
        ("command", "token add"),
    ]


def test_nothing_is_written_beside_somebody_who_does_not_answer(folder: Path) -> None:
    lock = InstanceLock(folder / "notifier.db")
    lock.take()
    try:
        ended = typed("token", "add", "bot", cwd=folder)
    finally:
        lock.release()

    assert (ended.status, ended.out) == (75, "")


# --- beside the running service -----------------------------------------------


@dataclass(frozen=True)
class Beside:
    """A service that runs, with a password."""

    folder: Path
    service: Running
    port: int

    def get(self, path: str, token: str = "") -> int:
        """The status that a program gets."""
        try:
            with self._asked(path, token) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code

    def read(self, path: str, token: str) -> Any:
        """What a program is told."""
        with self._asked(path, token) as answer:
            return json.load(answer)

    def _asked(self, path: str, token: str) -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}")
        request.add_header("authorization", f"Bearer {token}")
        return urllib.request.urlopen(request, timeout=20)


def free_port() -> int:
    with socket.socket() as link:
        link.bind(("127.0.0.1", 0))
        return int(link.getsockname()[1])


def configure(folder: Path, base_url: str, port: int) -> None:
    (folder / "notifier.yaml").write_text(
        f"source: {{base_url: '{base_url}', poll_every: 500ms, rate: 20/s}}\n"
        f"web: {{listen: '127.0.0.1:{port}', password: correct-horse}}\n"
    )


@pytest.fixture(scope="module")
def beside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beside]:
    folder = tmp_path_factory.mktemp("served")
    port = free_port()
    with kalshi(milestones=5, cwd=folder) as api:
        configure(folder, api.base_url, port)
        # The file says where it listens, not the environment.
        with started("run", cwd=folder, NOTIFIER__WEB="") as service:
            line = service.read_until(service.process.stderr, "web.listening")
            assert f"http://127.0.0.1:{port}/" in line
            yield Beside(folder, service, port)
            service.process.send_signal(signal.SIGTERM)
            ended = service.end()
    assert ended.status == 0
    assert "Traceback" not in ended.err
    assert "correct-horse" not in ended.err


def test_what_a_command_did_shows_at_once_and_milestones_are_counted(
    beside: Beside,
) -> None:
    token = typed("token", "add", "reader", cwd=beside.folder).out.strip()
    pair = ("--match", "title=x", "--until", "2h", "--why", "shown")
    before = beside.read("/api/v1/status", token)
    silence = typed("silence", "add", *pair, cwd=beside.folder).out.strip()
    after = beside.read("/api/v1/status", token)
    typed("silence", "expire", silence, cwd=beside.folder)
    typed("token", "revoke", "reader", cwd=beside.folder)

    assert before["silences"] == []
    assert [one["id"] for one in after["silences"]] == [silence]
    assert after["milestones"] is not None


def test_status_says_where_the_dashboard_is(beside: Beside) -> None:
    (row,) = typed("status", "--json", cwd=beside.folder).rows
    said = typed("status", cwd=beside.folder).out

    assert row["web"] == f"http://127.0.0.1:{beside.port}/"
    assert f"http://127.0.0.1:{beside.port}/" in said


def test_the_running_service_lets_a_token_in_at_once_and_out_at_once(
    beside: Beside,
) -> None:
    token = typed("token", "add", "bot", cwd=beside.folder).out.strip()
    inside = beside.get("/", token)
    typed("token", "revoke", "bot", cwd=beside.folder)

    assert inside == 200
    assert beside.get("/", token) == 401
    assert beside.get("/-/healthy") == 200


def test_an_address_that_was_asked_for_and_is_taken_ends_the_service(
    beside: Beside, tmp_path: Path
) -> None:
    (tmp_path / "notifier.yaml").write_text(
        f"source: {{base_url: 'http://127.0.0.1:9'}}\nweb: {{listen: '127.0.0.1:{beside.port}'}}\n"
    )
    ended = done("run", cwd=tmp_path, NOTIFIER__WEB="")

    assert ended.status == 1
    assert f"web.listen: cannot listen on 127.0.0.1:{beside.port}" in ended.err
    assert "Traceback" not in ended.err


def test_where_others_reach_it_there_is_no_start_without_a_password(
    tmp_path: Path,
) -> None:
    (tmp_path / "notifier.yaml").write_text("web: {listen: '0.0.0.0:1'}\n")

    ended = done("run", cwd=tmp_path, NOTIFIER__WEB="")

    assert ended.status == 78
    assert "web.listen: others can reach it there" in ended.err


def test_a_reload_moves_it_and_refuses_an_address_that_is_taken(
    beside: Beside,
) -> None:
    file = beside.folder / "notifier.yaml"
    before = file.read_text()
    err = beside.service.process.stderr
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = other.getsockname()[1]
        file.write_text(before.replace(str(beside.port), str(taken)))
        beside.service.process.send_signal(signal.SIGHUP)
        assert "cannot listen on" in beside.service.read_until(err, "config.rejected")
    assert beside.get("/-/healthy") == 200

    moved = Beside(beside.folder, beside.service, free_port())
    file.write_text(before.replace(str(beside.port), str(moved.port)))
    beside.service.process.send_signal(signal.SIGHUP)
    beside.service.read_until(err, f"127.0.0.1:{moved.port}")
    assert moved.get("/-/healthy") == 200
    with pytest.raises(urllib.error.URLError):
        beside.get("/-/healthy")

    file.write_text(before)
    beside.service.process.send_signal(signal.SIGHUP)
    beside.service.read_until(err, f"127.0.0.1:{beside.port}")
    assert beside.get("/-/healthy") == 200
