"""
What happened to the milestones of one page since they were last committed.

Compared by `id` and content: a row whose bytes are known never gets here, a row
that differs only in `last_updated_ts` is no change (unless the configuration says
`updates: timestamp`), a change without a newer `last_updated_ts` is one.
Absence says nothing here: a page never shows what is gone.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from notifier.domain.models import Change, Event, Json, Kind, Milestone, event_id
from notifier.domain.timers import LastAnnounced, TimePolicy, TimerChanges, ends_by_now, rearm

_TICKERS = frozenset({"primary_event_tickers", "related_event_tickers"})
_INSTANTS = frozenset({"start_date", "end_date"})
_TOUCHED = "last_updated_ts"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnconfirmedRevision:
    """Bytes older than those known, seen once: believed when a later read agrees."""

    fingerprint: bytes
    read: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMilestone:
    """A milestone as it was last committed."""

    milestone: Milestone
    fingerprint: bytes
    version: int
    generation: int
    fired: LastAnnounced = LastAnnounced()
    doubt: UnconfirmedRevision | None = None
    #: Nobody was ever told about it: dormant, or its baseline is not complete.
    silent: bool = False
    #: First seen through another watch, after this one had read the whole list: to
    #: this one it is new, whatever the other made of it.
    is_new_here: bool = False
    gone: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffPolicy:
    """What counts as a change, and when starts and ends are worth telling."""

    time: TimePolicy
    #: `updates: timestamp`: a newer `last_updated_ts` alone is an update.
    touched_is_updated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row as it was read, with the fingerprint of its bytes."""

    milestone: Milestone
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """What the store is to do about one row."""

    row: Row
    version: int
    generation: int
    event: Event | None = None
    armed: TimerChanges = TimerChanges()
    #: A new record, or a new life of one that was removed: nothing has fired yet.
    fresh: bool = False
    #: Its bytes are those that are known.
    same: bool = False
    #: No field differs but the timestamp, if that.
    touched: bool = False
    #: Not believed yet: only the doubt is noted.
    doubt: UnconfirmedRevision | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadContext:
    """What all rows of one read have in common."""

    id: int
    policy: DiffPolicy
    #: A baseline: what is new is stored and armed, and announced by nothing.
    silent: bool
    seen_at: datetime


def diff(
    known: Mapping[str, StoredMilestone], read: Sequence[Row], reading: ReadContext
) -> tuple[RowChange, ...]:
    """
    Say, in milestone order, what each row that is not known byte for byte means.

    No id comes twice in `read`. Equal input gives equal output, event ids included.
    """
    return tuple(
        _step(known.get(row.milestone.id), row, reading)
        for row in sorted(read, key=lambda row: row.milestone.id)
    )


def _step(known: StoredMilestone | None, row: Row, reading: ReadContext) -> RowChange:
    if known is None or known.gone:
        return _born(known, row, reading)
    if known.silent or known.is_new_here:
        return _appeared(
            row,
            reading,
            version=known.version + 1,
            generation=known.generation,
            fired=known.fired,
        )
    if known.fingerprint == row.fingerprint:
        return RowChange(row=row, version=known.version, generation=known.generation, same=True)
    if _is_older(row.milestone, known.milestone) and not _agreed(known, row, reading):
        return RowChange(
            row=row,
            version=known.version,
            generation=known.generation,
            doubt=UnconfirmedRevision(fingerprint=row.fingerprint, read=reading.id),
        )
    return _updated(known, row, reading)


def _born(known: StoredMilestone | None, row: Row, reading: ReadContext) -> RowChange:
    """A new record, or the next life of one that was removed."""
    version, generation = (known.version, known.generation) if known else (0, 0)
    step = _appeared(
        row, reading, version=version + 1, generation=generation + 1, fired=LastAnnounced()
    )
    return replace(step, fresh=True)


def _appeared(
    row: Row, reading: ReadContext, *, version: int, generation: int, fired: LastAnnounced
) -> RowChange:
    """A record that nobody has been told about yet."""
    milestone, now = row.milestone, reading.seen_at
    event = Event(
        id=event_id(milestone.id, Kind.CREATED, str(generation)),
        kind=Kind.CREATED,
        milestone=milestone,
        at=now,
        seen_at=now,
    )
    armed = rearm(milestone, before=None, fired=fired, policy=reading.policy.time, now=now)
    return RowChange(
        row=row,
        version=version,
        generation=generation,
        event=None if reading.silent else event,
        armed=armed,
    )


def _is_older(row: Milestone, known: Milestone) -> bool:
    if row.updated is None:
        return known.updated is not None
    return known.updated is not None and row.updated < known.updated


def _agreed(known: StoredMilestone, row: Row, reading: ReadContext) -> bool:
    doubt = known.doubt
    return doubt is not None and doubt.fingerprint == row.fingerprint and doubt.read != reading.id


def _updated(known: StoredMilestone, row: Row, reading: ReadContext) -> RowChange:
    before, after, now = known.milestone, row.milestone, reading.seen_at
    found = changes(before.doc, after.doc)
    armed = rearm(after, before=before, fired=known.fired, policy=reading.policy.time, now=now)
    told = _told(found, before, after, armed, reading)
    version = known.version + 1
    event = Event(
        id=event_id(after.id, Kind.UPDATED, f"{version}|{row.fingerprint.hex()}"),
        kind=Kind.UPDATED,
        milestone=after,
        at=now,
        seen_at=now,
        changes=told,
    )
    return RowChange(
        row=row,
        version=version,
        generation=known.generation,
        event=event if told else None,
        armed=armed,
        touched=not found,
    )


def _told(
    found: tuple[Change, ...],
    before: Milestone,
    after: Milestone,
    armed: TimerChanges,
    reading: ReadContext,
) -> tuple[Change, ...]:
    if [c.field for c in found] == ["end_date"] and ends_by_now(armed, now=reading.seen_at):
        return ()
    if reading.policy.touched_is_updated and after.updated != before.updated:
        return (*found, _touch(before, after))
    return found


def _touch(before: Milestone, after: Milestone) -> Change:
    return Change(field=_TOUCHED, before=before.doc.get(_TOUCHED), after=after.doc.get(_TOUCHED))


def removed(known: StoredMilestone, *, now: datetime) -> Event:
    """The event that says that Kalshi no longer lists a milestone."""
    return Event(
        id=event_id(known.milestone.id, Kind.REMOVED, str(known.generation)),
        kind=Kind.REMOVED,
        milestone=known.milestone,
        at=now,
        seen_at=now,
    )


# --- fields -------------------------------------------------------------------


def changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Change, ...]:
    """
    The fields in which two rows differ, by path; `last_updated_ts` is none.

    Absent equals null, ticker lists compare as sets, `start_date` and `end_date`
    as instants. Maps are followed into their keys, an absent one as if it were
    empty; every other value is told whole.
    """
    names = sorted((before.keys() | after.keys()) - {_TOUCHED})
    return tuple(
        change for name in names for change in _field(name, before.get(name), after.get(name))
    )


def net(updates: Sequence[Sequence[Change]], now: Mapping[str, Json]) -> tuple[Change, ...]:
    """
    What several updates of one milestone, oldest first, come to together.

    `now` is its row at the newest of them: changes between them that nobody was to
    be told may have moved the same fields.
    """
    first: dict[str, Json] = {}
    for update in updates:
        for change in update:
            first.setdefault(change.field, change.before)
    return tuple(
        change
        for path, before in first.items()
        for change in _at(path, before, _value_at(now, path))
    )


def _value_at(row: Mapping[str, Json], path: str) -> Json:
    """What a change's path leads to; None where nothing is there."""
    value: Json = row
    for part in path.split("."):
        key = part.replace("~1", ".").replace("~0", "~")
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def _at(path: str, before: Json, after: Json) -> Iterator[Change]:
    """The same as `_field`, for a path that a change names already."""
    if path in _TICKERS or path in _INSTANTS:
        yield from _field(path, before, after)
    else:
        yield from _value(path, before, after)


def _field(name: str, before: Json, after: Json) -> Iterator[Change]:
    if name in _TICKERS and _is_list(before) and _is_list(after):
        yield from _tickers(name, before, after)
    elif name in _INSTANTS and _same_instant(before, after):
        return
    else:
        yield from _value(_escaped(name), before, after)


def _value(path: str, before: Json, after: Json) -> Iterator[Change]:
    old, new = _map(before), _map(after)
    if old is not None and new is not None:
        for key in sorted(old.keys() | new.keys()):
            yield from _value(f"{path}.{_escaped(key)}", old.get(key), new.get(key))
    elif not same(before, after):
        yield Change(field=path, before=before, after=after)


def _map(value: Json) -> Mapping[str, Json] | None:
    """A map as it is, an absent one as an empty one; None for every other value."""
    if value is None:
        return {}
    return value if isinstance(value, Mapping) else None


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace(".", "~1")


def _is_list(value: Json) -> bool:
    return value is None or (isinstance(value, Sequence) and not isinstance(value, str))


def _tickers(name: str, before: Json, after: Json) -> Iterator[Change]:
    old, new = _ticker_set(before), _ticker_set(after)
    if old != new:
        yield Change(
            field=name,
            before=sorted(old),
            after=sorted(new),
            added=tuple(sorted(new - old)),
            removed=tuple(sorted(old - new)),
        )


def _ticker_set(value: Json) -> frozenset[str]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return frozenset()
    return frozenset(ticker for ticker in value if isinstance(ticker, str))


def _same_instant(before: Json, after: Json) -> bool:
    if not isinstance(before, str) or not isinstance(after, str):
        return before is None and after is None
    try:
        return _instant(before) == _instant(after)
    except ValueError:
        return before == after


def _instant(text: str) -> datetime:
    # RFC 3339 allows a `t` and a `z`, Python does not.
    return datetime.fromisoformat(text.upper())


def same(before: Json, after: Json) -> bool:
    """
    Whether two JSON values are equal: what is absent, null or an empty map is.

    Unlike in Python, true is not 1.
    """
    old, new = _map(before), _map(after)
    if old is not None and new is not None:
        return all(same(old.get(key), new.get(key)) for key in old.keys() | new.keys())
    if isinstance(before, list) and isinstance(after, list):
        return len(before) == len(after) and all(
            same(old, new) for old, new in zip(before, after, strict=True)
        )
    return isinstance(before, bool) == isinstance(after, bool) and before == after
