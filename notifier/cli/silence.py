"""`notifier silence add`, `list` and `expire`."""

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import typer
from rich.table import Table
from sqlalchemy import Connection

from notifier.cli import output
from notifier.cli.admin_client import tell, write
from notifier.cli.exit_codes import DONE, say
from notifier.cli.lists import write_rows
from notifier.cli.options import Options
from notifier.cli.store_view import viewing
from notifier.cli.where import database, existing
from notifier.clock import SystemClock
from notifier.domain.models import Json
from notifier.domain.routing import matches
from notifier.domain.rules import Silence
from notifier.domain.silences import (
    DESTINATION,
    create_silence,
    find_problem,
    format_keys,
    keys_of,
    unknown_destinations,
)
from notifier.messages.humanize import count, instant, relative, span
from notifier.storage import admin, queries, stats
from notifier.storage.admin import with_audit
from notifier.storage.rows import SilenceRow
from notifier.workers.admin_actions import COMMAND, expired, silenced

#: A silence is held against what happened in so long a time.
_PAST = timedelta(days=7)
_MATCH = "--match"


def add(options: Options, pairs: Sequence[str], *, until: datetime, why: str, dry_run: bool) -> int:
    """
    Silence what matches until a time.

    Raises: BadParameter with everything that is wrong with the pairs.
    """
    keys = _keys(pairs)
    store = existing(database(options))
    now = SystemClock().now()
    with viewing(options) as conn:
        _check_destinations(keys, stats.destination_names(conn))
        silence = _made(keys, why=why, until=until, now=now)
        words = f"{_effect(silence, now)}\n{_record(conn, silence, now)}"
    if not dry_run:
        question: dict[str, Json] = {
            "ask": "silence",
            "match": keys,
            "until": until.isoformat(),
            "why": silence.why,
        }
        said = tell(store, question)
        if said is None:
            write(
                store,
                lambda conn: with_audit(
                    conn,
                    lambda conn: admin.add_silence(conn, silence),
                    lambda _done: silenced(COMMAND, silence),
                ),
            )
        sys.stdout.write(f"{silence.id if said is None else said['id']}\n")
    say(words)
    return DONE


def list_silences(options: Options, *, everything: bool, as_json: bool) -> int:
    """Print the silences in force, or all of them."""
    now = SystemClock().now()
    with viewing(options) as conn:
        rows = queries.silences(conn, now, everything=everything)
    if as_json:
        write_rows(rows)
    elif not rows:
        say("No silences." if everything else "No silence is in force.")
    else:
        output.out().print(_table(rows, now))
    return DONE


def expire(options: Options, beginning: str) -> int:
    """
    End a silence now.

    Raises: StoreError when none, or more than one, has an id that begins so.
    """
    store = existing(database(options))
    now = SystemClock().now()
    said = tell(store, {"ask": "expire", "silence": beginning})
    ended = (
        said["id"]
        if said is not None
        else write(
            store,
            lambda conn: with_audit(
                conn,
                lambda conn: admin.expire_silence(conn, beginning, now=now),
                lambda one: expired(COMMAND, now, one),
            ),
        ).id
    )
    sys.stdout.write(f"{ended}\n")
    say("It is over; what it dropped stays dropped.")
    return DONE


# --- what was typed -----------------------------------------------------------


def _keys(pairs: Sequence[str]) -> dict[str, list[str]]:
    """Patterns by key: a key that comes again has one more."""
    if not pairs:
        raise typer.BadParameter(
            "nothing is matched; such as category=Sports, or 'category=*', which "
            "silences everything",
            param_hint=_MATCH,
        )
    found: dict[str, list[str]] = {}
    problems: list[str] = []
    for pair in pairs:
        key, _, text = pair.partition("=")
        if (wrong := _problem(pair)) is not None:
            problems.append(wrong)
        elif text not in found.setdefault(key, []):
            found[key].append(text)
    if problems:
        raise typer.BadParameter("\n".join(problems), param_hint=_MATCH)
    return found


def _problem(pair: str) -> str | None:
    """What is wrong with one `KEY=PATTERN`; None: nothing."""
    key, equals, text = pair.partition("=")
    if not key or not equals:
        return f"{pair!r} is not KEY=PATTERN, such as category=Sports"
    wrong = find_problem(key, text) if text else "has no value"
    return None if wrong is None else f"{key}: {wrong}"


def _check_destinations(keys: Mapping[str, Sequence[str]], known: Sequence[str]) -> None:
    problems = unknown_destinations(keys.get(DESTINATION, ()), known)
    if problems:
        raise typer.BadParameter("\n".join(problems), param_hint=_MATCH)


def _made(keys: Mapping[str, list[str]], *, why: str, until: datetime, now: datetime) -> Silence:
    try:
        return create_silence(keys, why=why, created_at=now, until=until)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from None


# --- for people ---------------------------------------------------------------


def _effect(silence: Silence, now: datetime) -> str:
    keys = keys_of(silence)
    to = keys.pop(DESTINATION, ["anybody"])
    until = instant(silence.until, zone=output.local_zone(), now=now)
    left = relative(silence.until, now=now)
    what = format_keys(keys) or "any event"
    return f"Nothing of {what} goes to {' or '.join(to)} until {until} ({left})."


def _record(conn: Connection, silence: Silence, now: datetime) -> str:
    """What it would have come to."""
    past = queries.events_since(conn, now - _PAST)
    suits = [matches(event, silence.match) for event in past]
    events = f"{count(len(suits), 'event')} of the last {_PAST.days} days"
    return f"It matches {sum(suits):,} of the {events}."


def _table(rows: Sequence[SilenceRow], now: datetime) -> Table:
    zone = output.local_zone()
    table = output.table(*("Silence", "Until", "Left", "Match", "Why"), loose=("Match", "Why"))
    for row in rows:
        table.add_row(
            output.short(row.id),
            instant(row.until, zone=zone, now=now),
            _left(row, now),
            output.folding(format_keys(row.match)),
            output.folding(row.why),
        )
    return table


def _left(row: SilenceRow, now: datetime) -> str:
    if row.active:
        return span(row.until - now)
    by_hand = row.expired_at is not None
    ended = relative(row.expired_at or row.until, now=now)
    return f"ended by hand {ended}" if by_hand else f"ended {ended}"
