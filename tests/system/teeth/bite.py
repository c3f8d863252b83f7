"""A judge asked before something is taken away, and after, each time in a copy."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import CapacityLimiter

from teeth.catalogue import Judge, Kind, Tooth

ROOT = Path(__file__).parents[3]
#: A judge that takes longer has come to no verdict.
_PATIENCE_S = 900.0
_SHOWN = 90


class Blunt(Exception):
    """The tooth cannot be used; the text says what to do."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a judge found wrong."""

    kind: Kind
    text: str


@dataclass(frozen=True, kw_only=True)
class Verdict:
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


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of the package and of the tests, gone at the end."""
    ignored = shutil.ignore_patterns("__pycache__", ".hypothesis", "*.db*")
    with tempfile.TemporaryDirectory(prefix="tooth-") as folder:
        for name in ("notifier", "tests"):
            shutil.copytree(ROOT / name, Path(folder) / name, ignore=ignored)
        yield Path(folder)


def pull(tooth: Tooth, root: Path) -> None:
    """
    Take it away from the source under a folder.

    Raises:
        Blunt: the module does not define the name.
    """
    file = root.joinpath(*tooth.module.split(".")).with_suffix(".py")
    source = file.read_text("utf-8") if file.exists() else ""
    ends = [node.end_lineno for node in ast.parse(source).body if tooth.definition in _names(node)]
    if len(ends) != 1 or ends[0] is None:
        raise Blunt(f"{tooth.module} does not define {tooth.definition}: adjust the tooth")
    lines = source.splitlines()
    lines[ends[0] : ends[0]] = tooth.code.splitlines()
    file.write_text("\n".join([*lines, ""]), "utf-8")


def _names(node: ast.stmt) -> Iterator[str]:
    """What a statement defines."""
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name
        case ast.Assign(targets=targets):
            yield from (one.id for one in targets if isinstance(one, ast.Name))
        case ast.AnnAssign(target=ast.Name(id=name)):
            yield name
        case _:
            return


async def judge_unchanged(
    judges: Collection[Judge], limit: CapacityLimiter
) -> dict[Judge, Verdict]:
    """What each judge says as long as nothing is taken away: it must be nothing."""
    found: dict[Judge, Verdict] = {}
    with copied() as root:

        async def ask(judge: Judge) -> None:
            async with limit:
                found[judge] = await judged(judge, root)

        async with anyio.create_task_group() as tasks:
            for judge in judges:
                tasks.start_soon(ask, judge)
    return found


async def bite(tooth: Tooth, before: Verdict) -> Bite:
    """Green as it was before, red without: that is a bite."""
    begun = time.perf_counter()
    try:
        is_bite, said = await _tried(tooth, before)
    except Blunt as exc:
        is_bite, said = False, str(exc)
    seconds = time.perf_counter() - begun
    return Bite(tooth=tooth, bites=is_bite, said=said, seconds=seconds)


async def _tried(tooth: Tooth, before: Verdict) -> tuple[bool, str]:
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


async def judged(judge: Judge, root: Path, *, until: frozenset[Kind] = frozenset()) -> Verdict:
    """
    What it says of the source under a folder, until it has found what is expected.

    Raises:
        Blunt: it judged another source.
    """
    tests = root / "tests" / "system"
    environ = dict(os.environ)
    environ["PYTHONPATH"] = os.pathsep.join((str(tests), str(root)))
    environ["PYTHONDONTWRITEBYTECODE"] = "1"
    words = ["--row", judge.row, "--seeds", str(judge.last_seed), *_until(until)]
    with anyio.move_on_after(_PATIENCE_S):
        done = await anyio.run_process(
            [sys.executable, "-m", "teeth.judge", *words],
            cwd=tests,
            env=environ,
            check=False,
            stderr=subprocess.PIPE,
        )
        return _read(judge, done.stdout, done.stderr, root)
    return _no_verdict(judge, f"no verdict after {_PATIENCE_S:.0f} s")


def _until(kinds: frozenset[Kind]) -> list[str]:
    return [word for kind in sorted(kinds) for word in ("--until", kind.value)]


def _read(judge: Judge, out: bytes, err: bytes, root: Path) -> Verdict:
    try:
        said = json.loads(out.splitlines()[-1])
        findings = [Finding(kind=Kind(one["kind"]), text=one["text"]) for one in said["findings"]]
    except (IndexError, KeyError, TypeError, ValueError):
        last = err.decode(errors="replace").strip().splitlines()[-1:]
        return _no_verdict(judge, "".join(last) or "it said nothing")
    if not Path(said["package"]).resolve().is_relative_to(root.resolve()):
        raise Blunt(f"{judge.name} judged another source: {said['package']}")
    return Verdict(at=said["at"], findings=findings)


def _no_verdict(judge: Judge, why: str) -> Verdict:
    return Verdict(at=judge.name, findings=[Finding(kind=Kind.ERROR, text=why)])


def _brief(verdict: Verdict, expects: frozenset[Kind] = frozenset()) -> str:
    """The most telling of what was found, and how much more there is."""
    findings = verdict.findings
    first = min(findings, key=lambda one: (one.kind is not Kind.ERROR, one.kind not in expects))
    text = " ".join(first.text.split())
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
    more = f" (and {len(findings) - 1} more)" if len(findings) > 1 else ""
    return f"{verdict.at}: {first.kind}: {short}{more}"


# --- the table in docs/proof.md -----------------------------------------------


def write(file: Path, every: Sequence[Tooth], results: Sequence[Bite]) -> None:
    """Write the table anew; teeth that were not tried keep what it says of them."""
    lines = file.read_text("utf-8").splitlines(keepends=True)
    rows = {name: line for line in lines if (name := _tooth(line))}
    rows |= {one.tooth.name: _row(one) for one in results}
    at = next(i for i, line in enumerate(lines) if _tooth(line))
    text = [line for line in lines if not _tooth(line)]
    text[at:at] = [rows[tooth.name] for tooth in every if tooth.name in rows]
    file.write_text("".join(text), "utf-8")


def documented(file: Path) -> list[str]:
    """The teeth on the page."""
    return list(filter(None, map(_tooth, file.read_text("utf-8").splitlines())))


def _tooth(line: str) -> str:
    """The tooth of a row of the table; empty: it is none."""
    found = re.match(r"\| `([a-z-]+)` \|", line)
    return found[1] if found else ""


def _row(one: Bite) -> str:
    said = one.said.replace("|", "/").replace("`", "'")
    said = said if one.bites else f"**does not bite**: {said}"
    tooth = one.tooth
    cells = (f"`{tooth.name}`", tooth.removed, tooth.judge.name, said)
    return f"| {' | '.join(cells)} | {one.seconds:.0f} |\n"
