"""The network to the API: delays, faults, and a log of what arrived."""

import json
from collections.abc import Callable
from random import Random

import anyio
import httpx
from servers import api_faults as faults
from servers.api_faults import AnyFault
from servers.faulty_api import FaultyApi
from servers.memory_transport import MemoryTransport

from notifier.demo.fake_api import ListPage
from simulation import rows
from simulation.machine import Machine, VirtualClock
from simulation.reference import Arrived
from simulation.weather import OLD, Weather

#: What the list is served in, whatever was asked for.
PAGE = 25


class Wire(httpx.AsyncBaseTransport):
    """What httpx gets for a network."""

    def __init__(
        self,
        api: FaultyApi,
        *,
        clock: VirtualClock,
        machine: Machine,
        chance: Random,
        weather: Weather,
        arrives: Callable[[Arrived], None],
        asks: Callable[[str], None],
    ) -> None:
        self.is_calm = False
        #: Faults come in spells.
        self._is_foul = False
        self._api = api
        self._inner = MemoryTransport(api.answer)
        self._clock = clock
        self._machine = machine
        self._chance = chance
        self._weather = weather
        self._replicas: list[float] = []
        self._arrives = arrives
        self._asks = asks

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, late, and sometimes another than the right one."""
        self._machine.check()
        self._asks(request.url.raw_path.decode())
        await anyio.sleep(self._delay())
        some = self._plan(request)
        promises = self._weather.loud() if _begins_poll(request) and not some else {}
        response = await self._inner.handle_async_request(_in_small_pages(request))
        served = self._api.served[-1]
        body = self._without_shy(served.body)
        await anyio.sleep(self._delay())
        self._machine.check()
        self._arrives(
            Arrived(
                at=self._clock.now(),
                target=served.target,
                status=served.status,
                body=body,
                is_hiding=any(_hides(fault) for fault in some),
                is_late=any(isinstance(fault, faults.Stale) for fault in some),
                promises=promises,
            )
        )
        if body is served.body:
            return response
        headers = {"content-type": "application/json"} | _date(response)
        return httpx.Response(served.status, headers=headers, stream=httpx.ByteStream(body))

    def _without_shy(self, body: bytes) -> bytes:
        """The page without the rows that hide for a while."""
        page = rows.page(body) if body[:1] == b"{" else None
        if page is None or self._weather.shy.isdisjoint(map(rows.identity, page.rows)):
            return body
        shown = [r for r in page.rows if rows.identity(r) not in self._weather.shy]
        cursor = json.dumps(page.cursor).encode()
        return b'{"milestones":[%b],"cursor":%b}' % (b",".join(shown), cursor)

    def _delay(self) -> float:
        if self._is_foul and not self.is_calm:
            return self._chance.expovariate(1 / 1.5)
        return self._chance.uniform(0.01, 0.3)

    def _plan(self, request: httpx.Request) -> tuple[AnyFault, ...]:
        """What is wrong with the answer to this request."""
        self._api.heal()
        if self.is_calm:
            return ()
        if self._chance.random() < 0.03:
            self._is_foul = not self._is_foul
        some = self._lag() if "limit" in request.url.params else ()
        if self._chance.random() < (0.4 if self._is_foul else 0.02):
            is_poll = "min_updated_ts" in request.url.params
            some = self._chance.choice(_FAULTS if is_poll else _FAULTS + _OF_ROWS)
        if some:
            self._api.plan(*some, path="/milestones*")
        return some

    def _lag(self) -> tuple[AnyFault, ...]:
        """Now and then a replica that is behind, by less than the overlap."""
        now = self._clock.monotonic()
        self._replicas = [at for at in self._replicas if now - at < _MOST_LAG_S]
        if not self._replicas or now - self._replicas[-1] > _REPLICA_S:
            self._replicas.append(now)
            self._api.take_snapshot(f"replica {now}")
        if self._chance.random() < 0.9:
            return ()
        return (faults.Stale(snapshot=f"replica {self._chance.choice(self._replicas)}"),)


#: The last hidden update is younger than the overlap of 120 s.
_MOST_LAG_S = 100.0
_REPLICA_S = 15.0
_HIDING = (*(faults.Empty, faults.Cursor, faults.NoCursor, faults.Spoil, faults.SpoilRow),)
_FAULTS: tuple[tuple[AnyFault, ...], ...] = (
    (faults.Status(status=500, shape="html"),),
    (faults.Status(status=502, shape="empty"),),
    (faults.Status(status=503, shape="msg"),),
    (faults.Status(status=429),),
    (faults.Status(status=429, headers={"retry-after": "7"}),),
    (faults.Body(),),
    (faults.Hang(),),
    (faults.Reset(),),
    (faults.Truncated(),),
    (faults.Gzipped(share=0.5),),
    (faults.Gzipped(),),
    (faults.Empty(),),
    (faults.NoDate(),),
    (faults.Skew(seconds=3),),
    (faults.Cursor(),),
    (faults.NoCursor(),),
    (faults.Stale(snapshot=OLD),),
    (faults.Stale(snapshot=OLD), faults.NoDate()),
)


class _Spoil(faults.Spoil, frozen=True, kw_only=True):
    """For pages that have a row at least: nobody knows before which do."""

    def spoil_page(self, page: ListPage) -> ListPage:
        return super().spoil_page(page) if page.rows else page


class _SpoilRow(faults.SpoilRow, frozen=True, kw_only=True):
    """The same."""

    def spoil_page(self, page: ListPage) -> ListPage:
        return super().spoil_page(page) if page.rows else page


_OF_ROWS: tuple[tuple[AnyFault, ...], ...] = (
    (_Spoil(field="start_date", value=12),),
    (_Spoil(field="title"),),
    (_SpoilRow(raw=b"null"),),
    (_SpoilRow(raw=b'{"id":7}'),),
)


def _hides(fault: AnyFault) -> bool:
    """Whether it keeps something back for longer than replicas lag behind."""
    is_old = isinstance(fault, faults.Stale) and fault.snapshot == OLD
    return is_old or isinstance(fault, _HIDING)


def _begins_poll(request: httpx.Request) -> bool:
    asked = request.url.params
    return "min_updated_ts" in asked and "cursor" not in asked


def _date(response: httpx.Response) -> dict[str, str]:
    return {key: response.headers[key] for key in ("date",) if key in response.headers}


def _in_small_pages(request: httpx.Request) -> httpx.Request:
    """The same with a smaller `limit`: so that reads have several pages."""
    if "limit" not in request.url.params:
        return request
    url = request.url.copy_set_param("limit", str(PAGE))
    return httpx.Request(request.method, url, headers=request.headers)
