"""
A route's calendar (`/feeds/{route}.ics`) and its feeds (`.atom`, `.json`).

Each is built on request in a thread, one at a time, and kept until there is something
new to show: a new event, a completed baseline, or the next hour.
"""

import json
import re
import zlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import blake2b
from itertools import islice
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

import anyio
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.routing import Route as Path

from notifier.domain.calendar import (
    MAX_ENTRIES,
    MAX_FEED_ITEMS,
    CalendarEntry,
    FeedItem,
    calendar_entry,
    calendar_shows,
    feed_item,
    feed_kinds,
    feed_takes,
    present,
    window,
)
from notifier.domain.models import rfc3339
from notifier.domain.rules import Route
from notifier.messages.cloudevents import overview
from notifier.storage import feeds as queries
from notifier.storage.database import Connection, Database
from notifier.web.icalendar_writer import END, calendar_head, event_block

MEDIA_TYPES = {
    "ics": "text/calendar; charset=utf-8",
    "atom": "application/atom+xml; charset=utf-8",
    "json": "application/feed+json; charset=utf-8",
}
#: Documents that are kept; each has about 300 kB when it is compressed.
_MAX_KEPT = 12
_SECOND = timedelta(seconds=1)
_ATOM = "http://www.w3.org/2005/Atom"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: What XML cannot hold even when it is escaped.
_INVALID_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A calendar or feed as it was built, compressed."""

    version: object
    etag: str
    #: When this process first built it with this content, to the second.
    modified_at: datetime
    size: int
    compressed: bytes


@dataclass(kw_only=True)
class Feeds:
    """Builds, keeps and serves the documents of all routes."""

    db: Database
    #: In the order of the configuration.
    rules: Sequence[Route]
    now: Callable[[], datetime]
    zone: ZoneInfo
    external_url: str | None
    #: Entries of a calendar.
    max_entries: int = MAX_ENTRIES

    def __post_init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str], Document] = OrderedDict()
        self._lock = anyio.Lock()

    def routes(self) -> list[BaseRoute]:
        """The HTTP routes; access is checked before them."""
        return [Path(f"/feeds/{{name}}.{form}", self._endpoint(form)) for form in MEDIA_TYPES]

    def _endpoint(self, form: str) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            name = request.path_params["name"]
            rule = next((rule for rule in self.rules if rule.name == name), None)
            if rule is None:
                raise HTTPException(404, "The configuration has no route of that name.")
            document = await self._document(rule, form)
            headers = {
                "etag": document.etag,
                "last-modified": format_datetime(document.modified_at, usegmt=True),
                "cache-control": "private",
            }
            if _is_known(request, document):
                return Response(status_code=304, headers=headers)
            headers |= {"content-length": str(document.size), "content-type": MEDIA_TYPES[form]}
            if form == "ics":
                headers["content-disposition"] = f'inline; filename="{name}.ics"'
            if request.method == "HEAD":
                return Response(headers=headers)
            return Response(zlib.decompress(document.compressed), headers=headers)

        return endpoint

    async def _document(self, rule: Route, form: str) -> Document:
        async with self._lock:
            now = self.now()
            version = (await self.db.read(queries.version), present(now))
            known = self._kept.pop((rule.name, form), None)
            if known is None or known.version != version:
                body = await self.db.read(self._body, rule, form, now)
                known = _document(body, version, known, now)
            self._kept[rule.name, form] = known
            while len(self._kept) > _MAX_KEPT:
                self._kept.popitem(last=False)
            return known

    def _body(self, conn: Connection, rule: Route, form: str, now: datetime) -> bytes:
        match form:
            case "ics":
                return self._calendar(conn, rule, now)
            case "atom":
                return self._atom(rule, self._items(conn, rule))
            case _:
                return self._json_feed(rule, self._items(conn, rule))

    def _calendar(self, conn: Connection, rule: Route, now: datetime) -> bytes:
        """The route's calendar: what is ahead comes before what is past."""
        since, until = window(now)
        middle, room = present(now), self.max_entries
        description = f"Milestones of the route {rule.name}."
        ahead = list(islice(self._entries(conn, rule, middle, until), room + 1))
        past: list[CalendarEntry] = []
        if len(ahead) > room:
            del ahead[room:]
            description += (
                f" Only {len(ahead):,} are shown: what is under way, and the next up to "
                f"{ahead[-1].start:%Y-%m-%d %H:%M} UTC. Later ones appear as these go by; past "
                "ones are left out."
            )
        else:
            room -= len(ahead)
            earlier = self._entries(conn, rule, since, middle, latest_first=True)
            past = list(islice(earlier, room + 1))
            if len(past) > room:
                del past[room:]
                shown = len(past) + len(ahead)
                description += f" Only {shown:,} are shown: earlier ones are left out."
        blocks = map(event_block, [*reversed(past), *ahead])
        return b"".join([calendar_head(rule.name, description), *blocks, END])

    def _entries(
        self,
        conn: Connection,
        rule: Route,
        begin: datetime,
        end: datetime,
        *,
        latest_first: bool = False,
    ) -> Iterator[CalendarEntry]:
        for one in queries.starting(conn, rule, since=begin, until=end, latest_first=latest_first):
            if calendar_shows(one.milestone, self.rules, rule.name):
                yield calendar_entry(one, rule, external_url=self.external_url)

    def _items(self, conn: Connection, rule: Route) -> list[FeedItem]:
        """The newest events that the route takes, also those that an earlier route sent."""
        events = queries.newest_events(conn, feed_kinds(rule))
        taken = (event for event in events if feed_takes(event, self.rules, rule.name))
        return [
            feed_item(event, rule, zone=self.zone, external_url=self.external_url)
            for event in islice(taken, MAX_FEED_ITEMS)
        ]

    def _own_url(self, rule: Route, form: str) -> str | None:
        if self.external_url is None:
            return None
        return f"{overview(self.external_url)}feeds/{rule.name}.{form}"

    def _atom(self, rule: Route, items: Sequence[FeedItem]) -> bytes:
        """An Atom feed (RFC 4287)."""
        feed = ET.Element("feed", xmlns=_ATOM)
        _add(feed, "id", f"urn:notifier:route:{rule.name}")
        _add(feed, "title", f"Milestones: {rule.name}")
        _add(feed, "updated", rfc3339(max((item.at for item in items), default=_EPOCH)))
        _add(feed, "generator", "milestone notifier")
        _add(ET.SubElement(feed, "author"), "name", "Milestone notifier")
        home = overview(self.external_url)
        ET.SubElement(feed, "link", rel="alternate", type="text/html", href=home)
        if (own := self._own_url(rule, "atom")) is not None:
            ET.SubElement(feed, "link", rel="self", type="application/atom+xml", href=own)
        for item in items:
            entry = ET.SubElement(feed, "entry")
            _add(entry, "id", f"urn:notifier:event:{item.id}")
            _add(entry, "title", item.title)
            _add(entry, "updated", rfc3339(item.at))
            _add(entry, "published", rfc3339(item.at))
            if item.url is not None:
                ET.SubElement(entry, "link", rel="alternate", type="text/html", href=item.url)
            for tag in item.tags:
                ET.SubElement(entry, "category", term=_INVALID_XML.sub("", tag))
            _add(entry, "content", item.html).set("type", "html")
        return bytes(ET.tostring(feed, encoding="utf-8", xml_declaration=True))

    def _json_feed(self, rule: Route, items: Sequence[FeedItem]) -> bytes:
        """A JSON Feed. Source: https://www.jsonfeed.org/version/1.1/, read 2026-11."""
        feed: dict[str, object] = {
            "version": "https://jsonfeed.org/version/1.1",
            "title": f"Milestones: {rule.name}",
            "home_page_url": overview(self.external_url),
            "authors": [{"name": "Milestone notifier"}],
            "items": [
                {
                    "id": item.id,
                    "title": item.title,
                    "content_html": item.html,
                    "content_text": item.text,
                    "date_published": rfc3339(item.at),
                    "tags": list(item.tags),
                }
                | ({} if item.url is None else {"url": item.url})
                for item in items
            ],
        }
        if (own := self._own_url(rule, "json")) is not None:
            feed["feed_url"] = own
        return json.dumps(feed, ensure_ascii=True).encode()


def _document(body: bytes, version: object, before: Document | None, now: datetime) -> Document:
    etag = f'"{blake2b(body, digest_size=12).hexdigest()}"'
    modified_at = now.astimezone(UTC).replace(microsecond=0)
    if before is not None:
        # `Last-Modified` has whole seconds: a change is at least one second later.
        is_same = before.etag == etag
        modified_at = (
            before.modified_at if is_same else max(modified_at, before.modified_at + _SECOND)
        )
    return Document(
        version=version,
        etag=etag,
        modified_at=modified_at,
        size=len(body),
        compressed=zlib.compress(body, 1),
    )


def _is_known(request: Request, document: Document) -> bool:
    """Whether the client has the document already (RFC 9110, section 13.1)."""
    if (tags := request.headers.get("if-none-match")) is not None:
        known = {tag.strip().removeprefix("W/") for tag in tags.split(",")}
        return document.etag in known or "*" in known
    if (text := request.headers.get("if-modified-since")) is None:
        return False
    try:
        then = parsedate_to_datetime(text)
    except ValueError:
        return False
    return then.replace(tzinfo=then.tzinfo or UTC) >= document.modified_at


def _add(parent: ET.Element, name: str, text: str) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = _INVALID_XML.sub("", text)
    return child
