"""
Finding the rows of a page that is not JSON as a whole.

One unpaired surrogate, NaN or endless nesting in one row makes a strict decoder
refuse all 500. Brackets and strings alone show where a row begins and ends; each row
is then decoded by itself.
"""

import re

#: Whole strings are one token, so that brackets in them do not count.
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|["{}\[\],:]', re.DOTALL)
_WHITE = b" \t\r\n"
#: Pages are half as large at most; a longer search would block the event loop.
_MAX_BYTES = 4 * 1024 * 1024


def recover_rows(body: bytes) -> tuple[list[bytes], bytes] | None:
    """
    The rows, and the page around them with an empty list in their place.

    None when the body is not one whole object with a list `milestones`: a truncated
    page must not pass for the end of the list. None too beyond 4 MiB.
    """
    if len(body) > _MAX_BYTES:
        return None
    members = _children(body.strip(_WHITE), b"{}")
    if members is None or len(members) % 2:
        return None
    pairs = dict(zip(members[::2], members[1::2], strict=True))
    rows = _children(pairs.pop(b'"milestones"', b""), b"[]")
    if rows is None:
        return None
    rest = b",".join(key + b":" + value for key, value in pairs.items())
    return rows, b'{"milestones":[]' + (b"," + rest if rest else b"") + b"}"


def _children(container: bytes, brackets: bytes) -> list[bytes] | None:
    """The direct children of a container that these brackets enclose."""
    if container[:1] != brackets[:1] or container[-1:] != brackets[1:]:
        return None
    commas = _separators(container)
    if commas is None:
        return None
    ends = [*commas, len(container) - 1]
    starts = [1, *(comma + 1 for comma in commas)]
    parts = [container[a:b].strip(_WHITE) for a, b in zip(starts, ends, strict=True)]
    return [] if parts == [b""] else parts


def _separators(container: bytes) -> list[int] | None:
    """Positions of commas and colons one level deep; None unless all is balanced."""
    depth = 0
    found: list[int] = []
    for token in _TOKEN.finditer(container):
        match token.group():
            case b"{" | b"[":
                depth += 1
            case b"}" | b"]":
                depth -= 1
                if depth == 0 and token.end() != len(container):
                    return None
            case b"," | b":" if depth == 1:
                found.append(token.start())
            case b'"':
                return None
            case _:
                pass
    return found if depth == 0 else None
