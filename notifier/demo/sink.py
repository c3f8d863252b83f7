"""
A receiver of webhooks on loopback that remembers what came, in order.

`python -m notifier.demo.sink --port 0 --log FILE --secret whsec_...` prints one JSON
line with its `port` and `url`, and serves until it is stopped. The log holds one JSON
object a line, on disk before the sender is answered.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import msgspec
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from notifier.clock import Clock, SystemClock
from notifier.demo.loopback import HOST, Request, Response, serving

PATH = "/hook"

_decode = msgspec.json.Decoder().decode


def url(port: int, *, secret: str | None = None) -> str:
    """The destination that sends here."""
    query = f"?secret={secret}" if secret else ""
    return f"webhook://{HOST}:{port}{PATH}{query}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One request as it came."""

    at: datetime
    #: The header `webhook-id`: a message that is repeated carries the same.
    message_id: str
    #: CloudEvents, one or a batch; empty when the body is none.
    events: tuple[Mapping[str, Any], ...]
    #: Whether the signature is right; None when nobody told the secret.
    genuine: bool | None
    request: Request

    @property
    def event_ids(self) -> tuple[str, ...]:
        """The ids of the events that it tells, oldest first."""
        return tuple(str(event.get("id", "")) for event in self.events)


Respond = Callable[[Arrival], Response]


def accept(arrival: Arrival) -> Response:
    """204; 401 to what is not genuine."""
    return Response(status=401 if arrival.genuine is False else 204)


class Sink:
    """
    Takes webhooks. `respond` may refuse them; `seen` is told of each one.

    What `log` names is appended to and synced before the answer goes out, so that an
    answer means that the line is on disk.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        secret: str | None = None,
        log: Path | None = None,
        respond: Respond = accept,
        seen: Callable[[Arrival], None] = lambda _: None,
    ) -> None:
        self.arrivals: list[Arrival] = []
        self._clock = clock
        self._verify = Webhook(secret) if secret else None
        self._log = log.open("ab", buffering=0) if log else None
        self._respond = respond
        self._seen = seen
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
        arrival = self._arrival(request)
        self.arrivals.append(arrival)
        self._keep(arrival)
        self._seen(arrival)
        self._more.set()
        self._more = anyio.Event()
        return self._respond(arrival)

    async def wait_for(self, count: int) -> None:
        """Come back when so many requests have arrived, all in all."""
        while len(self.arrivals) < count:
            await self._more.wait()

    def _arrival(self, request: Request) -> Arrival:
        return Arrival(
            at=self._clock.now(),
            message_id=request.headers.get("webhook-id", ""),
            events=_events(request.body),
            genuine=self._genuine(request),
            request=request,
        )

    def _genuine(self, request: Request) -> bool | None:
        if self._verify is None:
            return None
        try:
            self._verify.verify(request.body, dict(request.headers), json_parse=False)
        except (WebhookVerificationError, ValueError):
            return False
        return True

    def _keep(self, arrival: Arrival) -> None:
        if self._log is None:
            return
        line = {
            "at": arrival.at,
            "message_id": arrival.message_id,
            "genuine": arrival.genuine,
            "events": arrival.events,
        }
        self._log.write(msgspec.json.encode(line) + b"\n")
        os.fsync(self._log.fileno())


def describe(arrival: Arrival) -> str:
    """The arrival in one line for a person, with nothing that a terminal obeys."""
    sealed = {True: "signed", False: "NOT GENUINE", None: "unsigned"}[arrival.genuine]
    what = "; ".join(_told(event) for event in arrival.events) or "no event"
    line = f"webhook {arrival.at:%H:%M:%S}  {what}  ({sealed}, {arrival.message_id})"
    return "".join(c if c.isprintable() else "�" for c in line)


def _told(event: Mapping[str, Any]) -> str:
    kind = str(event.get("type", "?")).rpartition(".")[2]
    data = event.get("data")
    title = data.get("title") if isinstance(data, dict) else None
    return f"{kind}: {title or '?'}"


def _events(body: bytes) -> tuple[Mapping[str, Any], ...]:
    try:
        told = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ()
    events: Sequence[object] = told if isinstance(told, list) else [told]
    return tuple(event for event in events if isinstance(event, dict))


# --- as a process of its own --------------------------------------------------


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m notifier.demo.sink")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--secret")
    options = parser.parse_args()
    with Sink(clock=SystemClock(), secret=options.secret, log=options.log) as sink:
        anyio.run(_serve, sink, options.port, options.secret)


async def _serve(sink: Sink, port: int, secret: str | None) -> None:
    async with serving(sink.answer, port=port) as bound:
        line = {"port": bound, "url": url(bound, secret=secret)}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    main()
