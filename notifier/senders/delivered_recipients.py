"""
Who of several recipients has a message, in texts that outlive the process.

A mark is a digest of the destination's URL, the message's id and the recipient:
it holds no address and no secret, and it means the same in every process that
was given the same URL. Under another URL nobody is known to have anything.
"""

import json
from collections.abc import Callable
from hashlib import sha256

from notifier.domain.models import identify

#: What Apprise's plugins tell their targets apart by, if it can be told apart in
#: another process too: the text of other things may hold a place in memory.
_LASTING = (str, int, tuple, list)


def salt_of(url: str) -> str:
    """What the marks of this destination begin from."""
    return sha256(url.encode()).hexdigest()


class Marks:
    """
    Who has one message, before and during one attempt.

    Written by the thread that sends; `served` may be read from another.
    """

    def __init__(self, salt: str, message_id: str, served: frozenset[str]) -> None:
        self._begin = (salt, message_id)
        self.message_id = message_id
        #: Everyone who has it, in the caller's marks and ours.
        self.served = served

    def has(self, *who: str) -> bool:
        """Whether this recipient has it."""
        return self._mark(who) in self.served

    def add(self, *who: str) -> None:
        """Note that this recipient has it now."""
        self.served = self.served | {self._mark(who)}

    def _mark(self, who: tuple[str, ...]) -> str:
        return identify("rcp_", *self._begin, json.dumps(who))


class Tracker:
    """
    What Apprise's plugins take for their set of targets that were served.

    They ask it with `in` and tell it with `add`, in Apprise's own terms: the
    piece of the message, and the type and text of what they know a target by.
    `is_taken` says whether the service's last answer bears them out: a plugin
    may take a 200 that says no for a success.
    """

    def __init__(self, marks: Marks, *, is_taken: Callable[[], bool]) -> None:
        self._marks = marks
        self._is_taken = is_taken

    def __contains__(self, slot: tuple[int | None, tuple[type, str]]) -> bool:
        piece, (kind, text) = slot
        return self._marks.has(str(piece), kind.__name__, text)

    def add(self, slot: tuple[int | None, tuple[type, str]]) -> None:
        """Note a target, if another process would know it by the same name."""
        piece, (kind, text) = slot
        if kind in _LASTING and self._is_taken():
            self._marks.add(str(piece), kind.__name__, text)
