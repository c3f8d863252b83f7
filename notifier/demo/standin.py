"""
The stand-in for the Kalshi API: the real shapes, and every fault of theirs.

Source: Kalshi OpenAPI 3.34.0, and captured answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime

import msgspec

from notifier.clock import Clock
from notifier.demo.faults import JSON, AnyFault, Fault, Plan, Stale
from notifier.demo.loopback import HOST, Request, Response
from notifier.demo.world import Listing, Query, World
from notifier.domain.models import Json

PREFIX = "/trade-api/v2"

_FILTERS = ("category", "competition", "source_id", "type", "related_event_ticker")
_MOST = 500
_MOST_LIVE = 100


def base_url(port: int) -> str:
    """What `source.base_url` must be to read from here."""
    return f"http://{HOST}:{port}{PREFIX}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answer as it was given, for tests to say what should follow from it."""

    number: int
    at: datetime
    target: str
    status: int
    #: Empty when it was streamed, as the faults of a body do.
    body: bytes


class StandIn:
    """
    The API over a world. `answer` is what a server or a transport needs of it.

    `served` keeps every answer when `record` is set, else only counts them.
    """

    def __init__(self, world: World, *, clock: Clock, record: bool = False) -> None:
        self.world = world
        self.served: list[Served] = []
        self.requests = 0
        self.plans: list[Plan] = []
        self.snapshots: dict[str, World] = {}
        self._clock = clock
        self._record = record

    def plan(
        self,
        *faults: AnyFault,
        times: int | None = 1,
        after: int = 0,
        path: str = "/milestones",
    ) -> None:
        """
        Let these faults, together, hit the next `times` requests; None: until `heal`.

        Of several plans the first that still has something to do takes a request.
        """
        plan = Plan(faults=faults, times=times, after=after, path=path)
        self.plans.append(plan)

    def heal(self) -> None:
        """Nothing goes wrong any more."""
        self.plans.clear()

    def take_snapshot(self, name: str) -> None:
        """Remember the list as it is now, for the fault `Stale`."""
        self.snapshots[name] = self.world.snapshot()

    async def answer(self, request: Request) -> Response:
        """The answer, with every fault that is planned for it."""
        self.requests += 1
        number = self.requests
        path = request.path.removeprefix(PREFIX)
        faults = next((p.faults for p in self.plans if p.hits(path)), ())
        response = await self._faulty(request, path, faults)
        if self._record:
            self.served.append(self._served(number, request, response))
        return response

    async def _faulty(self, request: Request, path: str, faults: Sequence[Fault]) -> Response:
        for fault in faults:
            if (instead := await fault.instead()) is not None:
                return self._dated(instead)
        response = self._dated(self._right(request, path, faults))
        for fault in faults:
            response = fault.spoil_response(response)
        return response

    def _dated(self, response: Response) -> Response:
        date = format_datetime(self._clock.now().replace(microsecond=0), usegmt=True)
        return replace(response, headers={"date": date, **response.headers})

    def _served(self, number: int, request: Request, response: Response) -> Served:
        return Served(
            number=number,
            at=self._clock.now(),
            target=request.target,
            status=response.status,
            body=response.body if isinstance(response.body, bytes) else b"",
        )

    # --- the endpoints ---

    def _right(self, request: Request, path: str, faults: Sequence[Fault]) -> Response:
        if request.method != "GET":
            return _json(405, {"error": "method not allowed"})
        match path.strip("/").split("/"):
            case ["milestones"]:
                return self._list(request, faults)
            case ["milestones", milestone_id]:
                return self._single(milestone_id)
            case ["exchange", "status"]:
                return _json(200, {"exchange_active": True, "trading_active": True})
            case ["live_data", "batch"]:
                return self._live(request.query.get("milestone_ids", ()))
            case _:
                return _not_found()

    def _list(self, request: Request, faults: Sequence[Fault]) -> Response:
        world = self.world
        for fault in faults:
            if isinstance(fault, Stale):
                world = self.snapshots[fault.snapshot]
        if request.one("limit") is None:
            return _json(400, {"msg": "Query argument limit is required, but not found"})
        try:
            page = world.page(_query(request))
        except ValueError as exc:
            return _json(400, {"code": "bad_request", "message": str(exc), "details": ""})
        return _page(page, faults)

    def _single(self, milestone_id: str) -> Response:
        raw = self.world.raw(milestone_id)
        if raw is None:
            return _not_found()
        return Response(headers={"content-type": JSON}, body=b'{"milestone":%b}' % raw)

    def _live(self, milestone_ids: Sequence[str]) -> Response:
        """Joined ids give null, as they do there."""
        known = [i for i in milestone_ids[:_MOST_LIVE] if i in self.world]
        if milestone_ids and not known:
            return _json(200, {"live_datas": None})
        rows = [self._live_row(i) for i in known if i in self.world.live]
        return _json(200, {"live_datas": rows})

    def _live_row(self, milestone_id: str) -> Mapping[str, Json]:
        return {
            "details": self.world.live[milestone_id],
            "milestone_id": milestone_id,
            "type": self.world.doc(milestone_id)["type"],
        }


def _query(request: Request) -> Query:
    limit = int(request.one("limit") or "")
    if not 1 <= limit <= _MOST:
        raise ValueError(f"limit must be between 1 and {_MOST}")
    updated, start = request.one("min_updated_ts"), request.one("minimum_start_date")
    return Query(
        limit=limit,
        cursor=request.one("cursor") or "",
        min_updated_ts=None if updated is None else int(updated),
        minimum_start_date=None if start is None else _instant(start),
        filters={key: value for key in _FILTERS if (value := request.one(key))},
    )


def _instant(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    if when.tzinfo is None:
        raise ValueError("minimum_start_date needs an offset")
    return when


def _page(page: Listing, faults: Sequence[Fault]) -> Response:
    for fault in faults:
        page = fault.spoil_page(page)
    return Response(headers={"content-type": JSON}, body=page.body())


def _not_found() -> Response:
    return _json(404, {"error": {"code": "not_found", "message": "not found"}})


def _json(status: int, value: Json) -> Response:
    return Response(
        status=status,
        headers={"content-type": JSON},
        body=msgspec.json.encode(value),
    )
