"""
Untrusted text made safe for a message, per format, and cut to size.

Text arrives here as people would read it; markup is added last and is therefore
never cut. What is done to foreign text, in every format: control characters,
bidirectional controls, zero-width characters and lone surrogates go, white space
is folded, and an `@` before a name gets a zero-width space behind it, so that it
reads the same but calls nobody. A word joiner, which nobody sees, goes into `](` and
`<#`: Discord makes links and mentions of them even in a plain text.

Markdown is CommonMark, which Apprise translates for each service. Slack knows no
escape for `* _ ~` and backticks (it would show the backslash), and entities reach
it as written, so:

- `* ~` and backticks, and `_` unless inside a word, become look-alikes;
- `< > [ ]` and the backslash get a backslash (Apprise turns it into what the
  service wants: `<!channel>` is harmless everywhere);
- what would open a list or a heading, and `&` where it would open an entity, are
  parted from what follows by a word joiner, which nobody sees.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape as html_escape
from typing import TypeAlias, assert_never

from notifier.domain.models import Format

ELLIPSIS = "…"
_JOINER = "\u2060"
_ZERO_WIDTH_SPACE = "\u200b"
#: Raw characters read per character kept: invisible ones may fill the rest.
_SLACK = 4

_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f"
    "\u202a-\u202e\u2060-\u206f\ufeff\ufff0-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
_SPACES = re.compile(r"\s+")
_MENTION = re.compile(r"@(?=[\w&!])")
#: Between these two, some services make a link or a mention even of plain text.
_PARTED = re.compile(r"(?<=\])(?=\()|(?<=<)(?=#)")
_OUTER_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")
_ENTITY = re.compile(r"&(?=#?\w{1,32};)")
_OPENS_BLOCK = re.compile(r"(?:[-+]|-?#{1,6}|\d{1,9}[.)])(?=\s|$)|[-=]+\s*$|-[- ]+$")
_LOOK_ALIKES = str.maketrans(
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


@dataclass(frozen=True, slots=True)
class Bold:
    """Words that stand out."""

    text: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """Words that lead somewhere. The address is ours: quoted, not escaped."""

    text: str
    href: str


Piece: TypeAlias = str | Bold | Anchor
Line: TypeAlias = tuple[Piece, ...]


def fold(text: str) -> str:
    """The text on one line, without what cannot be seen; its edges stay."""
    if not text.isprintable():
        text = _CONTROLS.sub("", text)
        return _SPACES.sub(" ", text)
    return _SPACES.sub(" ", text) if "  " in text else text


def clean(text: str, limit: int) -> str:
    """One line of at most `limit` characters; quick for megabytes as well."""
    return shorten(fold(text[: limit * _SLACK + _SLACK]).strip(), limit)


def plain(text: str) -> str:
    """The text without markup, calling nobody."""
    text = _MENTION.sub("@" + _ZERO_WIDTH_SPACE, fold(text))
    return _PARTED.sub(_JOINER, text) if "](" in text or "<#" in text else text


def shorten(text: str, limit: int) -> str:
    """The text, or what fits of it with an ellipsis, cut between words if it can."""
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
    """Foreign or our own words, safe to stand within that format's text."""
    words = plain(text)
    match markup:
        case Format.TEXT:
            return words
        case Format.HTML:
            return html_escape(words)
        case Format.MARKDOWN:
            return _commonmark(words)
        case _:
            assert_never(markup)


def _commonmark(text: str) -> str:
    if text.isalnum():
        return text
    text = _ENTITY.sub("&" + _JOINER, text) if "&" in text else text
    text = _OUTER_UNDERSCORE.sub("\u02cd", text) if "_" in text else text
    return unblocked(text.translate(_LOOK_ALIKES))


def unblocked(text: str) -> str:
    """CommonMark that opens neither a list nor a heading where a line begins."""
    return _JOINER + text if _OPENS_BLOCK.match(text) else text


def spell(line: Line, markup: Format) -> str:
    """One line in that format."""
    return "".join([_piece(piece, markup) for piece in line])


def _piece(piece: Piece, markup: Format) -> str:
    match piece:
        case str():
            return escape(piece, markup)
        case Bold(text):
            return _BOLD[markup].format(escape(text, markup))
        case Anchor(text, href):
            return _ANCHOR[markup].format(text=escape(text, markup), href=_href(href, markup))
        case _:
            assert_never(piece)


_BOLD = {Format.TEXT: "{}", Format.MARKDOWN: "**{}**", Format.HTML: "<b>{}</b>"}
_ANCHOR = {
    Format.TEXT: "{href}",
    Format.MARKDOWN: "[{text}]({href})",
    Format.HTML: '<a href="{href}">{text}</a>',
}


def _href(href: str, markup: Format) -> str:
    return html_escape(href) if markup is Format.HTML else href


def shorten_line(line: Line, markup: Format, limit: int) -> str:
    """The line spelled within `limit` characters: words go, markup stays whole."""
    spelled = spell(line, markup)
    if len(spelled) <= limit:
        return spelled
    low, high = 0, min(sum(len(_text(piece)) for piece in line), limit)
    best = ""
    while low <= high:
        middle = (low + high) // 2
        spelled = spell(_first(line, middle), markup)
        if len(spelled) <= limit:
            best, low = spelled, middle + 1
        else:
            high = middle - 1
    return best


def _text(piece: Piece) -> str:
    return piece if isinstance(piece, str) else piece.text


def _first(line: Line, room: int) -> Line:
    """The beginning of the line, `room` characters of text, ellipsis included."""
    kept: list[Piece] = []
    for piece in line:
        text = _text(piece)
        if len(text) > room:
            cut = shorten(text, room)
            return (*kept, _with_text(piece, cut)) if cut else tuple(kept)
        kept.append(piece)
        room -= len(text)
    return tuple(kept)


def _with_text(piece: Piece, text: str) -> Piece:
    match piece:
        case str():
            return text
        case Bold():
            return Bold(text)
        case Anchor():
            return Anchor(text, piece.href)
        case _:
            assert_never(piece)


# --- from lines to a body -----------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A spelled line and where it stands: in a paragraph or in a list."""

    text: str
    bullet: bool = False
    #: Opens a paragraph of its own.
    heading: bool = False


def lay_out(rows: Sequence[Row], markup: Format) -> str:
    """The rows as one text: lines of a paragraph together, lists as lists."""
    if markup is Format.HTML:
        return "".join(_html_blocks(rows))
    newline = "  \n" if markup is Format.MARKDOWN else "\n"
    parts: list[str] = []
    previous: Row | None = None
    for row in rows:
        if previous is not None:
            parts.append(_between(previous, row, newline))
        parts.append(f"- {row.text}" if row.bullet else row.text)
        previous = row
    return "".join(parts)


def _between(previous: Row, row: Row, newline: str) -> str:
    if row.heading or (previous.bullet and not row.bullet):
        return "\n\n"
    return "\n" if row.bullet else newline


def _html_blocks(rows: Sequence[Row]) -> Iterable[str]:
    block: list[Row] = []
    for row in rows:
        if block and (row.heading or row.bullet != block[-1].bullet):
            yield _html_block(block)
            block = []
        block.append(row)
    if block:
        yield _html_block(block)


def _html_block(rows: Sequence[Row]) -> str:
    texts = [row.text for row in rows]
    if rows[0].bullet:
        return "<ul>" + "".join(f"<li>{text}</li>" for text in texts) + "</ul>"
    return "<p>" + "<br>".join(texts) + "</p>"
