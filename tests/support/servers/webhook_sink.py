"""
A receiver of webhooks on loopback that keeps what arrived, in order.

`python -m servers.webhook_sink --port 0 --log FILE --secret whsec_...` prints one JSON
line with its `port` and `url`, and serves until it is stopped. The log holds one JSON
object a line, on disk before the sender is answered.
"""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
import msgspec
from standardwebhooks.webhooks import Webhook

from notifier.clock import Clock, SystemClock
from notifier.demo.receiver import Arrival, destination_url, read_arrival
from servers.loopback import Request, Response, serving

Respond = Callable[[Arrival], Response]


def accept(arrival: Arrival) -> Response:
    """204; 401 to what is not genuine."""
    return Response(status=401 if arrival.is_genuine is False else 204)


class WebhookSink:
    """Takes webhooks; `respond` may refuse them, `log` is appended to and synced."""

    def __init__(
        self,
        *,
        clock: Clock,
        secret: str | None = None,
        log: Path | None = None,
        respond: Respond = accept,
    ) -> None:
        self.arrivals: list[Arrival] = []
        self._clock = clock
        self._verifier = Webhook(secret) if secret else None
        self._log = log.open("ab", buffering=0) if log else None
        self._respond = respond
        self._more = anyio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._log:
            self._log.close()

    async def answer(self, request: Request) -> Response:
        """What a server needs of it."""
        if request.method != "POST":
            return Response(status=405)
        at = self._clock.now()
        arrival = read_arrival(request.headers, request.body, self._verifier, at=at)
        self.arrivals.append(arrival)
        if self._log is not None:
            self._log.write(msgspec.json.encode(arrival) + b"\n")
            os.fsync(self._log.fileno())
        self._more.set()
        self._more = anyio.Event()
        return self._respond(arrival)

    async def wait_for(self, count: int) -> None:
        """Come back when so many requests have arrived, all in all."""
        while len(self.arrivals) < count:
            await self._more.wait()


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m servers.webhook_sink")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--secret")
    options = parser.parse_args()
    with WebhookSink(clock=SystemClock(), secret=options.secret, log=options.log) as sink:
        anyio.run(_serve, sink, options.port, options.secret)


async def _serve(sink: WebhookSink, port: int, secret: str | None) -> None:
    async with serving(sink.answer, port=port) as bound:
        line = {"port": bound, "url": destination_url(bound, secret=secret)}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    main()
