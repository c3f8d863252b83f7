"""
What people look for -> the parts that must be there.

A ticker is kept in parts, for those of one milestone share most of theirs.
"""

import re
from collections.abc import Iterable, Sequence

#: More parts narrow a search no further.
MOST_PARTS = 8
_BETWEEN = re.compile(r"[\s-]+")


def kept(texts: Iterable[str]) -> str:
    """All parts of these texts, each once, in small letters."""
    return " ".join(dict.fromkeys(_parts(" ".join(texts))))


def sought(text: str) -> Sequence[str]:
    """What must all be found, each anywhere within what was kept or within an id."""
    return list(dict.fromkeys(_parts(text)))[:MOST_PARTS]


def _parts(text: str) -> Iterable[str]:
    return filter(None, _BETWEEN.split(text.casefold()))
