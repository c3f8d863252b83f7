"""Values from query strings and submitted forms."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException

from notifier.domain.models import Kind, State
from notifier.messages.escaping import clean
from notifier.storage.rows import Page

T = TypeVar("T", Kind, State)

_ROWS_PER_PAGE = 50
_MAX_CHARS = 200
#: Query parameters that the link to the next page keeps.
_FILTERS = frozenset(
    {"q", "category", "type", "gone", "kind", "state", "destination", "route", "when"}
)


def text(query: Mapping[str, str], key: str) -> str:
    """A line of text; empty if it is missing."""
    return " ".join(query.get(key, "").split())[:_MAX_CHARS]


def choices(query: QueryParams, key: str, known: type[T]) -> list[T]:
    """
    The members of an enumeration that the query names.

    Raises:
        HTTPException: a name is unknown.
    """
    wanted = set(query.getlist(key)) - {""}
    if unknown := sorted(wanted - {one.value for one in known}):
        names = ", ".join(one.value for one in known)
        name = clean(unknown[0], 40)
        raise HTTPException(400, f"{key}: {name!r} is unknown; there are {names}.")
    return [one for one in known if one.value in wanted]


def page_request(query: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a `PageRequest`."""
    return {"limit": _ROWS_PER_PAGE, "cursor": query.get("cursor") or None}


def next_page(query: QueryParams, page: Page[Any]) -> str | None:
    """The link to the next page of a list, with the same filters; None on the last one."""
    if page.next is None:
        return None
    kept = [(key, value) for key, value in query.multi_items() if key in _FILTERS]
    return "?" + urlencode([*kept, ("cursor", page.next)])


def field(form: FormData, key: str) -> str:
    """The text of a form field on one line."""
    return " ".join(lines(form, key))


def lines(form: FormData, key: str) -> list[str]:
    """The lines of a form field, with single spaces, without empty ones."""
    value = form.get(key, "")
    rows = value.splitlines() if isinstance(value, str) else []
    return [" ".join(row.split()) for row in rows if row.strip()]


def many(form: FormData, key: str) -> list[str]:
    """All values of a form field."""
    return [value for value in form.getlist(key) if isinstance(value, str)]
