"""Rows: a deadly message, lost permissions, refusals, TLS, very much at once."""

import signal
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
from e2e.village import Life, until
from servers.authority import Authority
from servers.http_sink import HttpSink, http_sink

from faults.ledger import Counts, Row, Stage, Unavailable
from faults.scene import HOOK, Scene, command, scene
from faults.services import AUTHORITY, NAME, POISON, WAIT, is_unprivileged_possible
from faults.veiled import Veil, veil
from faults.verdict import arrivals
from notifier.domain.retry_policy import RETRY_SCHEDULE

_TRIES = len(RETRY_SCHEDULE) + 1


def _replace(there: Scene, old: str, new: str) -> None:
    config = there.stage.folder / "notifier.yaml"
    config.write_text(config.read_text("utf-8").replace(old, new), "utf-8")


# --- a deadly message ---------------------------------------------------------


async def _deadly(stage: Stage) -> Counts:
    """Whoever puts it into words dies; the waits between its tries are cut short."""
    async with scene(stage, program=("faults.services", "poisoned")) as there:
        await there.baseline()
        key = await there.add(title=POISON)
        while not _is_dead(there, key):
            there.check(there.faults <= _TRIES, "it has no end of tries")
            if there.broken:
                break
            await _die_of_it(there, key)
        dead = there.service.store.ask(
            "SELECT milestone_id, tries FROM deliveries WHERE state = 'dead'"
        )
        there.check(dead == [(key, _TRIES)], f"dead: {dead}")
        there.check(there.faults == _TRIES, f"it died {there.faults} times")
        counts = await there.ending()
    # What is dead is not lost: it is shown, and a person may put it back.
    return replace(counts, lost=counts.lost - 1)


async def _die_of_it(there: Scene, key: str) -> None:
    """A life in which others get through, and which ends by the next try."""
    async with there.service.life() as life:
        other = await there.add()
        over = partial(_has_come_to_its_end, there, life, key)
        # Its next try waits; what else there is does not.
        waits = there.faults % 4 > 0
        await until(
            lambda: (
                over()
                or _state(there, other) == "delivered"
                or (waits and _state(there, key) == "pending")
            )
        )
        if not over():
            _hurry(there)
            await there.add()
        await until(over)
        if _is_dead(there, key):
            await there.stopped(life)
            return
        status = await life.end()
        there.check(status == -signal.SIGABRT, f"it ended with {status}")
        there.faults += 1
        await there.died(life)


def _has_come_to_its_end(there: Scene, life: Life, key: str) -> bool:
    return life.process.returncode is not None or _is_dead(there, key)


def _is_dead(there: Scene, key: str) -> bool:
    return _state(there, key) == "dead"


def _state(there: Scene, key: str) -> str:
    ask = there.service.store.ask
    rows = ask("SELECT state FROM deliveries WHERE milestone_id = ?", key)
    return str(rows[0][0]) if rows else ""


def _hurry(there: Scene) -> None:
    """Whatever waits for its next try is due."""
    database = there.stage.folder / "notifier.db"
    with closing(sqlite3.connect(database, timeout=5)) as conn, conn:
        conn.execute("UPDATE deliveries SET due_at = born_at WHERE state = 'pending'")


# --- permissions --------------------------------------------------------------

#: What is changed, and its mode.
_LOST = (
    ("notifier.db", 0o444),
    ("notifier.db", 0o000),
    (".", 0o555),
    (".", 0o000),
)
_REFUSED_STARTS = (1, 74, 77, 78)


async def _forbidden(stage: Stage) -> Counts:
    """Modes change under the running service, and are still so when it starts."""
    if not is_unprivileged_possible():
        raise Unavailable("it takes root, and setpriv")
    async with scene(stage, program=("faults.services", "unprivileged")) as there:
        await there.baseline()
        for name, mode in _LOST:
            path = stage.folder / name
            before = path.stat().st_mode & 0o777
            where = f"{name} {mode:o}"
            async with there.service.life() as life:
                await life.started()
                await until((stage.folder / "notifier.db.sock").exists)
                path.chmod(mode)
                there.faults += 1
                await _goes_on_or_ends(there, life, where)
            await _says_why(there, where)
            path.chmod(before)
            _put_right(stage.folder)
        return await there.ending()


def _put_right(folder: Path) -> None:
    """What others make beside the database has its mode."""
    for file in folder.glob("notifier.db*"):
        file.chmod(0o600)


async def _goes_on_or_ends(there: Scene, life: Life, where: str) -> None:
    """What it holds open serves it on; else it ends, and says why."""
    before = len(there.hook.requests)
    await there.add()
    await until(lambda: there.arrived(before + 1) or life.process.returncode is not None)
    if life.process.returncode is None:
        await there.stopped(life)
        return
    there.check("\nnotifier: " in life.said, f"{where}: it did not say why")
    await there.died(life)


async def _says_why(there: Scene, where: str) -> None:
    """It starts all the same, as its files are there, or says what is wrong."""
    async with there.service.life() as life:
        await until(lambda: life.process.returncode is not None or "app.started" in life.said)
        with anyio.move_on_after(2):
            await life.process.wait()
        if life.process.returncode is None:
            await there.stopped(life)
            return
        status = await life.end()
        there.check(status in _REFUSED_STARTS, f"{where}: it ended with {status}")
        there.check("ermission denied" in life.said, f"{where}: {life.said}")
        await there.died(life)


# --- refusals of the API ------------------------------------------------------

#: Both lanes, and what was under way.
_ASKED = 4


async def _unwelcome(stage: Stage, *, status: int) -> Counts:
    """It is refused, is left alone, and asks again by itself."""
    with http_sink() as desk:
        async with scene(stage, program=("faults.services", "impatient")) as there:
            _appoint(there, desk)
            await there.baseline()
            async with there.service.life() as life:
                await life.started()
                await there.update(await there.add())
                await until(lambda: there.arrived(1))
                await there.fault({"kind": "status", "status": status}, times=None)
                await until(lambda: "read.failed" in life.said)
                await there.add()
                await until(lambda: _is_told(desk, str(status)))
                await _is_left_alone(there, life)
                await there.api.tell("heal")
                # It must be read well for half a minute.
                await until(lambda: len(desk.requests) == 2)
                await there.settled(life)
            return await there.counts()


async def _is_left_alone(there: Scene, life: Life) -> None:
    """From now on, for as long as it says."""
    before = await there.api.requests()
    failed = life.said.count('"read.failed"')
    await anyio.sleep(WAIT.total_seconds() * 2)
    asked = await there.api.requests() - before
    there.check(0 < asked <= _ASKED * 2, f"it asked {asked} times")
    there.check(life.said.count('"read.failed"') > failed, "it did not ask again")


async def _for_minutes(stage: Stage) -> Counts:
    """It is refused; until a restart it does not ask again."""
    with http_sink() as desk:
        async with scene(stage) as there:
            _appoint(there, desk)
            await there.baseline()
            for _ in range(2):
                async with there.service.life() as life:
                    before = await there.api.requests()
                    await there.fault({"kind": "status", "status": 401}, times=None)
                    await until(lambda life=life: "read.failed" in life.said)  # type: ignore[misc] # bound now
                    await there.add()
                    await anyio.sleep(6)
                    asked = await there.api.requests() - before
                    there.check(asked <= _ASKED, f"it asked {asked} times")
                    await there.stopped(life)
            there.check(len(desk.requests) == 1, f"told {len(desk.requests)} times")
            await there.api.tell("heal")
            return await there.ending()


def _appoint(there: Scene, desk: HttpSink) -> None:
    """Somebody hears of troubles, and of nothing else."""
    config = there.stage.folder / "notifier.yaml"
    said = config.read_text("utf-8")
    config.write_text(
        f'{said}  desk: {{url: "webhook://{desk.netloc}/desk"}}\n'
        "routes:\n  - {name: all, to: [hook]}\n"
        "operator: {to: [desk]}\n",
        "utf-8",
    )


def _is_told(desk: HttpSink, what: str) -> bool:
    return any(what in one.body.decode() for one in desk.requests)


# --- TLS ----------------------------------------------------------------------


@asynccontextmanager
async def _veiled(there: Scene, target: int, ours: Authority) -> AsyncIterator[Veil]:
    (there.stage.folder / AUTHORITY).write_bytes(ours.certificate)
    async with veil(target, ours.server) as one:
        yield one


async def _strangers(stage: Stage) -> Counts:
    """The API's certificate is nobody's we trust, another's; its handshake breaks."""
    ours, theirs = Authority(NAME), Authority(NAME)
    async with (
        scene(stage, program=("faults.services", "trusting")) as there,
        _veiled(there, there.wire.port, ours) as door,
    ):
        plain, secure = f"http://127.0.0.1:{there.wire.port}", f"https://{NAME}"
        _replace(there, plain, f"{secure}:{door.port}")
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await there.update(await there.add())
            await until(lambda: there.arrived(1))
            for context, is_cut in (
                (theirs.server, False),
                (ours.playing("other.example"), False),
                (ours.server, True),
            ):
                failed, asked = _failures(life), await there.api.requests()
                await door.become(context, is_cut=is_cut)
                there.faults += 1
                await there.add()
                await until(lambda n=failed: _failures(life) > n)  # type: ignore[misc] # bound now
                begun = await there.api.requests()
                await anyio.sleep(2)
                seen = await there.api.requests() - begun
                there.check(not seen, f"{seen} requests went to a stranger")
                there.lost_on_the_way.append((asked, begun))
                await door.become(ours.server)
                await until(lambda: there.service.store.has(there.keys[-1]))
            await there.settled(life)
        return await there.counts()


def _failures(life: Life) -> int:
    return life.said.count("read.failed")


async def _impostors(stage: Stage) -> Counts:
    """The same of a far end."""
    ours, theirs = Authority(), Authority()
    async with (
        scene(stage, program=("faults.services", "trusting")) as there,
        _veiled(there, there.hook.port, ours) as door,
    ):
        old = f"webhook://{there.hook.netloc}{HOOK}"
        _replace(there, old, f"webhooks://127.0.0.1:{door.port}{HOOK}")
        await there.baseline()
        async with there.service.life() as life:
            await life.started()
            await there.update(await there.add())
            await until(lambda: there.arrived(1))
            for context, is_cut in (
                (theirs.server, False),
                (ours.playing("other.example"), False),
                (ours.server, True),
            ):
                await until(lambda: _none_is_open(there))
                before, count = len(there.hook.requests), door.count
                await door.become(context, is_cut=is_cut)
                there.faults += 1
                await there.add()
                await until(lambda n=count: door.count > n and _has_failed(there))  # type: ignore[misc] # bound now
                came = len(there.hook.requests) - before
                there.check(not came, "a stranger got a message")
                await door.become(ours.server)
                status, said = await command(stage.folder, "resume", "hook")
                there.check(status == 0, said)
            await there.settled(life)
        return await there.counts()


def _none_is_open(there: Scene) -> bool:
    return there.service.store.states().keys() <= {"delivered", "superseded"}


def _has_failed(there: Scene) -> bool:
    """The newest, and its failure is noted."""
    key = there.keys[-1]
    ask = there.service.store.ask
    return bool(
        ask(
            "SELECT 1 FROM deliveries WHERE milestone_id = ? AND state = 'pending' "
            "AND reason IS NOT NULL",
            key,
        )
    )


# --- very much at once --------------------------------------------------------

_MANY = 5_000
#: One digest tells so many at most.
_TOGETHER = 500
_CALM = {"poll_every": "2s", "sweep_every": "5s", "rate": "100/s"}


async def _flood(stage: Stage, *, read: str) -> Counts:
    """Five thousand new ones are there when it starts again; it is killed as well."""
    source = {**_CALM, "full_read_every": "3s" if read == "full" else "1h"}
    count = 300 if stage.quick else _MANY
    async with scene(stage, milestones=1_000, source=source) as there:
        await there.baseline()
        await _add_many(there, count)
        async with there.service.life() as life:
            await until(lambda: bool(_events(there)))
            await there.killed(life)
        async with there.service.life() as life:
            await life.started()
            await until(lambda: _events(there) == count, patience_s=120)
            await there.settled(life)
        counts = await there.counts()
        messages = len({one.message_id for one in arrivals(there.hook.requests)})
        most = 2 * (count // _TOGETHER + 1)
        if messages > most:
            flood = f"{messages} messages of {count} milestones"
            return replace(counts, broken=(*counts.broken, flood))
        return counts


def _events(there: Scene) -> int:
    rows = there.service.store.ask("SELECT count(*) FROM events")
    return int(rows[0][0]) if rows else 0


async def _add_many(there: Scene, count: int) -> None:
    """Updated long ago: no poll shows them, only what reads the list does."""
    limit = anyio.CapacityLimiter(8)

    async def one() -> None:
        async with limit:
            await there.add(last_updated_ts="2024-01-01T00:00:00Z")

    async with anyio.create_task_group() as tasks:
        for _ in range(count):
            tasks.start_soon(one)


ROWS = (
    Row(
        id="message-kills",
        matrix="7",
        done="whoever puts one message into words aborts, at each of its tries",
        holds="it runs out of tries and is dead; everything else arrives meanwhile",
        run=_deadly,
    ),
    Row(
        id="permission-lost",
        matrix="12",
        done="the database, then its folder, becomes unwritable, then unreadable, "
        "under the running service and at its next start",
        holds="it goes on or ends and says why; it starts, or says why not; "
        "afterwards nothing is lost",
        run=_forbidden,
    ),
    Row(
        id="api-401",
        matrix="17",
        done="401 to everything, over a restart",
        holds="it asks no more often than it starts, tells the operator once, and "
        "catches up after the next start",
        run=_for_minutes,
    ),
    Row(
        id="api-403",
        matrix="17",
        done="403 to everything; the pause of five minutes is one of two seconds",
        holds="the pause is kept, the operator is told of its begin and its end; nothing is lost",
        run=partial(_unwelcome, status=403),
    ),
    Row(
        id="api-tls",
        matrix="18",
        done="the API shows an untrusted certificate, another host's, or breaks the handshake off",
        holds="nothing is asked there; it goes on by itself, nothing is lost",
        run=_strangers,
    ),
    Row(
        id="sink-tls",
        matrix="18, 32",
        done="the far end shows an untrusted certificate, another host's, or breaks "
        "the handshake off",
        holds="it gets nothing; all arrives once it is itself again, once and in order",
        run=_impostors,
    ),
    Row(
        id="flood-sweep",
        matrix="46",
        done="5,000 new milestones in one sweep; SIGKILL in its middle",
        holds="all are told, in a few digests",
        run=partial(_flood, read="sweep"),
    ),
    Row(
        id="flood-full",
        matrix="46",
        done="5,000 new milestones in one read of everything; SIGKILL in its middle",
        holds="all are told, in a few digests",
        run=partial(_flood, read="full"),
    ),
)
