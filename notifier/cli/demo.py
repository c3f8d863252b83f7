"""`notifier demo`: the whole service, against a fake of the API on loopback."""

import signal
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from notifier import app, logging, settings
from notifier.cli import output
from notifier.cli.demo_console import DemoConsole
from notifier.cli.exit_codes import DONE
from notifier.cli.options import Options
from notifier.clock import SystemClock
from notifier.demo import scenario
from notifier.demo.fake_api import FakeApi, api_app
from notifier.demo.local_server import serving
from notifier.demo.receiver import Arrival, WebhookReceiver
from notifier.domain.models import Kind, State
from notifier.domain.poll_schedule import Progress, ReadEnd, ReadKind
from notifier.messages.humanize import count
from notifier.settings.models import Settings
from notifier.storage import queries
from notifier.storage.database import reading
from notifier.web.listen import Address

#: The last messages are sent within this after the end of the scenario.
_EPILOGUE_S = 1.5
_DATABASE = "demo.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Events and messages by kind; what was owed against what arrived."""

    events: Counter[Kind]
    terminal: Counter[Kind]
    #: Counted by the receiver.
    webhook: Counter[Kind]
    #: Times that an event arrived once more.
    repeated: int
    #: Owed events that neither arrived nor wait to be sent.
    lost: int
    waiting: int


def demo(options: Options) -> int:
    """Run the scenario to its end, or until Ctrl-C; no file is left behind."""
    logging.set_up(level=options.log_level or "warning", style="auto")
    console = output.out()
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder:
        _print_summary(console, anyio.run(_play, Path(folder), console))
    return DONE


async def _play(folder: Path, console: Console) -> Summary:
    clock = SystemClock()
    api = FakeApi(clock, scenario.opening(clock.now()))
    display = DemoConsole(console)
    receiver = WebhookReceiver(clock=clock, secret=scenario.SECRET, on_arrival=display.show_webhook)
    _introduce(console, milestones=len(api))
    async with serving(api_app(api)) as api_port, serving(receiver.app) as receiver_port:
        found = _configured(folder, api_port, receiver_port)
        await _perform(found, folder / _DATABASE, api, display, console)
    return _summary(folder / _DATABASE, receiver.arrivals)


def _configured(folder: Path, api_port: int, receiver_port: int) -> Settings:
    text = scenario.configuration(api_port, receiver_port, folder / _DATABASE)
    file = folder / settings.NAME
    file.write_text(f"{text}timezone: {output.local_zone().key}\n", "utf-8")
    return settings.load(file, {}, cwd=folder)


async def _perform(
    found: Settings, database: Path, api: FakeApi, display: DemoConsole, console: Console
) -> None:
    """Run the service while the scenario runs."""
    is_known, stop = anyio.Event(), anyio.Event()

    def watch(kind: ReadKind, _progress: Progress, end: ReadEnd | None) -> None:
        if kind is ReadKind.BASELINE and end is not None:
            is_known.set()

    async def tell() -> None:
        await is_known.wait()
        await scenario.play(api, SystemClock())
        await anyio.sleep(_EPILOGUE_S)
        stop.set()

    parts = app.Dependencies(watcher=watch, output=display)
    parts.listen.move(Address(host="127.0.0.1", port=0))
    console.print(f"The dashboard, while it lasts: http://{parts.listen.address}/")
    async with app.build_services(found, parts) as loops, anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_signals, stop, tasks.cancel_scope)
        tasks.start_soon(tell)
        await app.serve(loops, stop, database, parts)
        tasks.cancel_scope.cancel()
    parts.listen.close()


async def _watch_signals(stop: anyio.Event, everything: anyio.CancelScope) -> None:
    """Ctrl-C ends the demo; a second one does not wait for what is under way."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                everything.cancel()
            stop.set()


# --- summary ---


def _summary(database: Path, arrivals: Sequence[Arrival]) -> Summary:
    with reading(database) as conn:
        kinds = {row.event_id: row.kind for row in queries.iter_events(conn)}
        owed = list(queries.iter_deliveries(conn, SystemClock().now()))
    received = Counter(event_id for arrival in arrivals for event_id in arrival.event_ids)
    shown = {
        row.event_id
        for row in owed
        if row.destination == "terminal" and row.state is State.DELIVERED
    }
    arrived = {"terminal": shown, "webhook": received.keys()}
    missing = [row.state for row in owed if row.event_id not in arrived[row.destination]]
    waiting = sum(state in {State.PENDING, State.LEASED} for state in missing)
    return Summary(
        events=Counter(kinds.values()),
        terminal=Counter(kinds[event] for event in shown),
        webhook=Counter(kinds[event] for event in received if event in kinds),
        repeated=received.total() - len(received),
        lost=len(missing) - waiting,
        waiting=waiting,
    )


def _introduce(console: Console, *, milestones: int) -> None:
    seconds = round(scenario.LENGTH.total_seconds())
    console.print(
        f"A fake of Kalshi's API on this machine lists {milestones} milestones. The first "
        "read stores them and announces nothing. What happens to them during the next "
        f"{seconds} seconds is sent to this terminal and to a webhook. Ctrl-C ends the demo."
    )


def _print_summary(console: Console, summary: Summary) -> None:
    table = output.table("Kind", "Events", "Terminal", "Webhook")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in Kind:
        row = (summary.events, summary.terminal, summary.webhook)
        if any(counts[kind] for counts in row):
            table.add_row(output.kind(kind.value), *(str(c[kind]) for c in row))
    if table.row_count:
        console.print()
        console.print(table)
    console.print()
    sent = summary.terminal.total() + summary.webhook.total()
    ok = "green" if summary.repeated == summary.lost == 0 else "bold red"
    line = Text(f"{count(sent, 'message')} delivered, ")
    line.append(f"repeated {summary.repeated}, lost {summary.lost}", ok)
    if summary.waiting:
        line.append(f", {summary.waiting} still to be sent when it ended")
    console.print(line)
    console.print("Next: `notifier init` writes a configuration for the real thing.")
