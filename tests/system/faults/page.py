"""docs/faults.md: the ledger's results as a table, and the table read again."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from faults.ledger import Counts, Result, Row

_WIDTHS = (16, 6, 6, 8, 5, 8, 5, 9, 7)
_HEADS = ("row", "faults", "events", "messages", "lost", "spurious", "order")
_HEADS_LEFT = ("repeats", "s")

_INTRO = """\
# The fault ledger

What the service is made to suffer, and what came of it. Each row starts real
processes: `notifier run`, a stand-in for Kalshi's API that records every page it
serves, and a far end that records every message it takes; then something is broken.
What should have been told is computed from the recorded pages by a differ that shares
nothing with the service's own.

A row holds when

- nothing was **lost**: no change that a page shows, no start, no delivery without its
  message;
- nothing was **spurious**: no event of no change, no message of no event, no start
  before its time;
- nothing broke the **order** within a milestone;
- nothing was **repeated** but what was in doubt, which the second figure counts: what
  was under way when the fault struck, by the store's own leases, and what was never
  answered. Each such arrival may be followed by one repeat, with the same id and the
  same members;
- the fault **struck**: a death counts if the process died of that signal.

Each seed is judged by itself; the figures below are those of all of them.

```sh
cd tests/system
python -m faults                 # everything, three rows at once
python -m faults --quick         # what the tests run
python -m faults --row kill-sync --row api-down
python -m faults --at-once 1     # one row after another
python -m faults --seeds 20      # rows that chance decides, with so many seeds
python -m faults --write ../../docs/faults.md   # with the figures of these rows
python -m faults --write ../../docs/faults.md --readme ../../README.md   # and the README's
```

The rows below took {took} together, on two cores with other work to do.

It ends with 1 if a promise was broken, and keeps the files of broken rows alone; here
such a row is marked as broken, until the service is mended. Rows that need `strace` or
`apsw` say so where it is missing. What takes days (outages, ages, a night when the
clocks change) is told by the simulation, one of the last rows: `python -m simulation`
from the same folder tells more of it.

"""

_COLUMNS = (
    *("row", "what is done", "what must hold", "faults", "events", "messages"),
    *("lost", "spurious", "order", "repeats", "s"),
)

_BROKEN = "**broken**"

_BEGIN = "<!-- ledger -->\n"
_END = "<!-- /ledger -->\n"
_README_WIDTH = 88


def heading() -> str:
    """The first line on a terminal."""
    return _aligned((*_HEADS, *_HEADS_LEFT))


def line(one: Result) -> str:
    """A result on a terminal; beneath it, what was broken."""
    if one.counts is None:
        return f"{one.row.id:<16} skipped: {one.skipped}\n"
    cells = (one.row.id, *_figures(one.counts), f"{one.seconds:.1f}")
    verdict = "" if one.holds else "  BROKEN"
    said = "".join(f"    {text}\n" for text in one.counts.broken)
    return _aligned(cells).rstrip("\n") + verdict + "\n" + said


def write(file: Path, every: Sequence[Row], results: Sequence[Result]) -> None:
    """Write the page anew; rows that were not run keep the figures that it has."""
    figures = {key: cells[2:] for key, *cells in _cells(file)}
    figures |= {one.row.id: _measured(one) for one in results}
    known = [(row, figures[row.id]) for row in every if row.id in figures]
    seconds = sum(int(cells[-1].partition(",")[0] or 0) for _, cells in known)
    head = f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|\n"
    body = "".join(_row(row, cells) for row, cells in known)
    took = f"{seconds / 60:.0f} min"
    file.write_text(_INTRO.replace("{took}", took) + head + body, "utf-8")


def write_sentence(readme: Path, file: Path) -> None:
    """Let the README say what the page says."""
    text = readme.read_text("utf-8")
    before, rest = text.split(_BEGIN)
    _, after = rest.split(_END)
    readme.write_text(before + _BEGIN + sentence(file) + _END + after, "utf-8")


def said(readme: Path) -> str:
    """What the README says of the page."""
    _, rest = readme.read_text("utf-8").split(_BEGIN)
    return rest.split(_END)[0]


def sentence(file: Path) -> str:
    """The page in one sentence, in lines of a README."""
    run = [cells[3:] for cells in _cells(file) if cells[3]]
    faults, _, _, lost, spurious, order = (sum(int(cells[n]) for cells in run) for n in range(6))
    pairs = [cells[6].split(" of ") for cells in run]
    repeats, doubt = (sum(int(pair[n]) for pair in pairs) for n in range(2))
    text = (
        f"In {len(run)} rows {faults:,} faults struck: {lost} messages were lost, "
        f"{spurious} made up, {order} told out of order, and {repeats} repeated, of "
        f"{doubt} that were in doubt."
    )
    return "\n".join(wrap(text, _README_WIDTH)) + "\n"


def broken(file: Path) -> list[str]:
    """The rows that the page calls broken."""
    return [cells[0] for cells in _cells(file) if _BROKEN in cells[-1]]


def rows(file: Path) -> list[tuple[str, str, str]]:
    """The rows on the page: id, what is done, what must hold."""
    return [(key, done, holds) for key, done, holds, *_ in _cells(file)]


def _cells(file: Path) -> list[list[str]]:
    if not file.exists():
        return []
    lines = file.read_text("utf-8").splitlines()
    found = [line[2:-2].split(" | ") for line in lines if line.startswith("| `")]
    return [[cells[0].strip("`"), *map(str.strip, cells[1:])] for cells in found]


def _row(row: Row, figures: Sequence[str]) -> str:
    return "| " + " | ".join((f"`{row.id}`", row.done, row.holds, *figures)) + " |\n"


def _measured(one: Result) -> list[str]:
    if one.counts is None:
        return [*[""] * 6, f"not run: {one.skipped}", ""]
    seconds = f"{one.seconds:.0f}"
    return [*_figures(one.counts), seconds if one.holds else f"{seconds}, {_BROKEN}"]


def _figures(counts: Counts) -> tuple[str, ...]:
    return (
        str(counts.faults),
        str(counts.events),
        str(counts.messages),
        str(counts.lost),
        str(counts.spurious),
        str(counts.order),
        f"{counts.repeats} of {counts.allowed}",
    )


def _aligned(cells: Sequence[str]) -> str:
    first, *others = cells
    widths = _WIDTHS[1:]
    return (
        f"{first:<{_WIDTHS[0]}}"
        + "".join(f" {cell:>{width}}" for cell, width in zip(others, widths, strict=True))
        + "\n"
    )
