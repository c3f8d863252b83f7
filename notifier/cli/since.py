"""`--since`: so long ago, or an instant."""

from datetime import UTC, datetime

import typer

from notifier.clock import SystemClock
from notifier.config.values import Unreadable, duration


def since(text: str) -> datetime:
    """
    The instant that `7d` or `2026-11-22T18:00:00Z` means.

    Raises: BadParameter.
    """
    try:
        return SystemClock().now() - duration(text)
    except Unreadable as exc:
        return _instant(text, exc)


def _instant(text: str, no_duration: Unreadable) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        advice = f"; {no_duration.advice}" if no_duration.advice else ""
        raise typer.BadParameter(
            f"{text!r} is neither a span such as 7d or 90m, nor an instant such as "
            f"2026-11-22T18:00:00Z{advice}"
        ) from None
    if when.tzinfo is None:
        raise typer.BadParameter(f"{text!r} needs a zone: {when.isoformat()}Z is UTC")
    return when.astimezone(UTC)
