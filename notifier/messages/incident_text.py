"""
The words of the operator's notices: what is wrong, what is over, what a downtime did.

Times are told in the zone of whoever reads them. The lines are plain here; `rendered`
escapes them for the destination's format and cuts them to what its service takes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from notifier.domain.incidents import (
    Condition,
    Notice,
    NoticeKind,
    Open,
    Trouble,
    is_refused,
)
from notifier.domain.models import CloudEvent, Format, Kind, Limits, Rendered, identify
from notifier.messages.escaping import (
    Bold,
    TextRow,
    clean,
    escape,
    escape_within,
    format_line,
    lay_out,
)
from notifier.messages.humanize import count, hours, listed, moment, on_the_wall, span

#: Kalshi's weekly maintenance, as its documentation announces it.
_NEW_YORK = ZoneInfo("America/New_York")
_THURSDAY, _FROM_HOUR, _TO_HOUR = 3, 3, 5
_NAMED = 3
_LONGEST_REASON = 300
_LONGEST_TITLE = 250
#: What became of milestones, in the order in which it is told.
_NEWS = (Kind.UPDATED, Kind.CREATED, Kind.ENDED, Kind.REMOVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads a notice: where, and when."""

    zone: ZoneInfo
    now: datetime

    def at(self, when: datetime) -> str:
        """`03:02 EST`, with the day if that is not today."""
        return moment(when, zone=self.zone, now=self.now)

    def since(self, when: datetime) -> str:
        """`since 03:02 EST (6 min)`."""
        return f"since {self.at(when)} ({span(self.now - when)})"

    def between(self, since: datetime, until: datetime) -> str:
        """`from 03:02 to 05:14 EST (2 h 12 min)`."""
        first, last = (on_the_wall(when, self.zone) for when in (since, until))
        is_short = first.date() == last.date() and first.tzname() == last.tzname()
        begun = hours(first) if is_short else self.at(since)
        return f"from {begun} to {self.at(until)} ({span(until - since)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """A title and the lines below it."""

    title: str
    lines: tuple[str, ...]

    @property
    def body(self) -> str:
        """The lines as they are kept."""
        return "\n".join(self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What happened in a span of time."""

    #: Events by kind; starts and ends that were missed are not among them.
    events: Mapping[Kind, int] = field(default_factory=dict)
    #: Starts that were told within a minute, and later.
    on_time: int = 0
    late: int = 0
    #: Starts that were missed: how many, and the titles of the first.
    missed: int = 0
    titles: tuple[str, ...] = ()
    #: Deliveries that came too late to be sent, and those that went or go out.
    expired: int = 0
    going: int = 0


# --- raised -------------------------------------------------------------------


def raised(condition: Condition, reader: Reader, *, exchange: str = "") -> Words:
    """
    What is wrong, since when, and what to do.

    `exchange` is what Kalshi says of itself: active, maintenance, or nothing.
    """
    one = replace(condition, reason=_sentence(condition.reason))
    since = reader.since(one.since)
    if one.trouble is Trouble.SOURCE:
        return _source(one, since, exchange, reader.now)
    return _RAISED[one.trouble](one, since)


def _words(title: str, *lines: str) -> Words:
    return Words(title=title, lines=tuple(line for line in lines if line))


def _sentence(reason: str) -> str:
    """The reason as one line with a full stop."""
    words = clean(reason, _LONGEST_REASON) or "no reason is known"
    return words if words.endswith((".", "!", "?", "…")) else f"{words}."


def _dead(one: Condition, since: str) -> Words:
    del since
    were = "was" if one.count == 1 else "were"
    return _words(
        f"{one.name}: {count(one.count, 'dead letter')}",
        f"{_deliveries(one.count)} to {one.name} {were} given up. "
        f"Why the last one was: {one.reason}",
        "To see what is dead: notifier deliveries --dead. To send it again: "
        f"notifier redrive --destination {one.name}",
    )


def _quarantine(one: Condition, since: str) -> Words:
    rows = count(one.count, "milestone")
    last = "It is" if one.count == 1 else "The one seen last is"
    return _words(
        f"{rows} cannot be read",
        f"{rows} of Kalshi's list cannot be read {since}. {last} {one.reason}",
        "What cannot be read is put aside, all the rest is told. Each such row is in "
        "the log as row.quarantined; notifier status counts them.",
    )


def _suspicious(one: Condition, since: str) -> Words:
    return _words(
        "Kalshi shows far too little",
        f"Long reads of {one.name} show none, or less than half, of what is known, {since}.",
        "Nothing counts as removed because of it. What they do show is told, and so "
        "is every start.",
    )


def _clock(one: Condition, since: str) -> Words:
    del since
    off = f"{span(one.skew)} {'slow' if one.skew > timedelta(0) else 'fast'}"
    return _words(
        f"This machine's clock is {off}",
        f"By Kalshi's clock this machine's is {off}. It is corrected for, so starts "
        "are told on time.",
        "Repair the machine's time synchronisation.",
    )


def _backup(one: Condition, since: str) -> Words:
    return _words(
        "The daily backup fails",
        f"The database could not be copied {since}: {one.reason}",
        "It is tried again every hour; the earlier copies are kept.",
    )


def _suspended(one: Condition, since: str) -> Words:
    return _words(
        f"{one.name} is suspended",
        f"{one.name} refuses every message {since}: {one.reason}",
        f"{_waits(one.count, 'for 7 days at most')}Correct its URL or its rights. It "
        "is tried again from time to time, or at once with: notifier resume "
        f"{one.name}",
    )


def _gone(one: Condition, since: str) -> Words:
    return _words(
        f"{one.name} is gone",
        f"{one.name} says that it is gone for good, {since}: {one.reason}",
        "Nothing is sent to it any more. "
        f"{_waits(one.count, 'for 7 days at most')}Give it another URL or, once it is "
        f"there again: notifier resume {one.name}",
    )


def _failing(one: Condition, since: str) -> Words:
    return _words(
        f"{one.name} fails",
        f"Messages to {one.name} fail {since}: {one.reason}",
        f"{_waits(one.count, 'for 72 h at most')}It is tried again by itself.",
    )


def _away(one: Condition, since: str) -> Words:
    del one
    return _words("Away", f"The service was away {since}.")


_RAISED: Mapping[Trouble, Callable[[Condition, str], Words]] = {
    Trouble.SUSPENDED: _suspended,
    Trouble.GONE: _gone,
    Trouble.FAILING: _failing,
    Trouble.QUARANTINE: _quarantine,
    Trouble.SUSPICIOUS: _suspicious,
    Trouble.CLOCK: _clock,
    Trouble.DEAD: _dead,
    Trouble.BACKUP: _backup,
    Trouble.CATCH_UP: _away,
}


def _waits(number: int, how_long: str) -> str:
    """`5 deliveries wait, for 7 days at most. `, or nothing."""
    if not number:
        return ""
    verb = "waits" if number == 1 else "wait"
    return f"{_deliveries(number)} {verb}, {how_long}. "


def _deliveries(number: int) -> str:
    return "1 delivery" if number == 1 else f"{number:,} deliveries"


def one_line(condition: Condition) -> str:
    """The condition for the log and for `status`, without times."""
    words = raised(condition, Reader(zone=_NEW_YORK, now=condition.since))
    reason = clean(condition.reason, _LONGEST_REASON)
    return f"{words.title}: {reason}" if reason else words.title


def _source(one: Condition, since: str, exchange: str, now: datetime) -> Words:
    is_part = len(one.watches) < one.count
    which = f" for {listed(one.watches, at_most=_NAMED)}" if is_part else ""
    verb, more = "cannot be read", _at_kalshi(exchange, now)
    if is_refused(one.reason):
        verb = "refuses to be read"
        more = (
            "It is asked again every 5 min. Check source.api_key, if there is one, "
            "and whether Kalshi shuts this machine's address out."
        )
    return _words(
        f"Kalshi {verb}" + (" in part" if is_part else ""),
        f"Kalshi {verb}{which} {since}: {one.reason}",
        more,
        "What changes meanwhile is told once it answers; starts and reminders go out all the same.",
    )


def is_maintenance(now: datetime) -> bool:
    """Whether Kalshi's weekly maintenance is announced for that moment."""
    wall = on_the_wall(now, _NEW_YORK)
    return wall.weekday() == _THURSDAY and _FROM_HOUR <= wall.hour < _TO_HOUR


def _at_kalshi(exchange: str, now: datetime) -> str:
    """What is known of the cause."""
    weekly = is_maintenance(now)
    if exchange == "maintenance":
        cause = ": probably its Thursday maintenance, usually over by 05:00 New York time"
        return f"Kalshi says that its exchange is paused{cause if weekly else ''}."
    if weekly:
        when = "03:00 to 05:00 New York time"
        return f"It is the time of Kalshi's Thursday maintenance, {when}."
    if exchange == "active":
        return "Kalshi says that its exchange is open: only its list seems to fail."
    return ""


# --- over ---------------------------------------------------------------------

_AGAIN = {
    Trouble.SOURCE: "Kalshi answers again",
    Trouble.SUSPENDED: "{name} is back",
    Trouble.GONE: "{name} is back",
    Trouble.FAILING: "{name} works again",
    Trouble.QUARANTINE: "All milestones can be read again",
    Trouble.SUSPICIOUS: "Kalshi shows enough again",
    Trouble.CLOCK: "This machine's clock is right again",
    Trouble.DEAD: "{name}: no dead letters any more",
    Trouble.BACKUP: "The daily backup is there again",
    Trouble.CATCH_UP: "Back",
}
_WAS = {
    Trouble.SOURCE: "Kalshi could not be read",
    Trouble.SUSPENDED: "{name} was suspended",
    Trouble.GONE: "{name} was gone",
    Trouble.FAILING: "Messages to {name} failed",
    Trouble.QUARANTINE: "Some milestones could not be read",
    Trouble.SUSPICIOUS: "Kalshi showed far too little of {name}",
    Trouble.CLOCK: "This machine's clock was off",
    Trouble.DEAD: "There were dead letters for {name}",
    Trouble.BACKUP: "The daily backup failed",
    Trouble.CATCH_UP: "The service was away",
}


def over(one: Open, kind: NoticeKind, reader: Reader, *, found: Found | None) -> Words:
    """
    That something is right again.

    An `OVER` tells as well what was wrong, and when. `found`: what happened
    meanwhile, where that matters.
    """
    again = _AGAIN[one.trouble].format(name=one.name)
    was = _WAS[one.trouble].format(name=one.name)
    if kind is NoticeKind.OVER:
        until = one.until or reader.now
        first = f"{was} {reader.between(one.since, until)}. {again}."
        title = f"Over: {was}"
    else:
        first, title = _after(one, again, reader), again
    lines = [first]
    if found is not None and one.trouble is Trouble.SOURCE:
        lines.append(_meanwhile(found))
    return Words(title=title, lines=tuple(lines))


def _after(one: Open, again: str, reader: Reader) -> str:
    if one.trouble is Trouble.DEAD:
        return f"The dead letters of {one.name} have been put back, to be sent again."
    if one.trouble is Trouble.QUARANTINE:
        return "Every milestone that Kalshi has shown lately could be read."
    name = f" ({one.name})" if one.trouble is Trouble.SUSPICIOUS else ""
    return f"{again}{name} after {span((one.until or reader.now) - one.since)}."


def _meanwhile(found: Found) -> str:
    """`Found meanwhile: 14 updated; 2 starts were announced on time`, as a sentence."""
    news = _news(found)
    words = f"Found meanwhile: {news}" if news else "Nothing had changed meanwhile"
    if found.on_time:
        words += f"; {count(found.on_time, 'start')} "
        words += "was" if found.on_time == 1 else "were"
        words += " announced on time"
    return words + "."


def _news(found: Found) -> str:
    """`14 updated, 3 created`."""
    return ", ".join(
        f"{found.events[kind]:,} {kind.value}" for kind in _NEWS if found.events.get(kind)
    )


# --- back ---------------------------------------------------------------------


def back(*, away: timedelta, found: Found, has_read: bool) -> Words:
    """What a downtime has left behind, and what is told now."""
    title = f"Back after {span(away)}"
    lines = [f"{title}. {_changes(found)}" if has_read else f"{title}."]
    if not has_read:
        lines.append("Kalshi has not been read since; what it changed is not known yet.")
    if found.missed:
        titles = [clean(title, 100) or "Untitled" for title in found.titles]
        rest = found.missed - len(titles)
        named = ", ".join(titles) + (f" and {rest:,} more" if rest else "")
        is_one = found.missed == 1
        lines.append(
            f"{count(found.missed, 'start')} {'is' if is_one else 'are'} over and "
            f"{'was' if is_one else 'were'} not announced: {named}."
        )
    if found.late:
        verb = "is" if found.late == 1 else "are"
        lines.append(f"{count(found.late, 'start')} {verb} announced late.")
    lines += _owed(found)
    return Words(title=title, lines=tuple(lines))


def _changes(found: Found) -> str:
    """`Found: 12 changes (8 updated, 4 created)`, as a sentence."""
    total = sum(found.events.get(kind, 0) for kind in _NEWS)
    if not total:
        return "Nothing has changed meanwhile."
    return f"Found: {count(total, 'change')} ({_news(found)})."


def _owed(found: Found) -> Sequence[str]:
    lines = []
    if found.expired:
        lines.append(f"{_deliveries(found.expired)} came too late and expired.")
    if found.going:
        verb = "goes" if found.going == 1 else "go"
        lines.append(f"{_deliveries(found.going)} {verb} out now.")
    return lines


# --- as it is sent ------------------------------------------------------------

#: These count what may grow or shrink before they can be told.
_COUNTED = frozenset(
    {
        Trouble.DEAD,
        Trouble.QUARANTINE,
        Trouble.SUSPENDED,
        Trouble.GONE,
        Trouble.FAILING,
    }
)


def as_it_is(notice: Notice, one: Condition | None, reader: Reader) -> Notice:
    """The notice with the numbers of now, if its condition `one` still holds."""
    if one is None or notice.kind is not NoticeKind.RAISED or not one.reason:
        return notice
    if one.trouble not in _COUNTED:
        return notice
    words = raised(replace(one, since=notice.since), reader)
    return replace(notice, title=words.title, body=words.body)


def rendered(notice: Notice, limits: Limits, *, plain: bool) -> Rendered:
    """The notice for one destination's service; `plain`: without any markup."""
    markup = Format.TEXT if plain else limits.format
    title = clean(notice.title, limits.title or min(_LONGEST_TITLE, limits.body // 2))
    lines = notice.body.split("\n")
    rows = [TextRow(escape(line, markup)) for line in lines]
    if not limits.title:
        rows[0] = replace(rows[0], heading=True)
        rows.insert(0, TextRow(format_line((Bold(title),), markup)))
    body = lay_out(rows, markup)
    if len(body) > limits.body:
        flat = " ".join(lines if limits.title else [f"{title}:", *lines])
        body = escape_within(flat, markup, limits.body)
    return Rendered(
        message_id=notice_id(notice),
        title=title if limits.title else "",
        body=body,
        format=markup,
        urgent=False,
        events=(_cloudevent(notice),),
    )


def notice_id(notice: Notice) -> str:
    """The same for every attempt of a notice."""
    born_at = notice.born_at.isoformat()
    return identify("ntc_", notice.destination, notice.key, notice.kind.value, born_at)


def _cloudevent(notice: Notice) -> CloudEvent:
    """The notice for machines: its subject is the condition's key."""
    return CloudEvent(
        id=notice_id(notice),
        type=f"notifier.operator.{notice.kind.value}",
        subject=notice.key,
        time=notice.born_at,
        title=notice.title,
        message=notice.body,
        changes=(),
        milestone=b"",
        since=notice.since,
    )
