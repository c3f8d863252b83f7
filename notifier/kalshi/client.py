"""The client of Kalshi's API: one request, one answer, one deadline."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from ipaddress import ip_address
from math import floor
from urllib.parse import quote as percent

import anyio
import httpx

from notifier.clock import Clock
from notifier.domain.live_status import LiveAnswer
from notifier.domain.rules import Watch
from notifier.errors import ConfigError, SourceError, SourceGarbled
from notifier.kalshi.body import ACCEPT_ENCODING, read_body
from notifier.kalshi.decoding import (
    BadRow,
    Page,
    quote,
    read_exchange_active,
    read_live,
    read_page,
    read_row,
    read_single,
)
from notifier.kalshi.errors import date_of, error_of, says_not_found, translate_errors

MOST_PER_PAGE = 500
MOST_PAGES = 1000
MOST_LIVE = 100
MEBIBYTE = 1024 * 1024

#: The body of an error is not read beyond this.
_ERROR_BYTES = 64 * 1024
#: Shorter than load balancers keep idle connections, so that a reused one is not stale.
_IDLE_S = 50.0

Pace = Callable[[], Awaitable[None]]


class Exchange(StrEnum):
    """Whether Kalshi's exchange is open: tells their maintenance from a fault of ours."""

    ACTIVE = "active"
    MAINTENANCE = "maintenance"
    UNKNOWN = "unknown"


class KalshiClient:
    """
    The endpoints of Kalshi's public API that milestones need.

    Methods raise only `SourceError`s. `timeout` bounds a whole answer, from the
    connection to the last byte of its body; `max_body_bytes` bounds a decoded body.
    Redirects are not followed. The proxies of the environment are used, but not for
    loopback and not when a `transport` is given. `auth` signs requests.

    The constructor raises ConfigError for an address, or a proxy of the environment,
    that cannot be used.

    Source: Kalshi OpenAPI 3.34.0.
    """

    def __init__(
        self,
        *,
        base_url: str,
        timeout: timedelta,
        clock: Clock,
        user_agent: str,
        auth: httpx.Auth | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        max_body_bytes: int = 20 * MEBIBYTE,
    ) -> None:
        self._timeout = timeout
        self._clock = clock
        self._max_body_bytes = max_body_bytes
        self._base_url = base_url.rstrip("/")
        self._http = _http(
            url=_url(base_url), user_agent=user_agent, auth=auth, transport=transport
        )

    async def page(
        self,
        *,
        watch: Watch,
        cursor: str = "",
        min_updated: datetime | None = None,
        starts_after: datetime | None = None,
        limit: int = MOST_PER_PAGE,
    ) -> Page:
        """One page of the list; instants are rounded down to whole seconds."""
        params = watch.params | {"limit": str(limit)}
        if cursor:
            params["cursor"] = cursor
        if min_updated is not None:
            params["min_updated_ts"] = str(max(0, floor(min_updated.timestamp())))
        if starts_after is not None:
            params["minimum_start_date"] = _rfc3339(starts_after)
        answer = await self._get("/milestones", params)
        return read_page(
            answer.body_or_error(),
            sent_at=answer.sent_at,
            received_at=answer.received_at,
            date=answer.date,
        )

    async def pages(
        self,
        *,
        watch: Watch,
        pace: Pace,
        min_updated: datetime | None = None,
        starts_after: datetime | None = None,
        limit: int = MOST_PER_PAGE,
        most_pages: int = MOST_PAGES,
    ) -> AsyncGenerator[Page, None]:
        """
        The list to its end; `pace` is awaited before each request.

        A cursor that comes again, or more than `most_pages`, is a `SourceGarbled`
        instead of the page that would follow. Complete only when it ends by itself.
        """
        cursor = ""
        seen: set[str] = set()
        for _ in range(most_pages):
            await pace()
            page = await self.page(
                watch=watch,
                cursor=cursor,
                min_updated=min_updated,
                starts_after=starts_after,
                limit=limit,
            )
            yield page
            cursor = page.cursor
            if not cursor:
                return
            if cursor in seen:
                raise SourceGarbled(f"the cursor {quote(cursor)} came twice")
            seen.add(cursor)
        raise SourceGarbled(f"no end of the list after {most_pages} pages")

    async def milestone(self, milestone_id: str) -> bytes | None:
        """One row's bytes; None when the API says that there is no such milestone."""
        answer = await self._get(f"/milestones/{percent(milestone_id, safe='')}", {})
        if answer.status == httpx.codes.NOT_FOUND and says_not_found(answer.body):
            return None
        row = read_row(read_single(answer.body_or_error()))
        if isinstance(row, BadRow):
            raise SourceGarbled(f"milestone {quote(milestone_id)}: {row.error}")
        if row.id != milestone_id:
            raise SourceGarbled(f"asked for {quote(milestone_id)}, got {row.id}")
        return row.raw

    async def live(self, milestone_ids: Sequence[str]) -> dict[str, LiveAnswer]:
        """
        Live data of these milestones, where there is any.

        At most `MOST_LIVE` of them: the API takes no more.
        """
        asked = list(milestone_ids)
        # Repeated: joined ids are answered with null.
        answer = await self._get("/live_data/batch", {"milestone_ids": asked})
        found = read_live(answer.body_or_error())
        return {key: found[key] for key in asked if key in found}

    async def exchange_status(self) -> Exchange:
        """The state of the exchange; UNKNOWN when the request fails."""
        try:
            answer = await self._get("/exchange/status", {})
            active = read_exchange_active(answer.body_or_error())
        except SourceError:
            return Exchange.UNKNOWN
        return Exchange.ACTIVE if active else Exchange.MAINTENANCE

    async def aclose(self) -> None:
        """Close the connections and the client."""
        await self._http.aclose()

    async def _get(self, path: str, params: Mapping[str, str | list[str]]) -> "_Answer":
        sent_at = self._clock.now()
        with (
            translate_errors(timeout=self._timeout),
            anyio.fail_after(self._timeout.total_seconds()),
        ):
            url = self._base_url + path
            async with self._http.stream("GET", url, params=params) as response:
                if response.status_code == httpx.codes.OK:
                    body = await read_body(response, limit=self._max_body_bytes)
                else:
                    try:
                        body = await read_body(response, limit=_ERROR_BYTES)
                    except SourceGarbled:
                        body = b""
        received_at = self._clock.now()
        return _Answer(
            status=response.status_code,
            body=body,
            sent_at=sent_at,
            received_at=received_at,
            date=date_of(response),
            error=error_of(response, body, now=received_at),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    status: int
    body: bytes
    sent_at: datetime
    received_at: datetime
    date: datetime | None
    #: Set when the body may not be read.
    error: SourceError | None

    def body_or_error(self) -> bytes:
        if self.error is not None:
            raise self.error
        return self.body


def _http(
    *,
    url: httpx.URL,
    user_agent: str,
    auth: httpx.Auth | None,
    transport: httpx.AsyncBaseTransport | None,
) -> httpx.AsyncClient:
    try:
        return httpx.AsyncClient(
            headers={
                "accept": "application/json",
                "accept-encoding": ACCEPT_ENCODING,
                "user-agent": user_agent,
            },
            auth=auth,
            limits=httpx.Limits(keepalive_expiry=_IDLE_S),
            timeout=None,  # the total deadline serves  # noqa: S113
            transport=transport,
            trust_env=not _is_loopback(url.host),
        )
    except (ValueError, ImportError, httpx.InvalidURL) as exc:
        # The value is not shown: it may hold a password.
        problem = "environment: a variable such as HTTPS_PROXY names no usable proxy"
        raise ConfigError([problem]) from exc


def _url(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as exc:
        raise ConfigError([f"source.base_url: {quote(exc)}"]) from exc
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError([f"source.base_url: {quote(base_url)!r} is no web address"])
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _rfc3339(when: datetime) -> str:
    """To the second and with `Z`: a `+` would be read as a blank in a query."""
    return when.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"
