"""The keys that a `match` may have: a route's, and a silence's but for one."""

import re

from notifier.domain.suggestions import nearest

#: Fields of a milestone, as Kalshi names them, that have no key of their own.
MILESTONE_KEYS = (
    "id",
    "source_id",
    "notification_message",
    "start_date",
    "end_date",
    "primary_event_tickers",
    "related_event_tickers",
)
#: The keys that the program names itself.
OWN_KEYS = ("events", "category", "type", "tickers", "title", "changed")
#: A path into the milestone: `details.league`, `source_ids.source_1_id`.
DOTTED = r"[^.]+(?:\.[^.]+)+"
#: Fields that hold others: only a path into them can be matched.
_HOLDERS = ("details", "source_ids", "product_details")


def unknown(name: str) -> str | None:
    """What is wrong with a key; None: nothing."""
    if name in OWN_KEYS or name in MILESTONE_KEYS or re.fullmatch(DOTTED, name):
        return None
    if name in _HOLDERS:
        return f'holds fields; match one of them, such as {name}.league: "..."'
    advice = nearest(name, (*OWN_KEYS, *MILESTONE_KEYS))
    fallback = f"did you mean details.{name}?"
    return f"unknown key; {advice or fallback}"
