"""The network to the API: delays, faults, and a log of what arrived."""

from collections.abc import Callable
from random import Random

import anyio
import httpx

from notifier.demo import faults
from notifier.demo.faults import AnyFault
from notifier.demo.memory import MemoryTransport
from notifier.demo.standin import StandIn
from simulation.machine import Machine, VirtualClock
from simulation.reference import Arrived

#: What the list is served in, whatever was asked for.
PAGE = 25
SNAPSHOT = "old"


class Wire(httpx.AsyncBaseTransport):
    """What httpx gets for a network."""

    def __init__(
        self,
        api: StandIn,
        *,
        clock: VirtualClock,
        machine: Machine,
        chance: Random,
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
        self._arrives = arrives
        self._asks = asks

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, late, and sometimes another than the right one."""
        self._machine.check()
        self._asks(request.url.raw_path.decode())
        await anyio.sleep(self._delay())
        self._spoil(is_poll="min_updated_ts" in request.url.params)
        response = await self._inner.handle_async_request(_in_small_pages(request))
        served = self._api.served[-1]
        await anyio.sleep(self._delay())
        self._machine.check()
        self._arrives(
            Arrived(
                at=self._clock.now(),
                target=served.target,
                status=served.status,
                body=served.body,
            )
        )
        return response

    def _delay(self) -> float:
        if self._is_foul and not self.is_calm:
            return self._chance.expovariate(1 / 1.5)
        return self._chance.uniform(0.01, 0.3)

    def _spoil(self, *, is_poll: bool) -> None:
        self._api.heal()
        if self.is_calm:
            return
        if self._chance.random() < 0.03:
            self._is_foul = not self._is_foul
        if self._chance.random() < (0.4 if self._is_foul else 0.02):
            some = _FAULTS if is_poll else _FAULTS + _FAULTS_OF_ROWS
            self._api.plan(*self._chance.choice(some), path="/milestones*")


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
    (faults.Stale(snapshot=SNAPSHOT),),
    (faults.Stale(snapshot=SNAPSHOT), faults.NoDate()),
)


#: For pages that have a row at least.
_FAULTS_OF_ROWS: tuple[tuple[AnyFault, ...], ...] = (
    (faults.Spoil(field="start_date", value=12),),
    (faults.Spoil(field="title"),),
    (faults.SpoilRow(raw=b"null"),),
    (faults.SpoilRow(raw=b'{"id":7}'),),
)


def _in_small_pages(request: httpx.Request) -> httpx.Request:
    """The same with a smaller `limit`: so that reads have several pages."""
    if "limit" not in request.url.params:
        return request
    url = request.url.copy_set_param("limit", str(PAGE))
    return httpx.Request(request.method, url, headers=request.headers)
