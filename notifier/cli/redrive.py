"""`notifier resume` and `notifier redrive`: a person sets something right."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from notifier.cli.admin_client import tell, write
from notifier.cli.exit_codes import DONE, say
from notifier.cli.options import Options
from notifier.cli.where import database, existing
from notifier.clock import SystemClock
from notifier.domain.models import Json, State
from notifier.domain.pagination import DeadFilter
from notifier.storage.admin import with_audit
from notifier.storage.dead_letters import redrive as put_back
from notifier.storage.dead_letters import resume as go_on
from notifier.workers.admin_actions import COMMAND, redriven, redriven_what, resumed


def resume(options: Options, destination: str) -> int:
    """Send to a suspended destination again, now."""
    store = existing(database(options))
    now = SystemClock().now()
    said = tell(store, {"ask": "resume", "destination": destination})
    waiting = (
        said["waiting"]
        if said is not None
        else write(
            store,
            lambda conn: with_audit(
                conn,
                lambda conn: go_on(conn, destination, now=now),
                lambda waiting: resumed(COMMAND, now, destination, waiting),
            ),
        )
    )
    sys.stdout.write(f"{destination} goes on; {_deliveries(int(str(waiting)))} waited for it\n")
    return DONE


def redrive(options: Options, ids: Sequence[str], *, destination: str | None, dry_run: bool) -> int:
    """
    Put dead deliveries back; all of them where none is named.

    Raises: StoreError when nothing is called so.
    """
    store = existing(database(options))
    now = SystemClock().now()
    question: dict[str, Json] = {
        "ask": "redrive",
        "ids": list(ids),
        "destination": destination,
        "dry_run": dry_run,
    }
    wanted = DeadFilter(ids=ids, destination=destination, to_put_back=not dry_run)
    said = tell(store, question)
    rows: Any = (
        said["deliveries"]
        if said is not None
        else write(
            store,
            lambda conn: with_audit(
                conn,
                lambda conn: put_back(conn, wanted, now=now),
                lambda found: (
                    None
                    if dry_run
                    else redriven(COMMAND, now, redriven_what(found, destination), found.count)
                ),
            ),
        ).rows
    )
    _print(rows, dry_run=dry_run)
    return DONE


def _print(rows: Sequence[Mapping[str, Any]], *, dry_run: bool) -> None:
    dead = [row for row in rows if row["state"] == State.DEAD.value]
    for row in dead:
        words = (row["delivery_id"], row["destination"], row["kind"], row["reason"])
        sys.stdout.write("  ".join(str(word) for word in words) + "\n")
    for row in rows:
        if row not in dead:
            say(f"{row['delivery_id']} to {row['destination']} is {row['state']}: left")
    number = f"{_deliveries(len(dead))} that had been given up"
    say(f"{number} would be put back" if dry_run else f"{number}: put back")


def _deliveries(number: int) -> str:
    return f"{number:,} {'delivery' if number == 1 else 'deliveries'}"
