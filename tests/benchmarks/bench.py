"""
What the benchmarks share: the stand-in API as a process, a service, a result.

Each benchmark is one command, `python tests/benchmarks/NAME.py`, and prints one JSON
line. Figures to judge by are ratios within one run; absolute ones stand beside the
floor of the same minutes and say how busy the machine was.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

POPULATION = int(os.environ.get("BENCH_MILESTONES", "137200"))


def report(name: str, **figures: object) -> None:
    """Print the result, floats shortened."""
    short = {
        key: round(value, 4) if isinstance(value, float) else value
        for key, value in figures.items()
    }
    sys.stdout.write(json.dumps({"benchmark": name} | short) + "\n")


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which that share lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def median(values: Sequence[float]) -> float:
    """The middle one."""
    return quantile(values, 0.5)


@contextmanager
def api(milestones: int = POPULATION) -> Iterator[str]:
    """A fake API with so many milestones, in a process of its own: its URL."""
    command = [sys.executable, "-m", "servers.api_process", "--port", "0", "--control"]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [*command, "--milestones", str(milestones)], stdout=subprocess.PIPE, text=True, env=environ
    ) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["base_url"]
        finally:
            process.kill()


@contextmanager
def folder(config: str) -> Iterator[Path]:
    """A fresh folder that holds `notifier.yaml`."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name)
        (path / "notifier.yaml").write_text(config)
        yield path


@contextmanager
def service(path: Path, *, log: str = "warning") -> Iterator[subprocess.Popen[str]]:
    """`notifier run` on a folder, until the block ends; its log on stderr."""
    command = [sys.executable, "-m", "notifier", "run", "--log-level", log]
    with subprocess.Popen(
        [*command, "--config", str(path / "notifier.yaml")], text=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int, *, peak: bool = False) -> float:
    """Memory of a process in MB."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(wanted):
            return int(line.split()[1]) * 1024 / 1e6
    raise LookupError(wanted)
