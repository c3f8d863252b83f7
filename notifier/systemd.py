"""
What systemd wants to know of a service of `Type=notify`.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import structlog

from notifier.clock import Clock

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Supervisor:
    """Who started the service; without an address, nobody wants to know anything."""

    #: A datagram socket: a path, or a name that begins with `@`.
    address: str | None = None
    #: It ends the service when it hears nothing for so long; None: it does not.
    patience_s: float | None = None

    def ready(self, status: str) -> None:
        """The service runs."""
        self._say("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """The service is about to end."""
        self._say("STOPPING=1", "STATUS=finishing what is under way")

    async def feed(self, stuck: Callable[[], list[str]], clock: Clock) -> None:
        """Show signs of life for ever, as long as nothing is stuck."""
        if self.address is None or self.patience_s is None:
            return
        while True:
            if loops := stuck():
                self._say(f"STATUS=stuck: {', '.join(loops)}")
            else:
                self._say("WATCHDOG=1")
            await clock.sleep(self.patience_s / 2)

    def _say(self, *lines: str) -> None:
        if self.address is None:
            return
        # The abstract namespace is written with @ and addressed with a zero byte.
        at = f"\0{self.address[1:]}" if self.address[0] == "@" else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.settimeout(0)
                link.sendto("\n".join(lines).encode(), at)
        except OSError as exc:
            log.warning("systemd.unreached", reason=exc.strerror or str(exc))


def supervisor(environ: Mapping[str, str], *, pid: int) -> Supervisor:
    """The one that the environment names; it may name none."""
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in {"/", "@"}:
        return Supervisor()
    return Supervisor(address=address, patience_s=_patience_s(environ, pid))


def _patience_s(environ: Mapping[str, str], pid: int) -> float | None:
    """What `WATCHDOG_USEC` asks of the process that `WATCHDOG_PID` names."""
    if environ.get("WATCHDOG_PID") not in {None, str(pid)}:
        return None
    with suppress(ValueError):
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        return microseconds / 1_000_000 if microseconds > 0 else None
    return None
