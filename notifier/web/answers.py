"""What is said when something cannot be had: JSON to programs, a page to people."""

from collections.abc import Mapping
from html import escape
from http import HTTPStatus

from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.types import Scope

API = "/api/"
#: Paths that programs ask for, and read words in plain text.
_PLAIN = ("/-/", "/feeds/", "/metrics", "/static/")

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title} · notifier</title>
<link rel="stylesheet" href="/static/notifier.css">
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""


def page(title: str, body: str) -> str:
    """A page by itself; `body` is HTML."""
    return _PAGE.format(title=escape(title), body=body)


def refusal(
    scope: Scope,
    status: int,
    words: str,
    *,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An answer that says why not, in the form that the path's readers expect."""
    path = str(scope["path"])
    title = HTTPStatus(status).phrase
    if path.startswith(API):
        return JSONResponse(
            {"type": "about:blank", "title": title, "status": status, "detail": words},
            status_code=status,
            headers=headers,
            media_type="application/problem+json",
        )
    if path.startswith(_PLAIN):
        return PlainTextResponse(f"{words}\n", status_code=status, headers=headers)
    body = f'<p>{escape(words)}</p>\n<p><a href="/">To the overview</a></p>'
    return HTMLResponse(page(title, body), status_code=status, headers=headers)
