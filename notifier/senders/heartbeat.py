"""A sign of life for whoever watches the service: `heartbeat_url`."""

from ipaddress import ip_address

import anyio
import httpx
import structlog

from notifier.clock import Clock
from notifier.concurrency import WakeupEvent
from notifier.domain.egress_policy import anywhere
from notifier.errors import ConfigError
from notifier.senders.egress_guard import Egress, guarded, install, uses_proxies
from notifier.senders.tls import trusting

log = structlog.get_logger()

#: Between two requests, however often reads are made.
EVERY_S = 10.0
#: For the whole answer.
_TIMEOUT_S = 10.0
_LONG_S = 3600.0


class Heartbeat:
    """
    Asks an address after `beat` was called, never more than once in 10 s.

    `may_reach` says which addresses are connected to, whatever its name resolves to.

    What goes wrong is logged, and hurts nothing else; the URL never shows.
    Making one raises a ConfigError over an address, or a proxy of the environment,
    that cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Clock,
        user_agent: str,
        may_reach: Egress = anywhere,
    ) -> None:
        install()
        self._may_reach = may_reach
        self._url = _url(url)
        self._clock = clock
        self._wakeup = WakeupEvent()
        self._http = _http(self._url, user_agent, proxied=uses_proxies(may_reach))

    def beat(self) -> None:
        """There is something to show; returns at once."""
        self._wakeup.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            if await self._wakeup.wait(_LONG_S):
                await self._ask()
                await self._clock.sleep(EVERY_S)

    async def once(self) -> None:
        """Ask now if there is something to show."""
        if await self._wakeup.wait(0):
            await self._ask()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self) -> None:
        reason = await self._attempt()
        if reason is not None:
            log.warning("heartbeat.failed", reason=reason)

    async def _attempt(self) -> str | None:
        """What went wrong, in words that hold nothing of the URL."""
        with guarded(self._may_reach) as guard:
            reason = await self._get()
        return "egress forbids its address" if reason and guard.refused else reason

    async def _get(self) -> str | None:
        try:
            with anyio.fail_after(_TIMEOUT_S):
                # What the answer says is of no interest: its body is not read.
                async with self._http.stream("GET", self._url) as response:
                    return None if response.is_success else _answered(response)
        except TimeoutError:
            return f"no answer within {_TIMEOUT_S:g} s"
        except Exception as exc:  # noqa: BLE001 - no heartbeat is worth the service
            return f"cannot be reached: {type(exc).__name__}"


def _answered(response: httpx.Response) -> str:
    more = "; redirects are not followed" if response.is_redirect else ""
    return f"the answer is {response.status_code}{more}"


def _url(url: str) -> httpx.URL:
    try:
        return httpx.URL(url)
    except httpx.InvalidURL:
        raise ConfigError(["heartbeat_url: is no web address"]) from None


def _http(url: httpx.URL, user_agent: str, *, proxied: bool) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(
            headers={"user-agent": user_agent},
            # A connection that idles between two beats is stale more often than not.
            limits=httpx.Limits(max_keepalive_connections=0),
            timeout=None,  # the total deadline serves  # noqa: S113
            verify=trusting(),
            trust_env=proxied and not _is_loopback(url.host),
        )
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        # Not the value itself: it may hold a password.
        problem = "environment: a variable such as HTTPS_PROXY names no usable proxy"
        raise ConfigError([problem]) from exc


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
