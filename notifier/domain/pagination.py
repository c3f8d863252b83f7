"""
Filters and pages of lists: the query schemas of the API, and what the queries take.

The constraints apply to what comes from outside, where `msgspec.convert` reads it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, TypeAlias

import msgspec

from notifier.domain.models import Json, Kind, State

#: Rows of dead letters that one answer holds.
MOST_ROWS = 500
#: No text of a query is longer.
MAX_TEXT = 200

RowJson: TypeAlias = dict[str, Json]
Text: TypeAlias = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
AwareDatetime: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]


class BadCursor(ValueError):
    """Raised for a cursor that no list has given out."""


class PageRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The size of a page, and the cursor where it begins."""

    limit: Annotated[int, msgspec.Meta(ge=1, le=500, description="Rows at most.")] = 50
    cursor: Annotated[
        Annotated[str, msgspec.Meta(max_length=1000)] | None,
        msgspec.Meta(description="`next` of the page before."),
    ] = None


class MilestoneFilter(PageRequest, frozen=True, kw_only=True):
    """Milestones for which every given condition holds."""

    search: Annotated[Text, msgspec.Meta(description="Parts of title, id or ticker.")] = ""
    category: Annotated[Text | None, msgspec.Meta(description="Exactly this category.")] = None
    type: Annotated[Text | None, msgspec.Meta(description="Exactly this type.")] = None
    since: Annotated[AwareDatetime | None, msgspec.Meta(description="Starting then or later.")] = (
        None
    )
    until: Annotated[AwareDatetime | None, msgspec.Meta(description="Starting earlier.")] = None
    gone: Annotated[
        Literal["no", "yes", "any"], msgspec.Meta(description="Present, removed, or both.")
    ] = "no"


class EventFilter(PageRequest, frozen=True, kw_only=True):
    """Events for which every given condition holds."""

    kind: Annotated[Sequence[Kind], msgspec.Meta(description="Of any of these kinds.")] = ()
    milestone_id: Annotated[Text | None, msgspec.Meta(description="Of this milestone.")] = None
    since: Annotated[AwareDatetime | None, msgspec.Meta(description="Seen then or later.")] = None


class DeliveryFilter(PageRequest, frozen=True, kw_only=True):
    """Deliveries for which every given condition holds."""

    state: Annotated[Sequence[State], msgspec.Meta(description="In any of these states.")] = ()
    destination: Annotated[Text | None, msgspec.Meta(description="To this destination.")] = None
    route: Annotated[Text | None, msgspec.Meta(description="By this route.")] = None
    milestone_id: Annotated[Text | None, msgspec.Meta(description="Of this milestone.")] = None
    since: Annotated[AwareDatetime | None, msgspec.Meta(description="Created then or later.")] = (
        None
    )


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
