"""What is taken away, who must notice, and what they may say."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """What a judge can find."""

    LOST = "lost"
    SPURIOUS = "spurious"
    REPEATED = "repeated"
    ORDER = "out of order"
    CORRUPT = "corrupt"
    LATE = "late"
    #: What is written down is not what was done.
    ACCOUNT = "not accounted for"
    #: Something else that must hold.
    OTHER = "other"
    #: The judge itself came to no verdict: this proves nothing.
    ERROR = "no verdict"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that a judge found wrong."""

    kind: Kind
    text: str


@dataclass(frozen=True)
class LedgerRow:
    """A row of the fault ledger, by its id."""

    id: str

    @property
    def name(self) -> str:
        """For tables."""
        return f"row {self.id}"

    @property
    def words(self) -> tuple[str, ...]:
        """As `python -m teeth.judge` wants it."""
        return "--row", self.id


@dataclass(frozen=True)
class Seeds:
    """Seeds of the simulation, one after another until one finds something."""

    first: int
    last: int

    @property
    def name(self) -> str:
        """For tables."""
        return f"seeds {self.first} to {self.last}"

    @property
    def words(self) -> tuple[str, ...]:
        """As `python -m teeth.judge` wants them."""
        return "--first", str(self.first), "--last", str(self.last)


Judge = LedgerRow | Seeds


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One place in the source, which must be there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Tooth:
    """One thing that keeps the promise, and who notices when it is gone."""

    name: str
    removed: str
    edits: tuple[Edit, ...]
    judge: Judge
    #: Any of these proves that it was noticed.
    expects: frozenset[Kind]


class Blunt(Exception):
    """The tooth cannot be used; the text says what to do."""


def pull(tooth: Tooth, root: Path) -> None:
    """
    Take it away from the source under a folder.

    Raises:
        Blunt: the source is not as the tooth knows it.
    """
    for edit in tooth.edits:
        file = root / edit.file
        text = file.read_text("utf-8") if file.exists() else ""
        if text.count(edit.old) != 1:
            raise Blunt(f"the tooth no longer fits {edit.file}, adjust it")
        file.write_text(text.replace(edit.old, edit.new), "utf-8")
