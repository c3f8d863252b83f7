"""What may be wished for: the bodies of those requests that change something."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request

from notifier.web.api.query_params import Wrong

T = TypeVar("T")

JSON = "application/json"
#: Ids that one wish names.
MOST_IDS = 500
#: Keys, and patterns of one key.
MOST_KEYS = 50
_Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
_Name = Annotated[str, msgspec.Meta(max_length=200)]
_Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
_Patterns = Annotated[list[_Pattern], msgspec.Meta(min_length=1, max_length=MOST_KEYS)]


class Redrive(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which dead letters go again; without ids, all, or all of a destination."""

    ids: Annotated[list[_Id], msgspec.Meta(max_length=MOST_IDS)] = []
    destination: _Name | None = None
    dry_run: bool = False


class Silence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is to be silenced, until when, and why."""

    match: Annotated[Mapping[_Name, _Patterns], msgspec.Meta(min_length=1, max_length=MOST_KEYS)]
    until: Annotated[datetime, msgspec.Meta(tz=True)]
    why: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


async def read(request: Request, kind: type[T]) -> T:
    """
    What the body says.

    Raises:
        Wrong: it is not what can be wished for.
        HTTPException: it is no JSON.

    """
    said = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if said != JSON:
        raise HTTPException(415, f"Send {JSON}.")
    try:
        return msgspec.json.decode(await request.body(), type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as exc:
        raise Wrong(f"the body: {exc}") from None


async def nothing(request: Request) -> None:
    """
    See that nothing is said: an empty body, or `{}`.

    Raises:
        Wrong: something is.

    """
    if (await request.body()).strip() not in {b"", b"{}"}:
        raise Wrong("the body: this takes none")
