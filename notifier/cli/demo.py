"""`notifier demo`: the whole program, against a stand-in for the API on loopback."""

import signal
import tempfile
from pathlib import Path

import anyio
from rich.console import Console
from rich.text import Text

from notifier import app, logging, settings
from notifier.cli import output
from notifier.cli.demo_console import Stage
from notifier.cli.exit_codes import DONE
from notifier.cli.global_options import Given
from notifier.cli.tally import Tally, tally
from notifier.clock import SystemClock
from notifier.demo import scenario
from notifier.demo.loopback import serving
from notifier.demo.sink import Sink
from notifier.demo.standin import StandIn
from notifier.demo.world import World
from notifier.domain.commit import Progress, ReadEnd, ReadKind
from notifier.domain.models import Kind
from notifier.messages.humanize import count
from notifier.settings import Config
from notifier.web.listen import Place

#: By then all is told that the end of the story set going.
_EPILOGUE_S = 1.5
_DATABASE = "demo.db"


def demo(given: Given) -> int:
    """Play the story to its end, or until Ctrl-C; leaves nothing behind."""
    logging.set_up(level=given.log_level or "warning", style="auto")
    console = output.out()
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as folder:
        _sum_up(console, anyio.run(_play, Path(folder), console))
    return DONE


async def _play(folder: Path, console: Console) -> Tally:
    clock = SystemClock()
    world = World(clock, scenario.opening(clock.now()))
    stage = Stage(console)
    sink = Sink(clock=clock, secret=scenario.SECRET, seen=stage.arrived)
    _introduce(console, milestones=len(world))
    async with (
        serving(StandIn(world, clock=clock).answer) as api_port,
        serving(sink.answer) as sink_port,
    ):
        found = _configured(folder, api_port, sink_port)
        await _perform(found, folder / _DATABASE, world, stage, console)
    return tally(folder / _DATABASE, sink.arrivals)


def _configured(folder: Path, api_port: int, sink_port: int) -> Config:
    text = scenario.configuration(api_port, sink_port, folder / _DATABASE)
    file = folder / settings.NAME
    file.write_text(f"{text}timezone: {output.local_zone().key}\n", "utf-8")
    return settings.load(file, {}, cwd=folder)


async def _perform(
    found: Config, database: Path, world: World, stage: Stage, console: Console
) -> None:
    """Run the service while the story happens."""
    is_known, stop = anyio.Event(), anyio.Event()

    def watch(kind: ReadKind, _progress: Progress, end: ReadEnd | None) -> None:
        if kind is ReadKind.BASELINE and end is not None:
            is_known.set()

    async def tell() -> None:
        await is_known.wait()
        await scenario.play(world, SystemClock())
        await anyio.sleep(_EPILOGUE_S)
        stop.set()

    parts = app.Parts(watcher=watch, output=stage)
    parts.front.move(Place(host="127.0.0.1", port=0))
    console.print(f"The dashboard, while it lasts: http://{parts.front.place}/")
    async with app.built(found, parts) as loops, anyio.create_task_group() as tasks:
        tasks.start_soon(_watch_signals, stop, tasks.cancel_scope)
        tasks.start_soon(tell)
        await app.serve(loops, stop, database, parts)
        tasks.cancel_scope.cancel()
    parts.front.close()


async def _watch_signals(stop: anyio.Event, everything: anyio.CancelScope) -> None:
    """Ctrl-C ends the story; a second one does not wait for what is under way."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            if stop.is_set():
                everything.cancel()
            stop.set()


# --- words --------------------------------------------------------------------


def _introduce(console: Console, *, milestones: int) -> None:
    seconds = round(scenario.LENGTH.total_seconds())
    console.print(
        f"A stand-in for Kalshi's API on this machine lists {milestones} milestones. "
        "They are read and announced by nothing; what happens to them from now on is "
        f"told here and to a webhook, for {seconds} seconds. Ctrl-C ends it."
    )


def _sum_up(console: Console, found: Tally) -> None:
    table = output.table("Kind", "Events", "Terminal", "Webhook")
    for column in table.columns[1:]:
        column.justify = "right"
    for kind in Kind:
        row = (found.events, found.terminal, found.webhook)
        if any(counts[kind] for counts in row):
            table.add_row(output.kind(kind.value), *(str(c[kind]) for c in row))
    if table.row_count:
        console.print()
        console.print(table)
    console.print()
    sent = found.terminal.total() + found.webhook.total()
    ok = "green" if found.repeated == found.lost == 0 else "bold red"
    line = Text(f"{count(sent, 'message')} delivered, ")
    line.append(f"repeated {found.repeated}, lost {found.lost}", ok)
    if found.waiting:
        line.append(f", {found.waiting} still to be sent when it ended")
    console.print(line)
    console.print("Next: `notifier init` writes a configuration for the real thing.")
