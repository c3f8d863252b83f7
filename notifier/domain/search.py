"""
Search by words: the terms that are stored with a milestone, and those of a query.

A ticker is split at its dashes, because those of one milestone share most of their parts.
"""

import re
from collections.abc import Iterable, Sequence

#: Further terms of a query are ignored.
MAX_TERMS = 8
_SEPARATORS = re.compile(r"[\s-]+")


def indexed(texts: Iterable[str]) -> str:
    """The terms of these texts, each once, in lower case."""
    return " ".join(dict.fromkeys(_terms(" ".join(texts))))


def search_terms(query: str) -> Sequence[str]:
    """The terms that must all be found, each as a part of the indexed text or of an id."""
    return list(dict.fromkeys(_terms(query)))[:MAX_TERMS]


def _terms(text: str) -> Iterable[str]:
    return filter(None, _SEPARATORS.split(text.casefold()))
