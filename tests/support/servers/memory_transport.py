"""The same answers without a socket, for simulations in which time is simulated."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import httpx

from servers.loopback import Answer, HangUp, Request, Response


class MemoryTransport(httpx.AsyncBaseTransport):
    """What httpx gets instead of a network: an `Answer`, faults included."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer; a reset within its body is a ReadError."""
        response = await self._answer(
            Request(
                method=request.method,
                target=request.url.raw_path.decode("ascii"),
                headers=dict(request.headers),
                body=await request.aread(),
            )
        )
        return httpx.Response(
            response.status,
            headers=dict(response.headers),
            stream=_Stream(response, request),
        )


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: Response, request: httpx.Request) -> None:
        self._response = response
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        body = self._response.body
        if isinstance(body, bytes):
            yield body
            return
        try:
            async with aclosing(body):
                async for piece in body:
                    yield piece
        except HangUp as exc:
            raise httpx.ReadError("reset", request=self._request) from exc
