"""Stories as Atom (RFC 4287) spells them."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from notifier.domain.calendar import Story

MEDIA = "application/atom+xml; charset=utf-8"
_ATOM = "http://www.w3.org/2005/Atom"
#: What XML cannot hold, however it is escaped.
_UNSAYABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


def spell(stories: Sequence[Story], *, name: str, home: str, own: str | None) -> bytes:
    """The feed of a route. `own`: its address, if that is known."""
    feed = ET.Element("feed", xmlns=_ATOM)
    _add(feed, "id", f"urn:notifier:route:{name}")
    _add(feed, "title", f"Milestones: {name}")
    _add(feed, "updated", _stamp(max((one.at for one in stories), default=_NEVER)))
    _add(feed, "generator", "milestone notifier")
    _add(ET.SubElement(feed, "author"), "name", "Milestone notifier")
    ET.SubElement(feed, "link", rel="alternate", type="text/html", href=home)
    if own is not None:
        ET.SubElement(feed, "link", rel="self", type="application/atom+xml", href=own)
    for one in stories:
        _entry(ET.SubElement(feed, "entry"), one)
    found: bytes = ET.tostring(feed, encoding="utf-8", xml_declaration=True)
    return found


def _entry(entry: ET.Element, one: Story) -> None:
    _add(entry, "id", f"urn:notifier:event:{one.id}")
    _add(entry, "title", one.title)
    _add(entry, "updated", _stamp(one.at))
    _add(entry, "published", _stamp(one.at))
    if one.url is not None:
        ET.SubElement(entry, "link", rel="alternate", type="text/html", href=one.url)
    for tag in one.tags:
        ET.SubElement(entry, "category", term=_said(tag))
    content = _add(entry, "content", one.html)
    content.set("type", "html")


def _add(parent: ET.Element, name: str, words: str) -> ET.Element:
    child = ET.SubElement(parent, name)
    child.text = _said(words)
    return child


def _said(words: str) -> str:
    return _UNSAYABLE.sub("", words)


def _stamp(when: datetime) -> str:
    return when.astimezone(UTC).isoformat().replace("+00:00", "Z")
