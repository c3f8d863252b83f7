"""
The list's cursor: base64url over a protobuf of the last row's start and id.

Field 1 is a Timestamp whose field 1 holds the seconds, field 2 the id.

Source: cursors of captured answers of GET /milestones.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import TypeAlias

#: Start in whole Unix seconds, and id: what the list is ordered by.
Key: TypeAlias = tuple[int, str]

_WORD = 1 << 64
#: Of a varint's byte: seven bits of the number, and whether more follow.
_BITS = 0x7F
_MORE = 0x80
_TIMESTAMP = 0x0A
_SECONDS = 0x08
_ID = 0x12


def encode(key: Key) -> str:
    """The cursor behind the row with this key."""
    start, row_id = key
    seconds = bytes([_SECONDS]) + _varint(start % _WORD)
    text = row_id.encode()
    message = bytes([_TIMESTAMP, len(seconds)]) + seconds
    message += bytes([_ID]) + _varint(len(text)) + text
    return urlsafe_b64encode(message).decode().rstrip("=")


def decode(cursor: str) -> Key:
    """
    The key of the row that this cursor stands behind.

    Raises:
        ValueError: it is no cursor of ours.

    """
    message = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    try:
        seconds, rest = _skip(message, _TIMESTAMP)
        text, end = _skip(rest, _ID)
        number, _ = _unvarint(seconds.removeprefix(bytes([_SECONDS])))
        if end:
            raise ValueError("more than a cursor")
    except IndexError as exc:
        raise ValueError("less than a cursor") from exc
    return number - _WORD if number >= _WORD // 2 else number, text.decode()


def _skip(message: bytes, tag: int) -> tuple[bytes, bytes]:
    """A field's bytes, and what follows it."""
    if message[0] != tag:
        raise ValueError("no cursor")
    length, rest = _unvarint(message[1:])
    return rest[:length], rest[length:]


def _varint(number: int) -> bytes:
    groups = []
    while number > _BITS:
        groups.append(number & _BITS | _MORE)
        number >>= 7
    return bytes([*groups, number])


def _unvarint(data: bytes) -> tuple[int, bytes]:
    number = shift = place = 0
    while data[place] & _MORE:
        number |= (data[place] & _BITS) << shift
        place, shift = place + 1, shift + 7
    return number | data[place] << shift, data[place + 1 :]
