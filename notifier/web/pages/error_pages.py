"""Pages for what went wrong, in the dress of the others."""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from notifier.web.pages.templating import Dress

Mishap: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]

_WORDS = {
    400: ("That did not make sense", "Go back, look at the form, and send it again."),
    403: (
        "That is not open to you",
        (
            "Sign in with a session that may change things, or load the page again: "
            "a form that lay open for long is not taken any more."
        ),
    ),
    404: (
        "There is no such page",
        (
            "It may have been pruned: what is old is deleted after a while. "
            "The search may find what you look for."
        ),
    ),
    405: ("That is not done in this way", "Use the buttons of the pages."),
    413: ("That was too much", "Send less at once."),
    429: ("Too many tries", "Wait a minute, then try again."),
    503: ("Too busy just now", "Try again in a moment."),
}
_ELSE = (
    "Something broke",
    "Messages go out all the same. The log has the details, under web.failed.",
)


def mishap(dress: Dress) -> Mishap:
    """For `exception_handlers`: a page for an HTTPException, or for any bug (500)."""

    async def answer(request: Request, exc: Exception) -> Response:
        status, detail, headers = 500, "", {}
        if isinstance(exc, HTTPException):
            status, headers = exc.status_code, dict(exc.headers or {})
            # Without words of its own it says the status alone, as all do.
            plain = HTTPException(status).detail
            detail = "" if exc.detail == plain else exc.detail
        title, advice = _WORDS.get(status, _ELSE)
        page = await dress.page(
            request,
            "mishap.html",
            code=status,
            title=title,
            detail=detail,
            advice=advice,
        )
        page.headers.update(headers)
        return page

    return answer
