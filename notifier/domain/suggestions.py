"""A word that is not known -> `did you mean ...?`."""

from collections.abc import Iterable


def suggest(word: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` with the most similar known word, or an empty text."""
    import difflib  # noqa: PLC0415 - only for a mistake

    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return did_you_mean(folded[close[0]]) if close else ""


def did_you_mean(better: str) -> str:
    """Return `did you mean ...?`, or an empty text if there is nothing to suggest."""
    return f"did you mean {better}?" if better else ""
