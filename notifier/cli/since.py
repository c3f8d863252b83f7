"""`--since` and `--until`: so long ago or ahead, or an instant."""

from datetime import UTC, datetime, timedelta

import typer

from notifier.clock import SystemClock
from notifier.domain.parsing import ValueParseError, parse_duration


def since(text: str) -> datetime:
    """
    The instant that `7d` or `2026-11-22T18:00:00Z` means.

    Raises: BadParameter.
    """
    try:
        return SystemClock().now() - parse_duration(text)
    except ValueParseError as exc:
        return _instant(text, exc)


def until(text: str) -> datetime:
    """
    The instant ahead that `2h` or `2026-12-01T08:00Z` means, in whole seconds.

    Raises: BadParameter.
    """
    now = SystemClock().now()
    try:
        when = now + parse_duration(text)
    except ValueParseError as exc:
        when = _instant(text, exc)
    if when <= now:
        raise typer.BadParameter(f"{text!r} is over; it must lie in the future")
    return _whole(when)


def _whole(when: datetime) -> datetime:
    """The first whole second that is not before it."""
    cut = when.replace(microsecond=0)
    return cut if cut == when else cut + timedelta(seconds=1)


def _instant(text: str, no_duration: ValueParseError) -> datetime:
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
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is beyond all calendars") from None
