"""`python -m faults.poisoned`: the service, which one message kills."""

import os
import resource
import sys
from collections.abc import Sequence
from typing import Any

from notifier import cli
from notifier.domain.models import Event, Rendered
from notifier.domain.outgoing import Message
from notifier.messages.render import render
from notifier.workers import dispatcher

#: Whatever tells of a milestone of this title.
POISON = "Poison"


def _render(message: Message, events: Sequence[Event], **more: Any) -> Rendered:
    if any(event.milestone.title == POISON for event in events):
        os.abort()
    return render(message, events, **more)


def main() -> None:
    """Be the service in the current folder."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    vars(dispatcher)["render"] = _render
    sys.argv = ["notifier", "run"]
    cli.main()


if __name__ == "__main__":
    main()
