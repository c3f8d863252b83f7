"""Commands typed in this process, and in processes of their own."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import structlog
from typer.testing import CliRunner

from notifier.cli.commands import app

#: Longer than anything here takes.
_PATIENCE_S = 30.0
NOTIFIER = [sys.executable, "-c", "from notifier.cli import main; main()"]


@dataclass(frozen=True, kw_only=True)
class Ended:
    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


def typed(*args: object, cwd: Path, **environ: str) -> Ended:
    """A command run in this process; its environment has nothing of ours but this."""
    # pytest-xdist sets COLUMNS, which would fold tables.
    ours = ("NOTIFIER_", "XDG_", "COLUMNS")
    absent = [name for name in os.environ if name.startswith(ours)]
    env: dict[str, str | None] = {**dict.fromkeys(absent), "HOME": str(cwd), **environ}
    with contextlib.chdir(cwd):
        result = CliRunner().invoke(app, list(map(str, args)), env=env)
    # Its logs went to a stream that is closed by now.
    structlog.reset_defaults()
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Ended(status=result.exit_code, out=result.stdout, err=result.stderr)


class Running:
    """A process, killed when it takes too long, whatever it is doing."""

    def __init__(
        self,
        command: list[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        stderr: int = subprocess.PIPE,
    ) -> None:
        kept = {k: v for k, v in os.environ.items() if not k.startswith("NOTIFIER_")}
        env = {**kept, "HOME": str(cwd), "NOTIFIER__WEB": "off", **environ}
        if not env["NOTIFIER__WEB"]:  # as the file says
            del env["NOTIFIER__WEB"]
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=stderr,
            encoding="utf-8",
        )
        self._ended: Ended | None = None
        self._watchdog = threading.Timer(_PATIENCE_S, self.process.kill)
        self._watchdog.start()

    def read_until(self, stream: IO[str] | None, text: str) -> str:
        """The first line with that text; all before it is gone."""
        assert stream is not None
        seen = []
        for line in stream:
            if text in line:
                return line
            seen.append(line)
        raise AssertionError(f"never said {text!r}, but {''.join(seen)!r}")

    def end(self) -> Ended:
        """Wait for it."""
        if self._ended is None:
            out, err = self.process.communicate()
            self._watchdog.cancel()
            status = self.process.returncode
            self._ended = Ended(status=status, out=out or "", err=err or "")
        return self._ended


@contextlib.contextmanager
def started(*args: object, cwd: Path, **environ: str) -> Iterator[Running]:
    """A command in a process of its own."""
    with _running([*NOTIFIER, *map(str, args)], cwd, environ) as running:
        yield running


def done(*args: object, cwd: Path, **environ: str) -> Ended:
    """A command that came to its end in a process of its own."""
    with started(*args, cwd=cwd, **environ) as running:
        return running.end()


@contextlib.contextmanager
def _running(command: list[str], cwd: Path, environ: Mapping[str, str]) -> Iterator[Running]:
    running = Running(command, cwd=cwd, environ=environ)
    try:
        yield running
    finally:
        running.process.kill()
        running.end()


class Kalshi:
    """The fake API in a process of its own."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url

    def tell(self, what: str, **order: object) -> None:
        """Let something happen there."""
        root = self.base_url.removesuffix("/trade-api/v2")
        body = json.dumps(order).encode()
        with urllib.request.urlopen(f"{root}/_control/{what}", body) as answer:
            assert answer.status == 200

    def ids(self) -> list[str]:
        """Those that are not ignored."""
        with urllib.request.urlopen(f"{self.base_url}/milestones?limit=500") as answer:
            rows = json.load(answer)["milestones"]
        ours = (r for r in rows if not str(r["primary_event_tickers"]).count("SIM"))
        return [row["id"] for row in ours]


@contextlib.contextmanager
def kalshi(*, milestones: int, cwd: Path) -> Iterator[Kalshi]:
    command = [sys.executable, "-m", "servers.api_process", "--control"]
    command += ["--milestones", str(milestones)]
    with _running(command, cwd, {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}) as running:
        line = json.loads(running.read_until(running.process.stdout, "base_url"))
        yield Kalshi(line["base_url"])
