"""Where the next page of a list begins, as a text that only the store understands."""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeVar

import msgspec

from notifier.domain.pagination import BadCursor

T = TypeVar("T")

#: A database numbers no further.
_MOST = 2**63


def spell(place: str, *values: int | str) -> str:
    """The cursor of a place in the list of that name; safe in a URL."""
    return urlsafe_b64encode(msgspec.json.encode((place, *values))).decode().rstrip("=")


def read(place: str, cursor: str, kind: type[T]) -> T:
    """
    The values of a cursor, in the type of a tuple.

    Raises:
        BadCursor: the list of that name has not given it out.

    """
    try:
        raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        name, *values = msgspec.json.decode(raw, type=list[int | str])
        found = msgspec.convert(values, kind)
    except (ValueError, UnicodeError, binascii.Error, msgspec.MsgspecError):
        raise BadCursor("this is no cursor that a list has given out") from None
    if name != place or spell(place, *values) != cursor or not _is_small(values):
        raise BadCursor(f"this is no cursor of {place}")
    return found


def _is_small(values: list[int | str]) -> bool:
    return all(isinstance(one, str) or -_MOST <= one < _MOST for one in values)
