"""
How much of the package one poll and one delivery walk through.

Counts the files and functions of the package that are entered by one poll with one
changed row, from the HTTP request to the commit, and by one delivery, from due to
settled, with a stub for the sender. With --list it names them.

Figures: a poll <= 10 files and 70 functions, a delivery <= 12 and 80.
"""

import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, TypeVar

import anyio
from bench import folder, report
from servers.faulty_api import FaultyApi
from servers.loopback import serving

from notifier import app, settings
from notifier.clock import SystemClock
from notifier.demo.fake_api import base_url, milestone
from notifier.domain.models import Format, Limits, Outcome, Rendered, Sent
from notifier.domain.poll_schedule import Plan, ReadKind
from notifier.storage import milestones

T = TypeVar("T")
PACKAGE = str(Path(app.__file__).parent)
#: Answers in this process, but is no part of the service.
FAKE_API = str(Path(PACKAGE) / "demo")
CONFIG = """
source: {{base_url: '{url}', rate: 10000/s}}
destinations:
  hook: {{url: 'webhook://127.0.0.1:9/'}}
"""


class StubSender:
    """Takes every message at once."""

    async def send(
        self, _destination: str, _message: Rendered, *, delivered_to: frozenset[str]
    ) -> Outcome:
        del delivered_to
        return Sent(status=204)

    def limits(self, _destination: str) -> Limits:
        return Limits(format=Format.TEXT, title=250, body=30_000)


@contextmanager
def entered() -> Iterator[set[CodeType]]:
    """The functions of the package that are entered meanwhile."""
    found: set[CodeType] = set()

    def note(frame: FrameType, event: str, _arg: object) -> None:
        code = frame.f_code
        is_function = not code.co_name.startswith("<")
        is_ours = code.co_filename.startswith(PACKAGE) and not code.co_filename.startswith(FAKE_API)
        if event == "call" and is_function and is_ours:
            found.add(code)

    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(None)


async def inline(work: Callable[[], T]) -> T:
    """Run the database's work in this thread, where it is seen."""
    return work()


async def walk(poll: Callable[[], Awaitable[Any]]) -> set[CodeType]:
    """The functions that a step enters."""
    with entered() as found:
        await poll()
    return found


async def main() -> None:
    """One poll and one delivery."""
    clock = SystemClock()
    start = clock.now() + timedelta(days=9)
    game = milestone(milestone_id="m1", title="A title", start=start, tickers=["KXNFLGAME-A"])
    api = FaultyApi(clock, [game])
    async with serving(api.answer) as port:
        with folder(CONFIG.format(url=base_url(port))) as path:
            config = settings.load(path / "notifier.yaml", {}, cwd=path)
            parts = app.Dependencies(run_in_thread=inline, serve_commands=False, serve_web=False)
            async with app.build_services(config, parts) as services:
                poller, dispatcher = services.poller, services.dispatcher
                dispatcher.sender = StubSender()

                async def read(kind: ReadKind) -> None:
                    watch = (await poller.db.read(milestones.watches))[0]
                    await poller.ingest.read(Plan(at=clock.now(), watch=watch, kind=kind))

                await read(ReadKind.BASELINE)
                api.update("m1", title="Another title")
                poll = await walk(lambda: read(ReadKind.POLL))
                delivery = await walk(dispatcher.once)
    figures: dict[str, object] = {}
    for name, found in (("poll", poll), ("delivery", delivery)):
        files = sorted({Path(code.co_filename).relative_to(PACKAGE).as_posix() for code in found})
        figures |= {f"{name}_files": len(files), f"{name}_functions": len(found)}
        if "--list" in sys.argv:
            for file in files:
                names = (c.co_qualname for c in found if c.co_filename.endswith("/" + file))
                sys.stdout.write(f"{name:9} {file}: {', '.join(sorted(names))}\n")
    report("path", **figures, target={"poll": [10, 70], "delivery": [12, 80]})


if __name__ == "__main__":
    anyio.run(main)
