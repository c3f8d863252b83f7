"""
Stories as JSON Feed 1.1 spells them.

Source: https://www.jsonfeed.org/version/1.1/, read 2026-11.
"""

import json
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from notifier.domain.calendar import Story

MEDIA = "application/feed+json; charset=utf-8"


def spell(stories: Sequence[Story], *, name: str, home: str, own: str | None) -> bytes:
    """The feed of a route. `own`: its address, if that is known."""
    feed: dict[str, Any] = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": f"Milestones: {name}",
        "home_page_url": home,
        "authors": [{"name": "Milestone notifier"}],
        "items": [_item(one) for one in stories],
    }
    if own is not None:
        feed["feed_url"] = own
    return json.dumps(feed, ensure_ascii=True).encode()


def _item(one: Story) -> dict[str, Any]:
    item: dict[str, Any] = {
        "id": one.id,
        "title": one.title,
        "content_html": one.html,
        "content_text": one.text,
        "date_published": one.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "tags": list(one.tags),
    }
    if one.url is not None:
        item["url"] = one.url
    return item
