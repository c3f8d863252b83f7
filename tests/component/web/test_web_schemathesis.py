"""Whatever the description allows is answered as described, and the rest refused."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import schemathesis
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, given, settings
from sample_site import site
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance
from starlette.types import ASGIApp, Receive, Scope, Send

from notifier.web.api import api, endpoints
from notifier.web.schemas import openapi

#: For each operation and mode; the same ones each time.
EXAMPLES = 8
METHODS = ("get", "post", "delete")


#: Enough of a service to describe its API.
_NOTHING: Any = SimpleNamespace(reader=None, admin=None, version="1")


def _operations() -> Iterator[tuple[str, str, GenerationMode]]:
    """All but the stream, which never ends; it has tests of its own."""
    paths: Any = openapi(endpoints(_NOTHING), "1")["paths"]
    for path, operations in paths.items():
        for method in METHODS:
            if method in operations and path != "/stream":
                yield method, path, GenerationMode.POSITIVE
                asked = operations[method]
                if asked.get("parameters") or "requestBody" in asked:
                    yield method, path, GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The API of a service with a day's life in it."""
    folder: Path = tmp_path_factory.mktemp("api")
    with start_blocking_portal() as portal:
        opening = site(folder / "notifier.db", more=api)
        with portal.wrap_async_context_manager(opening) as place:
            yield schemathesis.openapi.from_asgi("/api/v1/openapi.json", _loopback(place.app))


def _loopback(app: ASGIApp) -> ASGIApp:
    """The same under a name that is ours, for whoever sends JSON."""
    ours = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")]

    async def named(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            names = {name for name, _ in ours}
            others = [pair for pair in scope["headers"] if pair[0] not in names]
            scope["headers"] = [*others, *ours]
        await app(scope, receive, send)

    return named


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("method", "path", "mode"), list(_operations()))
def test_the_api_keeps_what_it_describes(
    described: Any, method: str, path: str, mode: GenerationMode
) -> None:
    asked: list[int] = []

    @given(case=described[path][method].as_strategy(generation_mode=mode))
    @settings(
        max_examples=EXAMPLES,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def check(case: Case[Any]) -> None:
        # Nobody can make up a cursor that a list has given out, and no description
        # says that a silence ends in the future.
        made_up: list[Any] = []
        if "cursor" in (case.query or {}) or (method, path) == ("post", "/silences"):
            made_up = [positive_data_acceptance]
        asked.append(case.call_and_validate(excluded_checks=made_up).status_code)

    check()

    assert asked
