"""
`python -m teeth.judge`: a row of the ledger, or seeds of the simulation, as JSON.

Runs inside the copy, whose modules it says that it used.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import anyio

import notifier
from teeth.bite import Finding
from teeth.catalogue import Kind

#: What complaints of the simulation, and what else rows say, amount to.
_SAID = (
    (Kind.REPEATED, r"claimed twice"),
    (Kind.ERROR, r"Traceback|Error\b|Exception\b"),
    (Kind.REPEATED, r" repeats |is owed [2-9]|more than once|stored \d+ times"),
    (Kind.ORDER, r"out of order"),
    (Kind.LOST, r": lost |passed over|never arrived|is owed 0 |not as the list shows"),
    (Kind.LATE, r"still waits| came .* late"),
    (Kind.CORRUPT, r"not sound|torn page|other members|under two ids"),
    (Kind.SPURIOUS, r": spurious |is not owed"),
    (Kind.ACCOUNT, r"tried \d+ times|is dropped: |died too early|were counted"),
    (Kind.ACCOUNT, r"is still |counts as delivered"),
)


def main() -> int:
    """Say what was found; the status says only that something was said."""
    parser = argparse.ArgumentParser(prog="python -m teeth.judge")
    parser.add_argument("--row", default="")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--until", action="append", type=Kind, default=[])
    asked = parser.parse_args()
    if asked.row:
        at, found = f"row {asked.row}", _row(asked.row)
    else:
        at, found = _seeds(range(1, asked.seeds + 1), frozenset(asked.until or Kind))
    said = {
        "package": notifier.__file__,
        "at": at,
        "findings": [asdict(one) for one in found],
    }
    sys.stdout.write(json.dumps(said) + "\n")
    return 0


def _row(key: str) -> Sequence[Finding]:
    from faults.catalogue import ROWS  # noqa: PLC0415 - seeds do without
    from faults.ledger import result  # noqa: PLC0415 - likewise

    [row] = [one for one in ROWS if one.id == key]

    async def run() -> Sequence[Finding]:
        one = await result(row, seeds=(1,), quick=True)
        if one.counts is None:
            return [Finding(kind=Kind.ERROR, text=f"skipped: {one.skipped}")]
        counts = one.counts
        return [
            *_counted(Kind.LOST, counts.lost, 0),
            *_counted(Kind.SPURIOUS, counts.spurious, 0),
            *_counted(Kind.ORDER, counts.order, 0),
            *_counted(Kind.REPEATED, counts.repeats, counts.allowed),
            *_said(counts.broken),
        ]

    return anyio.run(run)


def _counted(kind: Kind, found: int, allowed: int) -> Iterator[Finding]:
    if found > allowed:
        yield Finding(kind=kind, text=f"{found} {kind}, where {allowed} may be")


def _seeds(seeds: Sequence[int], until: frozenset[Kind]) -> tuple[str, Sequence[Finding]]:
    """Until one of them finds something of these kinds, or comes to no verdict."""
    found: list[Finding] = []
    for seed in seeds:
        found += _seed(seed)
        if {one.kind for one in found} & {Kind.ERROR, *until}:
            return f"seed {seed}", found
    return f"seeds {seeds[0]} to {seeds[-1]}", found


def _seed(seed: int) -> list[Finding]:
    from simulation.story import tell  # noqa: PLC0415 - rows do without

    try:
        return _said(tell(seed).complaints)
    except Exception as exc:  # noqa: BLE001 - whatever ended the service says so
        return _said([f"{type(one).__name__}: {one}" for one in _leaves(exc)])


def _leaves(exc: BaseException) -> Iterator[BaseException]:
    if isinstance(exc, BaseExceptionGroup):
        for one in exc.exceptions:
            yield from _leaves(one)
    else:
        yield exc


def _said(texts: Sequence[str]) -> list[Finding]:
    return [Finding(kind=_kind(text), text=text) for text in texts]


def _kind(text: str) -> Kind:
    return next((kind for kind, what in _SAID if re.search(what, text)), Kind.OTHER)


if __name__ == "__main__":
    sys.exit(main())
