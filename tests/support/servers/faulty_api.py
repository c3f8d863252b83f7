"""The fake API with faults to order, and a record of what it answered."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.utils import format_datetime

from notifier.clock import Clock
from notifier.demo.fake_api import PREFIX, Document, FakeApi, ListPage
from servers.api_faults import JSON, AnyFault, Fault, Plan, Stale
from servers.loopback import Request, Response


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One answer as it was given, for tests to say what should follow from it."""

    number: int
    at: datetime
    target: str
    status: int
    #: Empty when it was streamed, as the faults of a body do.
    body: bytes


class FaultyApi(FakeApi):
    """
    `answer` is what a server or a transport needs of it.

    `served` keeps every answer when `record` is set; `requests` counts them.
    """

    def __init__(
        self, clock: Clock, documents: Iterable[Document] = (), *, record: bool = False
    ) -> None:
        super().__init__(clock, documents)
        self.served: list[Served] = []
        self.requests = 0
        self.plans: list[Plan] = []
        self.snapshots: dict[str, FakeApi] = {}
        self._record = record

    def plan(
        self, *faults: AnyFault, times: int | None = 1, after: int = 0, path: str = "/milestones"
    ) -> None:
        """
        Let these faults, together, hit the next `times` requests; None: until `heal`.

        Of several plans the first that still has something to do takes a request.
        """
        self.plans.append(Plan(faults=faults, times=times, after=after, path=path))

    def heal(self) -> None:
        """End all plans."""
        self.plans.clear()

    def take_snapshot(self, name: str) -> None:
        """Remember the list as it is now, for the fault `Stale`."""
        self.snapshots[name] = self.snapshot()

    async def answer(self, request: Request) -> Response:
        """The answer, with every fault that is planned for it."""
        self.requests += 1
        number = self.requests
        path = request.path.removeprefix(PREFIX)
        faults = next((plan.faults for plan in self.plans if plan.hits(path)), ())
        response = await self._faulty(request, path, faults)
        if self._record:
            body = response.body if isinstance(response.body, bytes) else b""
            self.served.append(
                Served(
                    number=number,
                    at=self._clock.now(),
                    target=request.target,
                    status=response.status,
                    body=body,
                )
            )
        return response

    async def _faulty(self, request: Request, path: str, faults: Sequence[Fault]) -> Response:
        for fault in faults:
            if (instead := await fault.instead()) is not None:
                return self._dated(instead)
        api: FakeApi = self
        for fault in faults:
            if isinstance(fault, Stale):
                api = self.snapshots[fault.snapshot]

        def spoil(page: ListPage) -> ListPage:
            for fault in faults:
                page = fault.spoil_page(page)
            return page

        status, body = api.respond(request.method, path, request.query, change_page=spoil)
        response = self._dated(Response(status=status, headers={"content-type": JSON}, body=body))
        for fault in faults:
            response = fault.spoil_response(response)
        return response

    def _dated(self, response: Response) -> Response:
        date = format_datetime(self._clock.now().replace(microsecond=0), usegmt=True)
        return replace(response, headers={"date": date, **response.headers})
