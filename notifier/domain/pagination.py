"""What is asked of long lists, and one page of an answer."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from notifier.domain.models import Json, Kind, State

RowJson = dict[str, Json]
#: Rows of dead letters that one answer names.
MOST_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One page of a long list."""

    rows: Sequence[RowJson]
    #: Where the next page begins; None: there is none.
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Redriven:
    """Dead letters that are put back, or would be."""

    #: The first of them, and those that were named and are not dead, as they stood.
    rows: Sequence[RowJson]
    #: How many are put back.
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadFilter:
    """Which dead letters: these, a destination's, or all."""

    ids: Sequence[str] = ()
    destination: str | None = None
    #: So many rows at most; None: all.
    most: int | None = None
    #: With their keys.
    to_put_back: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetters:
    """Dead letters that were asked for."""

    #: As `Redriven` has them.
    rows: Sequence[RowJson]
    count: int
    #: What to put them back by; none where nobody wants to.
    keys: Sequence[int] = ()


#: Deliveries that one turn of the writer puts back: nobody waits long behind it.
PUT_BACK = 1000


def parts(keys: Sequence[int]) -> Iterator[Sequence[int]]:
    """As many at a time as one turn puts back."""
    return (keys[at : at + PUT_BACK] for at in range(0, len(keys), PUT_BACK))


class BadCursor(ValueError):
    """A cursor that no list has given out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """How much of a long list, and from where."""

    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MilestoneFilter:
    """Which milestones: each given condition must hold."""

    #: In the title, the id or a ticker, in any case.
    search: str = ""
    category: str | None = None
    type: str | None = None
    #: Starting at or after, and before.
    since: datetime | None = None
    until: datetime | None = None
    #: None: both those that are there and those that were removed.
    gone: bool | None = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events: each given condition must hold."""

    kinds: Sequence[Kind] = ()
    milestone_id: str | None = None
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Which deliveries: each given condition must hold."""

    states: Sequence[State] = ()
    destination: str | None = None
    route: str | None = None
    milestone_id: str | None = None
    since: datetime | None = None
