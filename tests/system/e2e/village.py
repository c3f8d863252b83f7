"""Real processes on loopback: the stand-in API, the sink, and the service."""

import base64
import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from notifier.domain.models import Json

#: How long anything here may take on a machine that is busy with other things.
PATIENCE_S = 60.0
SECRET = "whsec_bWlsZXN0b25lcyB3aXRob3V0IHJlZ3JldHM="
_LOOK_EVERY_S = 0.05
_LONGEST_LINE = 64 * 1024


async def until(come_true: Callable[[], bool], *, patience_s: float = PATIENCE_S) -> None:
    """Wait for what other processes do."""
    with anyio.fail_after(patience_s):
        while not come_true():  # noqa: ASYNC110 - no event reaches us from there
            await anyio.sleep(_LOOK_EVERY_S)


@asynccontextmanager
async def _process(*command: str, cwd: Path, err: int | None = None) -> AsyncIterator[Process]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith("NOTIFIER_")}
    # It sees the same modules as we do.
    environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    process = await anyio.open_process(
        [sys.executable, "-m", *command], cwd=cwd, env=environ, stderr=err
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        with anyio.CancelScope(shield=True):
            await process.aclose()


async def _said_first(process: Process) -> dict[str, Any]:
    """The line with which a process of the demo says where it listens."""
    assert process.stdout is not None
    with anyio.fail_after(PATIENCE_S):
        out = BufferedByteReceiveStream(process.stdout)
        line = await out.receive_until(b"\n", _LONGEST_LINE)
    said: dict[str, Any] = json.loads(line)
    return said


# --- the API ------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Page:
    """A page of the list as it was served."""

    number: int
    at: datetime
    #: Polls and longer reads run side by side, each one page at a time.
    lane: str
    rows: list[dict[str, Json]]


class Api:
    """The stand-in in a process of its own."""

    def __init__(self, base_url: str, client: httpx.AsyncClient) -> None:
        self.base_url = base_url
        self._client = client

    async def tell(self, what: str, **details: Any) -> None:
        """Let something happen there."""
        answer = await self._client.post(f"/_control/{what}", json=details)
        assert answer.status_code == 200, answer.text

    async def requests(self) -> int:
        """How many there have been."""
        answer = await self._client.get("/_control/state")
        return int(answer.json()["requests"])

    async def pages(self, *, after: int = 0) -> list[Page]:
        """Every whole page of the list that it has served since, in order."""
        answer = await self._client.get("/_control/served", params={"after": after})
        pages = (
            _page(one)
            for one in answer.json()["served"]
            if one["status"] == 200 and urlsplit(one["target"]).path.endswith("/milestones")
        )
        return [page for page in pages if page is not None]


def _page(served: Mapping[str, Any]) -> Page | None:
    """None: its body was spoilt."""
    query = parse_qs(urlsplit(served["target"]).query)
    try:
        body = json.loads(base64.b64decode(served["body"]))
    except ValueError:
        return None
    return Page(
        number=served["number"],
        at=datetime.fromisoformat(served["at"]),
        lane="poll" if "min_updated_ts" in query else "sweep",
        rows=body["milestones"],
    )


@asynccontextmanager
async def api(folder: Path, *, milestones: int = 0, record: bool = True) -> AsyncIterator[Api]:
    """The stand-in, which can be told what happens next and records what it serves."""
    options = ["--control", "--milestones", str(milestones)]
    options += ["--record"] if record else []
    async with _process("servers.api_process", *options, cwd=folder) as process:
        said = await _said_first(process)
        root = f"http://127.0.0.1:{said['port']}"
        async with httpx.AsyncClient(base_url=root, timeout=PATIENCE_S) as client:
            yield Api(said["base_url"], client)


# --- the sink -----------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One request as the sink noted it before it answered."""

    at: datetime
    message_id: str
    genuine: bool
    events: list[dict[str, Any]]

    @property
    def event_ids(self) -> tuple[str, ...]:
        return tuple(event["id"] for event in self.events)

    @property
    def kinds(self) -> list[str]:
        return [event["type"].rpartition(".")[2] for event in self.events]


@dataclass(frozen=True, kw_only=True)
class Sink:
    """A receiver of webhooks in a process of its own."""

    url: str
    log: Path

    def arrivals(self) -> list[Arrival]:
        lines = self.log.read_text("utf-8").splitlines() if self.log.exists() else []
        return [_arrival(json.loads(line)) for line in lines]


def _arrival(line: Mapping[str, Any]) -> Arrival:
    return Arrival(
        at=datetime.fromisoformat(line["at"]),
        message_id=line["message_id"],
        genuine=line["is_genuine"],
        events=list(line["events"]),
    )


@asynccontextmanager
async def sink(folder: Path) -> AsyncIterator[Sink]:
    log = folder / "sink.jsonl"
    options = ("--log", str(log), "--secret", SECRET)
    async with _process("servers.webhook_sink", *options, cwd=folder) as process:
        said = await _said_first(process)
        yield Sink(url=said["url"], log=log)


# --- the service --------------------------------------------------------------

_HASTY = {"poll_every": "200ms", "sweep_every": "1500ms", "rate": "100/s"}


class Service:
    """`notifier run`, one life after another, on one configuration."""

    def __init__(
        self,
        folder: Path,
        *,
        base_url: str,
        hook: str,
        source: Mapping[str, str] = _HASTY,
        program: Sequence[str] = ("notifier", "run"),
    ) -> None:
        self.folder = folder
        self.store = StoreView(folder / "notifier.db")
        self._program = program
        self._lives = 0
        keys = {"base_url": base_url, **_HASTY, **source}
        (folder / "notifier.yaml").write_text(
            "web: off\nsource:\n"
            + "".join(f"  {key}: {value}\n" for key, value in keys.items())
            + f'destinations:\n  hook: {{url: "{hook}"}}\n'
        )

    @asynccontextmanager
    async def life(self) -> AsyncIterator["Life"]:
        """One process, killed at the end if it still lives."""
        self._lives += 1
        log = self.folder / f"life-{self._lives}.log"
        with log.open("wb") as err:
            async with _process(*self._program, cwd=self.folder, err=err.fileno()) as process:
                yield Life(process, log)


class Life:
    """One process of the service."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def said(self) -> str:
        """What it has logged so far."""
        return self._log.read_text("utf-8")

    async def started(self) -> None:
        """Wait until everything runs."""
        await until(lambda: "app.started" in self.said or self._is_over())
        assert not self._is_over(), self.said

    def _is_over(self) -> bool:
        return self.process.returncode is not None

    async def kill(self) -> None:
        """As a power cut would, at whatever it is doing."""
        self.process.kill()
        await self.process.wait()

    async def stop(self) -> int:
        """Ask it to end; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return await self.end()

    async def end(self) -> int:
        """Wait for its end; its exit status."""
        with anyio.fail_after(PATIENCE_S):
            return await self.process.wait()


class StoreView:
    """The service's database, looked at from outside."""

    def __init__(self, database: Path) -> None:
        self.database = database

    def ask(self, text: str, *values: object) -> list[Any]:
        """Rows; none while there is no such table yet."""
        uri = f"file:{self.database}?mode=ro"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=5)) as conn:
                return conn.execute(text, values).fetchall()
        except sqlite3.OperationalError:
            return []

    def is_baselined(self) -> bool:
        return bool(self.ask("SELECT 1 FROM watches WHERE baselined_at IS NOT NULL"))

    def has(self, milestone_id: str) -> bool:
        return bool(self.ask("SELECT 1 FROM milestones WHERE id = ?", milestone_id))

    def states(self) -> dict[str, int]:
        counts = self.ask("SELECT state, count(*) FROM deliveries GROUP BY state")
        return dict(counts)

    def events(self) -> list[dict[str, Any]]:
        """Every event as the command shows it, in the order of the store."""
        done = subprocess.run(
            [sys.executable, "-m", "notifier", "events", "--json"],
            cwd=self.database.parent,
            capture_output=True,
            check=True,
        )
        return [json.loads(line) for line in done.stdout.splitlines()]


def instants(texts: Sequence[str]) -> list[datetime]:
    return [datetime.fromisoformat(text) for text in texts]


def soon(now: datetime, seconds: float) -> str:
    """That many seconds from now, to the whole second, as Kalshi writes it."""
    at = (now + timedelta(seconds=seconds)).replace(microsecond=0)
    return at.isoformat().replace("+00:00", "Z")
