"""
Foreign text made safe for a message, per format, and cut to size.

In every format: control characters, bidirectional controls, zero-width characters and lone
surrogates are removed, white space is folded, and an `@` before a name is followed by a
zero-width space, so that it reads the same but mentions no one. A word joiner (invisible) goes
into `](` and `<#`: Discord makes links and mentions of them even in plain text.

Markdown is CommonMark, which Apprise translates for each service. Slack has no escape for `* _ ~`
and backticks (it would show the backslash), and entities reach it as written, so:

- `* ~` and backticks, and `_` unless inside a word, become look-alikes;
- `< > [ ]` and the backslash get a backslash (Apprise turns it into what the service wants:
  `<!channel>` is harmless everywhere);
- a word joiner follows what would open a list, a heading or, for `&`, an entity.

Markup is added after the text has been cut, and is therefore never cut itself.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape as html_escape
from typing import TypeAlias, assert_never

from notifier.domain.models import Format

ELLIPSIS = "…"
_JOINER = "\u2060"
_ZERO_WIDTH_SPACE = "\u200b"
#: Raw characters read per character kept: invisible ones may fill the rest.
_RAW_PER_KEPT = 4

_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACES = re.compile(r"\s+")
_MENTION = re.compile(r"@(?=[\w&!])")
#: Between these two, some services make a link or a mention even of plain text.
_LINK_OR_MENTION = re.compile(r"(?<=\])(?=\()|(?<=<)(?=#)")
_OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w{1,32};)")
_OPENS_BLOCK = re.compile(r"(?:[-+]|-?#{1,6}|\d{1,9}[.)])(?=\s|$)|[-=]+\s*$|-[- ]+$")
_COMMONMARK = str.maketrans(
    {
        "*": "\u2217",
        "~": "\u223c",
        "`": "\u02cb",
        "\\": "\\\\",
        "<": "\\<",
        ">": "\\>",
        "[": "\\[",
        "]": "\\]",
    }
)


def fold(text: str) -> str:
    """The text on one line, without invisible characters; its edges stay."""
    if not text.isprintable():
        return _SPACES.sub(" ", _CONTROLS.sub("", text))
    return _SPACES.sub(" ", text) if "  " in text else text


def clean(text: str, limit: int) -> str:
    """One line of at most `limit` characters; fast for megabytes as well."""
    return shorten(fold(text[: (limit + 1) * _RAW_PER_KEPT]).strip(), limit)


def plain(text: str) -> str:
    """The text without markup and mentions."""
    text = _MENTION.sub("@" + _ZERO_WIDTH_SPACE, fold(text))
    return _LINK_OR_MENTION.sub(_JOINER, text) if "](" in text or "<#" in text else text


def shorten(text: str, limit: int) -> str:
    """The text, or its beginning with an ellipsis, cut between words if possible."""
    if len(text) <= limit:
        return text
    if limit <= len(ELLIPSIS):
        return ELLIPSIS[: max(limit, 0)]
    head = text[: limit - len(ELLIPSIS)]
    if not text[len(head)].isspace():
        space = head.rfind(" ")
        head = head[:space] if space >= len(head) // 2 else head
    return head.rstrip(" ,;:–-(“") + ELLIPSIS


def escape(text: str, markup: Format) -> str:
    """Foreign or own text, safe to stand within that format's text."""
    text = plain(text)
    match markup:
        case Format.TEXT:
            return text
        case Format.HTML:
            return html_escape(text)
        case Format.MARKDOWN:
            return text if text.isalnum() else _escape_commonmark(text)
        case _:
            assert_never(markup)


def _escape_commonmark(text: str) -> str:
    text = _ENTITY.sub("&" + _JOINER, text) if "&" in text else text
    text = _OUTER_UNDERSCORE.sub("\u02cd", text) if "_" in text else text
    text = text.translate(_COMMONMARK)
    return _JOINER + text if _OPENS_BLOCK.match(text) else text


def escape_within(text: str, markup: Format, limit: int) -> str:
    """The text escaped, and cut so that it takes at most `limit` characters."""
    text = plain(text)
    room = limit = max(limit, 0)
    while len(escaped := escape(shorten(text, room), markup)) > limit:
        room = min(room - 1, room * limit // len(escaped))
    return escaped


# --- lines --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bold:
    """Words in bold."""

    text: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """A link. The address is ours: quoted, not escaped."""

    text: str
    href: str


Piece: TypeAlias = str | Bold | Anchor
Line: TypeAlias = tuple[Piece, ...]

_BOLD = {Format.TEXT: "{}", Format.MARKDOWN: "**{}**", Format.HTML: "<b>{}</b>"}
_ANCHOR = {
    Format.TEXT: "{href}",
    Format.MARKDOWN: "[{text}]({href})",
    Format.HTML: '<a href="{href}">{text}</a>',
}


def format_line(line: Line, markup: Format) -> str:
    """One line in that format."""
    return "".join([_format_piece(piece, markup) for piece in line])


def _format_piece(piece: Piece, markup: Format) -> str:
    match piece:
        case str():
            return escape(piece, markup)
        case Bold(text):
            return _BOLD[markup].format(escape(text, markup))
        case Anchor(text, href):
            address = html_escape(href) if markup is Format.HTML else href
            return _ANCHOR[markup].format(text=escape(text, markup), href=address)
        case _:
            assert_never(piece)


# --- from lines to a body -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class TextRow:
    """A formatted line and where it stands: in a paragraph or in a list."""

    text: str
    bullet: bool = False
    #: Opens a paragraph of its own.
    heading: bool = False


def lay_out(rows: Sequence[TextRow], markup: Format) -> str:
    """The rows as one text: lines of a paragraph together, lists as lists."""
    blocks: list[list[TextRow]] = []
    for row in rows:
        if not blocks or row.heading or row.bullet != blocks[-1][-1].bullet:
            blocks.append([])
        blocks[-1].append(row)
    if markup is Format.HTML:
        return "".join(_html_block(block) for block in blocks)
    text = ""
    for block in blocks:
        is_list = block[0].bullet
        if text:
            text += "\n" if is_list else "\n\n"
        newline = "  \n" if markup is Format.MARKDOWN and not is_list else "\n"
        text += newline.join(f"- {row.text}" if is_list else row.text for row in block)
    return text


def _html_block(rows: Sequence[TextRow]) -> str:
    if rows[0].bullet:
        return "<ul>" + "".join(f"<li>{row.text}</li>" for row in rows) + "</ul>"
    return "<p>" + "<br>".join(row.text for row in rows) + "</p>"
