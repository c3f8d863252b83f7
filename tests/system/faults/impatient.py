"""`python -m faults.impatient`: the service, which asks soon again who refused it."""

import sys
from datetime import timedelta

from notifier import cli
from notifier.domain import poll_schedule

#: In place of minutes.
WAIT = timedelta(seconds=2)


def main() -> None:
    """Be the service in the current folder."""
    vars(poll_schedule)["REFUSED_WAIT"] = WAIT
    sys.argv = ["notifier", "run"]
    cli.main()


if __name__ == "__main__":
    main()
