"""A judge asked before something is taken away, and after."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import CapacityLimiter

from teeth.copy import copied
from teeth.tooth import Blunt, Finding, Judge, Kind, Tooth, pull

#: A judge that takes longer has come to no verdict.
_PATIENCE_S = 900.0
_SHOWN = 90


@dataclass(frozen=True, kw_only=True)
class Said:
    """What a judge said."""

    #: The row, or the seed that found something.
    at: str
    findings: Sequence[Finding]


@dataclass(frozen=True, kw_only=True)
class Bite:
    """What came of a tooth."""

    tooth: Tooth
    bites: bool
    said: str
    seconds: float


async def green(judges: Collection[Judge], limit: CapacityLimiter) -> dict[Judge, Said]:
    """What each judge says as long as nothing is taken away: it must be nothing."""
    found: dict[Judge, Said] = {}
    with copied() as root:

        async def ask(judge: Judge) -> None:
            async with limit:
                found[judge] = await judged(judge, root)

        async with anyio.create_task_group() as tasks:
            for judge in judges:
                tasks.start_soon(ask, judge)
    return found


async def bite(tooth: Tooth, before: Said) -> Bite:
    """Green as it was before, red without: that is a bite."""
    begun = time.perf_counter()
    try:
        is_bite, said = await _tried(tooth, before)
    except Blunt as exc:
        is_bite, said = False, str(exc)
    seconds = time.perf_counter() - begun
    return Bite(tooth=tooth, bites=is_bite, said=said, seconds=seconds)


async def _tried(tooth: Tooth, before: Said) -> tuple[bool, str]:
    if before.findings:
        return False, f"red already: {_brief(before)}"
    with copied() as root:
        pull(tooth, root)
        after = await judged(tooth.judge, root, until=tooth.expects)
    if not after.findings:
        return False, f"{after.at} noticed nothing"
    return bites(tooth, after.findings), _brief(after, tooth.expects)


def bites(tooth: Tooth, findings: Sequence[Finding]) -> bool:
    """Whether they show what taking it away must lead to, and come of a verdict."""
    kinds = {one.kind for one in findings}
    return Kind.ERROR not in kinds and not kinds.isdisjoint(tooth.expects)


async def judged(judge: Judge, root: Path, *, until: frozenset[Kind] = frozenset()) -> Said:
    """
    What it says of the source under a folder, until it has found what is expected.

    Raises:
        Blunt: it judged another source.
    """
    tests = root / "tests" / "system"
    environ = dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join((str(tests), str(root)))
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    with anyio.move_on_after(_PATIENCE_S):
        done = await anyio.run_process(
            [sys.executable, "-m", "teeth.judge", *judge.words, *_until(until)],
            cwd=tests,
            env=environ,
            check=False,
            stderr=subprocess.PIPE,
        )
        return _read(judge, done.stdout, done.stderr, root)
    return _no_verdict(judge, f"no verdict after {_PATIENCE_S:.0f} s")


def _until(kinds: frozenset[Kind]) -> list[str]:
    return [word for kind in sorted(kinds) for word in ("--until", kind.value)]


def _read(judge: Judge, out: bytes, err: bytes, root: Path) -> Said:
    try:
        said = json.loads(out.splitlines()[-1])
        findings = [Finding(kind=Kind(one["kind"]), text=one["text"]) for one in said["findings"]]
    except (IndexError, KeyError, TypeError, ValueError):
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        return _no_verdict(judge, "".join(last) or "it said nothing")
    if not Path(said["package"]).resolve().is_relative_to(root.resolve()):
        raise Blunt(f"{judge.name} judged another source: {said['package']}")
    return Said(at=said["at"], findings=findings)


def _no_verdict(judge: Judge, why: str) -> Said:
    return Said(at=judge.name, findings=[Finding(kind=Kind.ERROR, text=why)])


def _brief(said: Said, expects: frozenset[Kind] = frozenset()) -> str:
    """The most telling of what was found, and how much more there is."""
    ranked = sorted(said.findings, key=lambda one: _rank(one, expects))
    first, others = ranked[0], len(ranked) - 1
    text = " ".join(first.text.split())
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    more = f" (and {others} more)" if others else ""
    return f"{said.at}: {first.kind}: {short}{more}"


def _rank(one: Finding, expects: frozenset[Kind]) -> int:
    if one.kind is Kind.ERROR:
        return 0
    return 1 if one.kind in expects else 2
