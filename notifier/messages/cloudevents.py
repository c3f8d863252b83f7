"""An event for machines, and the page that shows a milestone to people."""

from urllib.parse import quote

from notifier.domain.models import CloudEvent, Event, Kind, Milestone

KALSHI = "https://kalshi.com"
#: What may stand in an operator's own address; parentheses would end a link.
_ADDRESS = ":/?#@!$&+,;=%-._"
#: A longer ticker is no ticker, and its link would fill the message.
_LONGEST_TICKER = 120


def cloudevent(event: Event, *, test: bool = False) -> CloudEvent:
    """
    The event as a webhook's receiver gets it: nothing escaped, nothing cut.

    Its time is the start for `started`, however late; else when it was seen.
    """
    return CloudEvent(
        id=event.id,
        type=f"kalshi.milestone.{event.kind.value}",
        subject=event.milestone.id,
        time=event.at if event.kind is Kind.STARTED else event.seen_at,
        title=event.milestone.title,
        message=event.milestone.message,
        changes=event.changes,
        milestone=event.milestone.raw,
        supersedes=event.supersedes,
        live=event.live,
        test=test,
    )


def link(milestone: Milestone, external_url: str | None) -> str | None:
    """
    The milestone's page: our own if there is one, else the one at Kalshi.

    The address is quoted: it can stand in any format. None without a usable
    ticker. The series is a guess from the ticker, which Kalshi's site follows.
    """
    if external_url is not None:
        return f"{overview(external_url)}milestones/{_quoted(milestone.id[:80])}"
    tickers = milestone.tickers
    if not tickers or not 0 < len(tickers[0]) <= _LONGEST_TICKER:
        return None
    series = tickers[0].partition("-")[0].lower()
    return f"{KALSHI}/markets/{_quoted(series)}/{_quoted(tickers[0])}"


def overview(external_url: str | None) -> str:
    """Where to look when a message cannot say everything; ends with a slash."""
    if external_url is None:
        return f"{KALSHI}/"
    return quote(external_url, safe=_ADDRESS).rstrip("/") + "/"


def _quoted(text: str) -> str:
    return quote(text, safe="", errors="replace")
