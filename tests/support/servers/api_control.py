"""
The fake API controlled over HTTP, for tests in another process.

`POST /_control/<what>` with JSON: `add` (a milestone), `update` and
`change_without_bump` (`id`, `fields`), `touch` and `remove` (`id`), `move_start`
(`id`, `start`), `populate` (`n`, `seed`), `live` (`id`, `details`), `fault` (a plan),
`heal`, `snapshot` (`name`). `GET /_control/served?after=N` gives the answers that
were recorded, bodies in base64; `GET /_control/state` the counts.
"""

from datetime import datetime
from typing import Any

import msgspec

from notifier.clock import Clock
from notifier.demo.fake_api import Document
from servers.api_faults import JSON, Plan
from servers.faulty_api import FaultyApi
from servers.loopback import Request, Response
from servers.population import population

PREFIX = "/_control/"


class Control:
    """The answers of the fake API, and those of the control paths."""

    def __init__(self, api: FaultyApi, *, clock: Clock) -> None:
        self._api = api
        self._clock = clock

    async def answer(self, request: Request) -> Response:
        """Do what is asked under `/_control/`; leave all else to the API."""
        if not request.path.startswith(PREFIX):
            return await self._api.answer(request)
        what = request.path.removeprefix(PREFIX)
        try:
            return _json(200, self._ask(what, request) or self._do(what, request.body))
        except (msgspec.MsgspecError, KeyError, ValueError) as exc:
            return _json(400, {"error": f"{what}: {exc}"})

    def _ask(self, what: str, request: Request) -> object:
        match what:
            case "served":
                after = int(request.one("after") or 0)
                return {"served": [s for s in self._api.served if s.number > after]}
            case "state":
                return {
                    "milestones": len(self._api),
                    "requests": self._api.requests,
                }
            case _:
                return None

    def _do(self, what: str, body: bytes) -> object:
        match what:
            case "add":
                doc: Document = msgspec.json.decode(body, type=dict[str, Any])
                return {"id": self._api.add(doc)}
            case "fault":
                self._api.plans.append(msgspec.json.decode(body, type=Plan))
            case "heal":
                self._api.heal()
            case "populate":
                order = msgspec.json.decode(body, type=_Populate)
                now = self._clock.now()
                self._api.load(population(order.n, seed=order.seed, now=now))
            case "snapshot":
                self._api.take_snapshot(msgspec.json.decode(body, type=_Named).name)
            case _:
                self._do_to_one(what, msgspec.json.decode(body, type=_One))
        return {}

    def _do_to_one(self, what: str, one: "_One") -> None:
        api = self._api
        match what:
            case "update":
                api.update(one.id, **one.fields)
            case "change_without_bump":
                api.change_without_bump(one.id, **one.fields)
            case "touch":
                api.update(one.id)
            case "remove":
                api.remove(one.id)
            case "live":
                api.live[one.id] = one.details
            case "move_start" if one.start is not None:
                api.move_start(one.id, one.start)
            case _:
                raise ValueError("no such thing to do, or something is missing")


class _One(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    id: str
    fields: dict[str, Any] = {}
    details: dict[str, Any] = {}
    start: datetime | None = None


class _Populate(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    n: int
    seed: int = 1


class _Named(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: str


def _json(status: int, value: object) -> Response:
    return Response(status=status, headers={"content-type": JSON}, body=msgspec.json.encode(value))
