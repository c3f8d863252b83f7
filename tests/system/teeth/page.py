"""The table of teeth: on a terminal, and in docs/proof.md."""

from collections.abc import Sequence
from pathlib import Path

from teeth.bite import Bite
from teeth.tooth import Tooth

_HEAD = "| tooth | what is taken away | judge | what it says then | s |\n"
_RULE = "|---|---|---|---|---|\n"


def line(one: Bite) -> str:
    """A result on a terminal."""
    mark = "bites" if one.bites else "DOES NOT BITE"
    name, judge = one.tooth.name, one.tooth.judge.name
    return f"{name:<22} {judge:<20} {one.seconds:>6.0f} s  {mark}: {one.said}\n"


def write(file: Path, every: Sequence[Tooth], results: Sequence[Bite]) -> None:
    """Write the table anew; teeth that were not tried keep what it says of them."""
    text = file.read_text("utf-8")
    kept = {_name(row): row for row in text.splitlines(keepends=True) if _name(row)}
    kept |= {one.tooth.name: _row(one) for one in results}
    body = "".join(kept[tooth.name] for tooth in every if tooth.name in kept)
    before, _, after = text.partition(_HEAD + _RULE)
    rest = [row for row in after.splitlines(keepends=True) if not _name(row)]
    file.write_text(before + _HEAD + _RULE + body + "".join(rest), "utf-8")


def names(file: Path) -> list[str]:
    """The teeth on the page."""
    named = map(_name, file.read_text("utf-8").splitlines())
    return [name for name in named if name]


def _name(row: str) -> str:
    """The tooth of a row of the table; empty: it is none."""
    return row.split("`")[1] if row.startswith("| `") else ""


def _row(one: Bite) -> str:
    said = one.said.replace("|", "/").replace("`", "'")
    said = said if one.bites else f"**does not bite**: {said}"
    tooth = one.tooth
    cells = (f"`{tooth.name}`", tooth.removed, tooth.judge.name, said)
    return f"| {' | '.join(cells)} | {one.seconds:.0f} |\n"
