"""`notifier status`: everything at a glance."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text

from notifier.cli import output
from notifier.cli.exit_codes import DONE
from notifier.cli.lists import write_rows
from notifier.cli.options import Options
from notifier.cli.store_view import viewing
from notifier.cli.where import database
from notifier.clock import SystemClock
from notifier.domain.models import Kind
from notifier.domain.retry_policy import MAX_AGE
from notifier.domain.silences import format_keys
from notifier.messages.humanize import count, relative
from notifier.storage import stats
from notifier.storage.rows import (
    ActiveSilenceRow,
    DestinationStatus,
    ReadSummary,
    StatusRow,
    WatchStatus,
)
from notifier.workers import admin_socket
from notifier.workers.admin_socket import NotRunning

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Process:
    """What the running service says of itself."""

    database: str
    running: bool
    pid: int | None
    #: Workers that do not advance.
    stuck: list[str]
    #: The address of the dashboard; None: there is none.
    web: str | None
    #: It reads live data.
    live: bool


def status(options: Options, *, as_json: bool) -> int:
    """Print how things stand."""
    now = SystemClock().now()
    path = database(options)
    process = _process(path)
    with viewing(options) as conn:
        found = stats.status(conn, now, milestones=stats.count_milestones(conn))
    if as_json:
        write_rows([asdict(process) | msgspec.structs.asdict(found)])
    else:
        _show(process, found, now)
    return DONE


def _process(path: Path) -> _Process:
    try:
        said = admin_socket.ask(path, {"ask": "health"})
    except NotRunning:
        said = {}
    loops = said.get("loops")
    return msgspec.convert(
        {
            "database": str(path),
            "running": bool(said),
            "pid": said.get("pid"),
            "stuck": said.get("stuck", []),
            "web": said.get("web"),
            "live": isinstance(loops, dict) and "live" in loops,
        },
        _Process,
    )


# --- for people ---------------------------------------------------------------


def _show(process: _Process, status: StatusRow, now: datetime) -> None:
    console = output.out()
    console.print(_facts(process, status, now))
    for table in (_destinations(status, now), _starts(status, now)):
        if table.row_count:
            console.print()
            console.print(table)


def _facts(process: _Process, status: StatusRow, now: datetime) -> Table:
    facts = output.facts()
    facts.add_row("service", _running(process))
    if process.web is not None:
        facts.add_row("dashboard", process.web)
    facts.add_row("database", process.database)
    facts.add_row("milestones", f"{status.milestones:,}")
    for watch in status.watches:
        facts.add_row("watched", output.foreign(watch.name))
        for line in _reads(watch, now):
            facts.add_row("", line)
    if process.live:
        facts.add_row("live data", "asked for the watches that want it")
    facts.add_row("last 24 h", _events(status))
    for condition in status.conditions:
        since = f" (since {relative(condition.since, now=now)})"
        facts.add_row("trouble", output.folding(condition.words, "red") + Text(since))
    for silence in status.silences:
        facts.add_row("silenced", _silenced(silence, now))
    if status.quarantined:
        rows = count(status.quarantined, "row")
        facts.add_row("quarantine", Text(f"{rows} could not be read", "yellow"))
    return facts


def _silenced(silence: ActiveSilenceRow, now: datetime) -> Text:
    ends = f"{output.short(silence.id)} ends {relative(silence.until, now=now)}: "
    return output.folding(f"{ends}{format_keys(silence.match)} ({silence.why})")


def _running(process: _Process) -> Text:
    if not process.running:
        return Text("not running", "yellow")
    if process.stuck:
        loops = ", ".join(process.stuck)
        return Text(f"stuck (process {process.pid}): no progress in {loops}", "bold red")
    return Text(f"running (process {process.pid})", "green")


def _reads(watch: WatchStatus, now: datetime) -> Iterator[Text]:
    """When it was read how, and what came of the last time."""
    if watch.baselined_at is None:
        yield Text("its baseline is not complete yet", "yellow")
    done = {
        "polled": watch.polled_at,
        "swept": watch.swept_at,
        "read in full": watch.full_at,
    }
    words = [f"{how} {relative(at, now=now)}" for how, at in done.items() if at]
    if words:
        yield Text(", ".join(words))
    if watch.sweep_only:
        yield Text("cannot be polled with this filter, is only swept", "yellow")
    if (last := watch.last_read) is not None:
        yield _last(last, now)


def _last(read: ReadSummary, now: datetime) -> Text:
    when = f"last: {read.kind} {relative(read.ended_at, now=now)},"
    if read.error is None:
        return Text(f"{when} {count(read.rows, 'row')}, {count(read.events, 'event')}")
    failed = output.folding(f"failed: {read.error}", "red")
    return output.folding(when) + Text(" ") + failed


def _events(status: StatusRow) -> Text:
    told = [(kind, status.events_24h.get(kind.value, 0)) for kind in Kind]
    words = [Text(f"{n:,} ") + output.kind(kind.value) for kind, n in told if n]
    return Text(", ").join(words) if words else Text("no events")


def _destinations(status: StatusRow, now: datetime) -> Table:
    dropped = any(one.dropped_24h for one in status.destinations)
    table = output.table(
        *("Destination", "Pending", "Held", "Leased", "Dead"),
        *(["Dropped, 24 h"] if dropped else []),
        *("Last sent", "State"),
        loose=("Destination", "State"),
    )
    for one in status.destinations:
        sent = one.last_sent_at
        table.add_row(
            output.foreign(one.name),
            f"{one.pending:,}",
            f"{one.held:,}",
            f"{one.leased:,}",
            Text(f"{one.dead:,}", "bold red" if one.dead else ""),
            *([f"{one.dropped_24h:,}"] if dropped else []),
            "never" if sent is None else relative(sent, now=now),
            _state(one, now),
        )
    return table


def _state(one: DestinationStatus, now: datetime) -> Text:
    if (words := _broken(one, now)) is not None:
        return output.folding(words, "bold red")
    if (words := _slow(one, now)) is not None:
        return output.folding(words, "yellow")
    return Text("ready", "green")


def _broken(one: DestinationStatus, now: datetime) -> str | None:
    """Why next to nothing is sent to it; None: it is not so."""
    if one.gone:
        return f"gone (410): notifier resume {one.name}"
    if one.suspended_since is not None:
        since = relative(one.suspended_since, now=now)
        return f"suspended {since}: {one.reason}, next probe {_next(one, now)}"
    if one.open_since is not None:
        since = relative(one.open_since, now=now)
        return f"failing since {since}: {one.reason}, next try {_next(one, now)}"
    return None


def _slow(one: DestinationStatus, now: datetime) -> str | None:
    """Why what it is owed waits; None: it does not."""
    if not one.configured:
        given_up = f"given up {MAX_AGE // _HOUR} h after they became due"
        return f"not configured any more; {one.pending:,} wait, {given_up}"
    if one.paused_until is not None and one.paused_until > now:
        until = relative(one.paused_until, now=now)
        return f"paused, goes on {until}: {one.reason}"
    if one.reason is not None and one.next_try_at is not None:
        until = relative(one.next_try_at, now=now)
        return f"failing: {one.reason}, next try {until}"
    return None


def _next(one: DestinationStatus, now: datetime) -> str:
    """When the next probe may pass."""
    until = one.paused_until
    if until is not None and until > now:
        return relative(until, now=now)
    return "now" if one.pending + one.leased else "with the next message"


def _starts(status: StatusRow, now: datetime) -> Table:
    table = output.table("Next starts", "", "", loose=("Next starts", ""))
    for start in status.next_starts:
        table.add_row(
            output.foreign(start.title),
            relative(start.start, now=now),
            output.foreign(f"{start.category}, {start.type}", "dim"),
        )
    return table
