"""A service that runs, and the commands that look at it meanwhile."""

import json
import signal
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from commanding import Ended, Running, done, kalshi, started, typed

CONFIGURATION = """\
source: {{base_url: "{base_url}", poll_every: 500ms, rate: 20/s}}
destinations:
  terminal: {{url: "terminal://"}}
  deaf: {{url: "webhook://127.0.0.1:9/?secret=${{SECRET}}"}}
routes:
  - name: renamed
    match: {{events: [updated], changed: [title]}}
    to: [terminal, deaf]
  - name: started
    match: {{events: [started]}}
    to: [terminal]
"""
SECRET = "whsec_bWlsZXN0b25lcyB3aXRob3V0IHJlZ3JldHM="


class Scene:
    """One service, and one milestone that was renamed while it ran."""

    def __init__(self, folder: Path, service: Running, baseline: str) -> None:
        self.folder = folder
        self.service = service
        self.baseline = baseline

    def typed(self, *args: object) -> Ended:
        """A command without the configuration's secrets."""
        return typed(*args, cwd=self.folder)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("service")
    with kalshi(milestones=60, cwd=folder) as api:
        text = CONFIGURATION.format(base_url=api.base_url)
        (folder / "notifier.yaml").write_text(text)
        with started("run", cwd=folder, SECRET=SECRET) as service:
            err = service.process.stderr
            baseline = service.read_until(err, "baseline.completed")
            api.tell("update", id=api.ids()[0], fields={"title": "Renamed [red]\x1b[1m"})
            service.read_until(service.process.stdout, "Renamed:")
            service.read_until(err, "message.failed")
            yield Scene(folder, service, baseline)
            service.process.send_signal(signal.SIGTERM)
            ended = service.end()
            assert ended.status == 0
            assert "app.stopped" in ended.err
            assert SECRET not in ended.err


def test_the_log_says_when_the_baseline_is_complete(scene: Scene) -> None:
    line = json.loads(scene.baseline)

    assert line["milestones"] > 0
    assert line["starts_ahead"] > 0


def test_events_are_one_object_a_line(scene: Scene) -> None:
    ended = scene.typed("events", "--json")

    (row,) = ended.rows
    assert ended.err == ""
    assert set(row) == {
        *("event_id", "kind", "milestone_id", "at", "seen_at", "missed", "changes"),
        "milestone",
    }
    assert row["kind"] == "updated"
    assert [change["field"] for change in row["changes"]] == ["title"]
    assert row["milestone"]["title"] == "Renamed [red]\x1b[1m"
    assert row["seen_at"].endswith("Z")


def test_deliveries_are_one_object_a_line(scene: Scene) -> None:
    rows = {row["destination"]: row for row in scene.typed("deliveries", "--json").rows}

    assert set(rows["terminal"]) == {
        *("delivery_id", "event_id", "kind", "milestone_id", "message_id"),
        *("destination", "route", "state", "attempts", "due_at", "sent_at", "reason"),
    }
    assert rows["terminal"]["state"] == "delivered"
    assert rows["terminal"]["due_at"] is None
    assert rows["deaf"]["state"] in {"pending", "leased"}
    assert rows["deaf"]["attempts"] >= 1
    assert "refused" in rows["deaf"]["reason"]


def test_only_dead_letters_are_listed_when_asked_for(scene: Scene) -> None:
    assert scene.typed("deliveries", "--dead", "--json").out == ""


def test_since_and_limit_narrow_the_rows(scene: Scene) -> None:
    (event,) = scene.typed("events", "--json", "--since", "1h").rows

    after = datetime.fromisoformat(event["seen_at"]).replace(year=2100).isoformat()
    assert scene.typed("events", "--json", "--since", after).out == ""
    assert len(scene.typed("deliveries", "--json", "--limit", "1").rows) == 1


def test_a_person_gets_a_table_with_nothing_a_terminal_obeys(scene: Scene) -> None:
    events = scene.typed("events")
    deliveries = scene.typed("deliveries")

    assert "Renamed [red]" in events.out
    assert "\x1b" not in events.out
    assert "delivered" in deliveries.out


def test_explain_needs_no_secret_to_say_why(scene: Scene) -> None:
    (event,) = scene.typed("events", "--json").rows

    (row,) = scene.typed("explain", event["event_id"], "--json").rows

    assert set(row) == {"event", "routes", "deliveries"}
    assert row["event"] == event
    assert row["routes"] == [
        {"route": "renamed", "matched": True, "why": "matched"},
        {"route": "started", "matched": False, "why": "kind is updated, wants started"},
    ]
    assert [one["destination"] for one in row["deliveries"]] == ["terminal", "deaf"]


def test_the_beginning_of_an_id_is_enough_to_explain_it(scene: Scene) -> None:
    (event,) = scene.typed("events", "--json").rows

    ended = scene.typed("explain", event["event_id"][:10])

    assert event["event_id"] in ended.out
    assert "yes renamed -> terminal, deaf: matched" in ended.out
    assert "connection refused" in ended.out


def test_an_event_that_is_not_there_cannot_be_explained(scene: Scene) -> None:
    ended = scene.typed("explain", "evt_%")

    assert ended.status == 1
    assert "there is no event 'evt_%'" in ended.err


def test_explain_shows_the_rest_when_the_routes_are_wrong(scene: Scene) -> None:
    wrong = scene.folder / "wrong.yaml"
    wrong.write_text("routes: [{name: 7 7}]\nstore: sqlite:///notifier.db\n")
    (event,) = scene.typed("events", "--json").rows

    ended = scene.typed("explain", event["event_id"], "--json", "--config", wrong)

    assert ended.status == 0
    assert ended.rows[0]["routes"] is None
    assert len(ended.rows[0]["deliveries"]) == 2
    assert "wrong.yaml:1: routes[0].name" in ended.err


def test_status_tells_how_things_stand(scene: Scene) -> None:
    (row,) = scene.typed("status", "--json").rows
    said = scene.typed("status").out

    assert row["running"] is True
    assert row["pid"] == scene.service.process.pid
    assert row["web"] is None
    assert row["events_24h"] == {"updated": 1}
    assert {one["name"]: one["dead"] for one in row["destinations"]} == {
        "deaf": 0,
        "terminal": 0,
    }
    assert 1 <= len(row["next_starts"]) <= 5
    assert f"running (process {row['pid']})" in said
    assert "1 updated" in said
    assert row["next_starts"][0]["title"] in said


def test_the_service_puts_nothing_back_that_is_not_there(scene: Scene) -> None:
    typo = scene.typed("redrive", "dlv_typo")
    nobody = scene.typed("redrive", "--destination", "daef")
    nothing = scene.typed("redrive")

    assert (typo.status, nobody.status, nothing.status) == (1, 1, 0)
    assert "there is no delivery 'dlv_typo'; none is dead" in typo.err
    assert "'daef' is no destination; there are deaf, terminal" in nobody.err


def test_a_service_whose_loops_advance_is_healthy(scene: Scene) -> None:
    assert scene.typed("healthcheck") == Ended(status=0, out="", err="")


def test_a_second_service_on_the_store_says_who_has_it(scene: Scene) -> None:
    ended = done("run", cwd=scene.folder, SECRET=SECRET)

    assert ended.status == 75
    last = ended.err.splitlines()[-1]
    assert f"in use by process {scene.service.process.pid}" in last
    assert "Traceback" not in ended.err
    assert ended.out == ""


def test_a_backup_is_whole_and_replaces_the_last_one(scene: Scene) -> None:
    copy = scene.folder / "copy.db"

    statuses = [scene.typed("backup", copy).status for _ in range(2)]

    assert statuses == [0, 0]
    with sqlite3.connect(copy) as conn:
        assert conn.execute("SELECT count(*) FROM events").fetchone() == (1,)
    conn.close()


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("notifier.yaml", "is there, and no database"),
        ("notifier.db", "is the database itself"),
        ("notifier.db-wal", "is the database itself"),
        (".", "is a folder"),
        ("nowhere/copy.db", "No such file or directory"),
    ],
)
def test_a_backup_overwrites_nothing_else(scene: Scene, target: str, why: str) -> None:
    ended = scene.typed("backup", target)

    assert ended.status == 1
    assert why in ended.err
    assert scene.typed("events", "--json").status == 0
