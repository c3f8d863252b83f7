"""What people have done: each deed leaves its row in the audit, or nothing happens."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import pytest
from clocks import DrivenClock
from storing import HOOK, HOUR, NOW, Shelf, ask, opened, row, stocked

from notifier.domain import pagination
from notifier.domain.auth import Principal
from notifier.domain.models import Failed, Format, Json, Outcome, Refused, Rendered, Scope, Sent
from notifier.errors import BadWish, StoreError
from notifier.storage import destination_state
from notifier.storage.database import Priority
from notifier.workers.admin_actions import Deeds, Trial, answer
from notifier.workers.admin_actions import Refused as NotDone
from notifier.workers.watchdog import Watchdog

pytestmark = pytest.mark.anyio

DESK = Principal(name="token desk-bot")


@dataclass
class Scene:
    database: Path
    shelf: Shelf
    deeds: Deeds
    clock: DrivenClock
    woken: list[str]
    outcomes: list[Outcome] = field(default_factory=lambda: [Sent(status=200)])

    def audit(self) -> list[tuple[str, str, str, dict[str, Any]]]:
        rows = ask(self.database, "SELECT who, action, subject, detail FROM audit ORDER BY seq")
        return [(who, did, what, json.loads(detail)) for who, did, what, detail in rows]

    async def die(self, name: str) -> str:
        """A dead letter; its id."""
        await self.shelf.show(row(name))
        for _ in range(2):
            for lease in await self.shelf.claim():
                refused = Refused(reason="no", status=400, scope=Scope.MESSAGE)
                await self.shelf.settle(lease, refused)
        query = "SELECT id FROM deliveries WHERE milestone_id = ? AND state = 'dead'"
        [(found,)] = ask(self.database, query, name)
        return str(found)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    database = tmp_path / "notifier.db"
    async with opened(database) as store:
        async with store.turn(Priority.MAINTENANCE) as turn:
            await turn.write(destination_state.set_destinations, {HOOK: "x"}, NOW)
        woken: list[str] = []
        clock = DrivenClock()
        found: list[Scene] = []

        async def send(_name: str, _message: Rendered) -> Outcome:
            clock.advance(seconds=2)
            return found[0].outcomes[-1]

        deeds = Deeds(
            db=store,
            clock=clock,
            wake=woken.append,
            look=lambda: woken.append("*"),
            trial=Trial(destinations=[HOOK], message=_message, send=send),
        )
        found.append(Scene(database, await stocked(store), deeds, clock, woken))
        yield found[0]


def _message(name: str) -> Rendered:
    return Rendered(
        message_id="msg_TEST",
        title=name,
        body="It works.",
        format=Format.TEXT,
        urgent=False,
        events=(),
    )


async def test_a_resume_wakes_its_destination(scene: Scene) -> None:
    assert await scene.deeds.resume(DESK, HOOK) == 0

    assert scene.woken == [HOOK]
    assert scene.audit() == [("token desk-bot", "resume", HOOK, {"waiting": 0})]


async def test_dead_letters_that_are_put_back_are_one_row(scene: Scene) -> None:
    first, second = await scene.die("m1"), await scene.die("m2")

    done = await scene.deeds.redrive(DESK)

    assert {one["delivery_id"] for one in done.rows} == {first, second}
    assert done.count == 2
    assert scene.woken == ["*"]
    assert scene.audit() == [("token desk-bot", "redrive", "dead letters", {"deliveries": 2})]


async def test_looking_at_dead_letters_is_no_deed_and_nor_is_nothing(
    scene: Scene,
) -> None:
    await scene.deeds.redrive(DESK)
    dead = await scene.die("m1")
    found = await scene.deeds.redrive(DESK, dry_run=True)

    assert [one["delivery_id"] for one in found.rows] == [dead]
    assert (scene.audit(), scene.woken) == ([], [])


async def test_whoever_only_looks_at_dead_letters_waits_for_no_writer(
    scene: Scene,
) -> None:
    dead = await scene.die("m1")
    async with scene.deeds.db.turn(Priority.MAINTENANCE):
        with anyio.fail_after(5):
            found = await scene.deeds.redrive(DESK, ids=[dead[:12]], dry_run=True)

    assert found.count == 1


async def test_many_dead_letters_go_back_in_turns_and_each_is_noted(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "PUT_BACK", 2)
    for name in ("m1", "m2", "m3"):
        await scene.die(name)

    done = await scene.deeds.redrive(DESK, most=1)

    assert (len(done.rows), done.count) == (1, 3)
    assert [detail for *_, detail in scene.audit()] == [
        {"deliveries": 2},
        {"deliveries": 1},
    ]
    assert {what for _, _, what, _ in scene.audit()} == {"dead letters"}
    states = ask(scene.database, "SELECT DISTINCT state FROM deliveries")
    assert states == [("pending",)]


async def test_a_silence_and_its_end_are_two_rows(scene: Scene) -> None:
    silence = await scene.deeds.silence(
        DESK, {"category": ["Sports"]}, until=NOW + HOUR, why="noisy"
    )
    ended = await scene.deeds.expire(DESK, silence.id[:10])

    assert ended.id == silence.id
    assert scene.woken == ["*", "*"]
    assert scene.audit() == [
        (
            "token desk-bot",
            "silence",
            silence.id,
            {
                "match": "category=Sports",
                "until": "2026-11-22T19:00:00+00:00",
                "why": "noisy",
            },
        ),
        ("token desk-bot", "expire", silence.id, {}),
    ]


async def test_what_cannot_be_done_leaves_no_row(scene: Scene) -> None:
    with pytest.raises(StoreError, match="'nobody' is no destination"):
        await scene.deeds.resume(DESK, "nobody")
    with pytest.raises(StoreError, match="there is no delivery 'x'"):
        await scene.deeds.redrive(DESK, ids=["x"])
    with pytest.raises(BadWish, match="in the future"):
        await scene.deeds.silence(DESK, {"title": ["x"]}, until=NOW, why="x")
    with pytest.raises(BadWish, match="titel: unknown key; did you mean title"):
        await scene.deeds.silence(DESK, {"titel": ["x"]}, until=NOW + HOUR, why="x")
    with pytest.raises(BadWish, match="'hok' is no destination; did you mean hook"):
        await scene.deeds.silence(DESK, {"destination": ["hok"]}, until=NOW + HOUR, why="x")
    with pytest.raises(StoreError, match="no silence is in force"):
        await scene.deeds.expire(DESK, "sil_")
    with pytest.raises(NotDone, match="'nobody' is no destination; there are hook"):
        await scene.deeds.test(DESK, "nobody")

    assert (scene.audit(), scene.woken) == ([], [])


async def test_a_test_says_what_became_of_it(scene: Scene) -> None:
    good = await scene.deeds.test(DESK, HOOK)
    scene.clock.advance(seconds=60)
    scene.outcomes.append(Failed(reason="HTTP 503"))
    bad = await scene.deeds.test(DESK, HOOK)

    assert good == {"destination": HOOK, "ok": True, "said": "sent", "seconds": 2.0}
    assert (bad["ok"], bad["said"]) == (False, "HTTP 503")
    assert [(did, detail) for _, did, _, detail in scene.audit()] == [
        ("test", {"ok": True, "said": "sent"}),
        ("test", {"ok": False, "said": "HTTP 503"}),
    ]


async def test_tests_of_a_destination_lie_apart(scene: Scene) -> None:
    await scene.deeds.test(DESK, HOOK)
    with pytest.raises(NotDone, match="hook was just tested; wait 8 s"):
        await scene.deeds.test(DESK, HOOK)

    scene.clock.advance(seconds=8)
    await scene.deeds.test(DESK, HOOK)
    assert len(scene.audit()) == 2


# --- by commands --------------------------------------------------------------


async def _asked(scene: Scene, question: dict[str, Json]) -> Any:
    watchdog = Watchdog(scene.clock)
    watchdog.heartbeat("poll")
    return await answer(scene.deeds, watchdog, question)


async def test_commands_do_the_same_in_their_own_name(scene: Scene) -> None:
    await scene.die("m1")
    until = (NOW + HOUR).isoformat()
    match: Json = {"title": ["x"]}
    said = [
        await _asked(scene, {"ask": "resume", "destination": HOOK}),
        await _asked(scene, {"ask": "redrive", "ids": [], "dry_run": False}),
        await _asked(scene, {"ask": "silence", "match": match, "until": until, "why": "x"}),
        await _asked(scene, {"ask": "expire", "silence": "sil_"}),
    ]

    assert said[0] == {"waiting": 0}
    assert len(said[1]["deliveries"]) == 1
    assert said[2] == said[3]
    assert [(who, did) for who, did, _, _ in scene.audit()] == [
        ("command", "resume"),
        ("command", "redrive"),
        ("command", "silence"),
        ("command", "expire"),
    ]


async def test_a_command_makes_and_revokes_tokens_and_only_a_hash_is_told(
    scene: Scene,
) -> None:
    wish: Json = {"hash": "h", "kind": "api", "name": "bot", "scope": "read"}
    assert await _asked(scene, {"ask": "token add", "token": wish}) == {"name": "bot"}
    with pytest.raises(StoreError, match="there is a token 'bot' already"):
        await _asked(scene, {"ask": "token add", "token": wish})
    revoked = await _asked(scene, {"ask": "token revoke", "name": "bot"})
    with pytest.raises(StoreError, match="'bot' is no token in force; there are none"):
        await _asked(scene, {"ask": "token revoke", "name": "bot"})

    assert revoked == {"name": "bot"}
    assert scene.audit() == [
        ("command", "token add", "bot", {"scope": "read"}),
        ("command", "token revoke", "bot", {}),
    ]


async def test_health_names_what_is_stuck_and_the_rest_is_not_understood(
    scene: Scene,
) -> None:
    health = await _asked(scene, {"ask": "health"})

    assert (health["ok"], health["stuck"], health["loops"]) == (True, [], {"poll": 0.0})
    assert list(await _asked(scene, {"ask": "what"})) == ["error"]
