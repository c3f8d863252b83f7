"""
What is said once, after a deed: a code in the address, never a text.

Whoever makes up an address can choose between these sentences, a number and the
names of the configuration, and no more.
"""

from collections.abc import Callable, Mapping
from urllib.parse import urlencode

from notifier.web.context import WebContext

_SAID = "said"
#: No count has more figures.
_LONGEST = 9


def address(path: str, said: str, **facts: str | int) -> str:
    """Where to go to read it."""
    return f"{path}?{urlencode({_SAID: said, **facts})}"


def read(query: Mapping[str, str], context: WebContext) -> str | None:
    """The sentence that the address asks for; None: none."""
    said = query.get("n", "")
    n = int(said) if said.isascii() and said.isdigit() and len(said) <= _LONGEST else 0
    of = query.get("of", "")
    sentence = _SENTENCES.get(query.get(_SAID, ""))
    if sentence is None:
        return None
    return sentence(n, of if of in context.destinations else "the destination")


def _redriven(n: int, _of: str) -> str:
    if n == 0:
        return "Nothing was dead any more, so nothing was put back."
    if n == 1:
        return "Put back 1 dead letter; all tries are before it again."
    return f"Put back {n:,} dead letters; all tries are before them again."


def _resumed(n: int, of: str) -> str:
    waited = "1 delivery" if n == 1 else f"{n:,} deliveries"
    return f"Resumed {of}: {waited} waited, and may go now."


_SENTENCES: Mapping[str, Callable[[int, str], str]] = {
    "resumed": _resumed,
    "tested": lambda n, of: f"The test reached {of}, in {n:,} ms.",
    "redriven": _redriven,
    "silenced": lambda _n, _of: "Silenced. It ends by itself.",
    "expired": lambda _n, _of: "The silence is over; what it dropped stays dropped.",
}
