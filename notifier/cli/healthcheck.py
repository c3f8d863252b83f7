"""`notifier healthcheck`: quick, for it is asked again and again."""

from notifier.cli.exit_codes import DONE, FAILED, say
from notifier.cli.options import Options
from notifier.cli.where import database
from notifier.workers import admin_socket


def healthcheck(options: Options) -> int:
    """Whether the loops of the running service advance, whatever the API does."""
    said = admin_socket.ask(database(options), {"ask": "health"})
    if said.get("ok") is True:
        return DONE
    stuck = said.get("stuck")
    loops = ", ".join(map(str, stuck)) if isinstance(stuck, list) else ""
    say(f"notifier: no progress in {loops or 'an unknown loop'}")
    return FAILED
