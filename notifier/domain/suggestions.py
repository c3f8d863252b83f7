"""(a word, the words that are known) -> which of them may have been meant."""

import difflib
from collections.abc import Iterable


def nearest(word: str, known: Iterable[str]) -> str:
    """`did you mean ...?` with the most similar of the known words, or nothing."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return meant(folded[close[0]]) if close else ""


def meant(better: str) -> str:
    """`did you mean ...?`, or nothing."""
    return f"did you mean {better}?" if better else ""
