"""The heartbeat: requests to `heartbeat_url` that show a dead man's switch a live service."""

from ipaddress import ip_address

import anyio
import httpx
import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.egress_policy import anywhere
from notifier.errors import ConfigError
from notifier.senders.egress_guard import Egress, guarded, install, uses_proxies
from notifier.senders.sender import trusted_context

log = structlog.get_logger()

#: Between two requests, however often reads are made.
INTERVAL_S = 10.0
#: For one request.
TIMEOUT_S = 10.0
_HOUR_S = 3600.0


class Heartbeat:
    """
    Requests a URL after `beat` was called, at most once in 10 s.

    `may_reach` decides which addresses are connected to, whatever its name resolves
    to. A failure is logged, without the URL, and affects nothing else.

    Raises:
        ConfigError: the URL, or a proxy of the environment, cannot be used.

    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        user_agent: str,
        may_reach: Egress = anywhere,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        install()
        self._timeout_s = timeout_s
        self._may_reach = may_reach
        self._clock = clock
        self._wakeup = WakeupEvent()
        try:
            self._url = httpx.URL(url)
        except httpx.InvalidURL:
            raise ConfigError(["heartbeat_url: is no web address"]) from None
        try:
            self._http = httpx.AsyncClient(
                headers={"user-agent": user_agent},
                # Between two beats most servers close an idle connection.
                limits=httpx.Limits(max_keepalive_connections=0),
                # Each of TCP and TLS: the connection would stay open if the limit of the
                # whole request cancelled the TLS handshake.
                timeout=httpx.Timeout(None, connect=0.4 * timeout_s),
                verify=trusted_context(),
                trust_env=uses_proxies(may_reach) and not _is_loopback(self._url.host),
            )
        except (ValueError, ImportError, httpx.InvalidURL) as exc:
            # The value is not shown: it may hold a password.
            problem = "environment: a variable such as HTTPS_PROXY names no usable proxy"
            raise ConfigError([problem]) from exc

    def beat(self) -> None:
        """Have the next request made; returns at once."""
        self._wakeup.set()

    async def run(self) -> None:
        """Make a request whenever `beat` was called, until cancelled."""
        while True:
            if await self._wakeup.wait(_HOUR_S):
                await self._request()
                await self._clock.sleep(INTERVAL_S)

    async def once(self) -> None:
        """Make a request now if `beat` was called."""
        if await self._wakeup.wait(0):
            await self._request()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _request(self) -> None:
        with guarded(self._may_reach) as guard:
            reason = await self._failure()
        if reason is not None:
            reason = "egress forbids its address" if guard.refused else reason
            log.warning("heartbeat.failed", reason=reason)

    async def _failure(self) -> str | None:
        """Make one request. Why it failed, without the URL; None: it succeeded."""
        try:
            with anyio.fail_after(self._timeout_s):
                # The body is not read: only the status matters.
                async with self._http.stream("GET", self._url) as response:
                    if response.is_success:
                        return None
                    hint = "; redirects are not followed" if response.is_redirect else ""
                    return f"the answer is {response.status_code}{hint}"
        except TimeoutError:
            return f"no answer within {self._timeout_s:g} s"
        except Exception as exc:  # noqa: BLE001 - no failure of a heartbeat may stop the service
            return f"cannot be reached: {type(exc).__name__}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
