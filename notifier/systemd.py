"""
Notifications to systemd for a service of `Type=notify`: ready, stopping, watchdog.

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
class SystemdNotifier:
    """Sends the service's state to systemd; without an address it sends nothing."""

    #: A datagram socket: a path, or a name that begins with `@`.
    address: str | None = None
    #: systemd kills the service without a sign of life for so long; None: never.
    watchdog_s: float | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], *, pid: int) -> "SystemdNotifier":
        """The notifier for `NOTIFY_SOCKET`, and `WATCHDOG_USEC` if it is meant for this process."""
        address = environ.get("NOTIFY_SOCKET", "")
        if address[:1] not in {"/", "@"}:
            return cls()
        watchdog_s = 0.0
        if environ.get("WATCHDOG_PID") in {None, str(pid)}:
            with suppress(ValueError):
                watchdog_s = int(environ.get("WATCHDOG_USEC", "")) / 1_000_000
        return cls(address=address, watchdog_s=watchdog_s if watchdog_s > 0 else None)

    def ready(self, status: str) -> None:
        """The service runs."""
        self._send("READY=1", f"STATUS={status}")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1", "STATUS=finishing what is under way")

    async def feed_watchdog(self, stalled: Callable[[], list[str]], clock: Clock) -> None:
        """Send signs of life for ever, as long as no worker is stalled."""
        if self.address is None or self.watchdog_s is None:
            return
        while True:
            if workers := stalled():
                self._send(f"STATUS=stuck: {', '.join(workers)}")
            else:
                self._send("WATCHDOG=1")
            await clock.sleep(self.watchdog_s / 2)

    def _send(self, *lines: str) -> None:
        if self.address is None:
            return
        # The abstract namespace is written with @ and addressed with a zero byte.
        address = f"\0{self.address[1:]}" if self.address[0] == "@" else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
                connection.settimeout(0)
                connection.sendto("\n".join(lines).encode(), address)
        except OSError as exc:
            log.warning("systemd.unreached", reason=exc.strerror or str(exc))
