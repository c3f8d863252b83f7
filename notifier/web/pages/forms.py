"""What an address asks for: filters, pages of lists, forms."""

from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.datastructures import FormData, QueryParams
from starlette.exceptions import HTTPException

from notifier.domain.models import Kind, State
from notifier.domain.pagination import BadCursor
from notifier.messages.escaping import clean
from notifier.storage.rows import Page

T = TypeVar("T", Kind, State)

_ROWS = 50
_LONGEST = 200


def text(query: Mapping[str, str], key: str) -> str:
    """One line of text; empty if nothing was given."""
    return " ".join(query.get(key, "").split())[:_LONGEST]


def choices(query: QueryParams, key: str, known: type[T]) -> list[T]:
    """
    Those of the known words that are given; empty ones are as good as none.

    Raises:
        HTTPException: one is not known.
    """
    wanted = set(query.getlist(key)) - {""}
    if strange := sorted(wanted - {one.value for one in known}):
        words = ", ".join(one.value for one in known)
        raise HTTPException(400, f"{key}: {clean(strange[0], 40)!r} is unknown; there are {words}.")
    return [one for one in known if one.value in wanted]


def page_of(query: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a `PageRequest`."""
    return {"limit": _ROWS, "cursor": query.get("cursor") or None}


def next_page(query: QueryParams, page: Page[Any]) -> str | None:
    """The address of the next page of a list, with the same filters."""
    if page.next is None:
        return None
    kept = [(key, value) for key, value in query.multi_items() if key in _FILTERS]
    return "?" + urlencode([*kept, ("cursor", page.next)])


_FILTERS = frozenset(
    {"q", "category", "type", "gone", "kind", "state", "destination", "route", "when"}
)


def bad_cursor(_: BadCursor) -> HTTPException:
    """A page of a list that is not there."""
    return HTTPException(
        404, "That page of the list is not there. Begin again with its first page."
    )


def field(form: FormData, key: str) -> str:
    """What was typed into a field, on one line."""
    value = form.get(key, "")
    return " ".join(value.split()) if isinstance(value, str) else ""


def lines(form: FormData, key: str) -> list[str]:
    """What was typed into a field, a line each."""
    value = form.get(key, "")
    if not isinstance(value, str):
        return []
    return [line.strip() for line in value.splitlines() if line.strip()]


def many(form: FormData, key: str) -> list[str]:
    """All that was ticked."""
    return [value for value in form.getlist(key) if isinstance(value, str)]
