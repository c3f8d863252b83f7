"""`notifier healthcheck`: quick, for it is asked again and again."""

from notifier import control
from notifier.cli.ending import DONE, FAILED, say
from notifier.cli.given import Given
from notifier.cli.where import database


def healthcheck(given: Given) -> int:
    """Whether the loops of the running service advance, whatever the API does."""
    said = control.ask(database(given), {"ask": "health"})
    if said.get("ok") is True:
        return DONE
    stuck = said.get("stuck")
    loops = ", ".join(map(str, stuck)) if isinstance(stuck, list) else ""
    say(f"notifier: no progress in {loops or 'an unknown loop'}")
    return FAILED
