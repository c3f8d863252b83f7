"""
What happened to the milestones of one page since they were last committed.

Rows are compared by content: a row that differs only in `last_updated_ts` is no change
(unless the configuration says `updates: timestamp`), and a change without a newer
`last_updated_ts` is one. A page says nothing about milestones that it does not show.
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
    """A revision older than the stored one: accepted when a second read shows it again."""

    fingerprint: bytes
    read_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMilestone:
    """A milestone as it was committed last."""

    milestone: Milestone
    fingerprint: bytes
    version: int
    generation: int
    announced: LastAnnounced = LastAnnounced()
    unconfirmed: UnconfirmedRevision | None = None
    #: No event of it exists: it is dormant, or its baseline is not complete.
    never_announced: bool = False
    #: First seen through another watch, after this watch had read the whole list.
    is_new_to_watch: bool = False
    is_removed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffPolicy:
    """What counts as a change, and when starts and ends are announced."""

    time: TimePolicy
    #: `updates: timestamp`: a newer `last_updated_ts` alone is an update.
    touched_is_updated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodedRow:
    """One row of a page, with the fingerprint of its bytes."""

    milestone: Milestone
    fingerprint: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RowChange:
    """What is written for one row."""

    row: DecodedRow
    version: int
    generation: int
    event: Event | None = None
    timers: TimerChanges = TimerChanges()
    #: A new milestone, or a new life of a removed one: nothing was announced yet.
    is_new: bool = False
    #: The stored bytes are the same.
    is_same: bool = False
    #: No field differs, except perhaps the timestamp.
    touched: bool = False
    #: Not accepted yet: only the revision is noted.
    unconfirmed: UnconfirmedRevision | None = None

    @property
    def has_content(self) -> bool:
        """Whether the row's content is stored, and not only that it was seen."""
        return self.unconfirmed is None and (self.is_new or not self.is_same)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadContext:
    """What all rows of one read have in common."""

    read_id: int
    policy: DiffPolicy
    #: A baseline: new milestones are stored and their timers armed, without events.
    silent: bool
    seen_at: datetime


def diff(
    stored: Mapping[str, StoredMilestone], rows: Sequence[DecodedRow], context: ReadContext
) -> tuple[RowChange, ...]:
    """
    Decide, in the order of ids, what each row whose bytes are not stored means.

    No id comes twice in `rows`. Equal input gives equal output, event ids included.
    """
    ordered = sorted(rows, key=lambda row: row.milestone.id)
    return tuple(_change(stored.get(row.milestone.id), row, context) for row in ordered)


def _change(stored: StoredMilestone | None, row: DecodedRow, context: ReadContext) -> RowChange:
    if stored is None or stored.is_removed:
        version, generation = (stored.version, stored.generation) if stored else (0, 0)
        new = _created(row, context, version + 1, generation + 1, LastAnnounced())
        return replace(new, is_new=True)
    if stored.never_announced or stored.is_new_to_watch:
        return _created(row, context, stored.version + 1, stored.generation, stored.announced)
    same = RowChange(row=row, version=stored.version, generation=stored.generation)
    if stored.fingerprint == row.fingerprint:
        return replace(same, is_same=True)
    if _is_older(row.milestone, stored.milestone) and not _is_confirmed(stored, row, context):
        seen = UnconfirmedRevision(fingerprint=row.fingerprint, read_id=context.read_id)
        return replace(same, unconfirmed=seen)
    return _updated(stored, row, context)


def _created(
    row: DecodedRow, context: ReadContext, version: int, generation: int, announced: LastAnnounced
) -> RowChange:
    milestone, now = row.milestone, context.seen_at
    event = Event(
        id=event_id(milestone.id, Kind.CREATED, str(generation)),
        kind=Kind.CREATED,
        milestone=milestone,
        at=now,
        seen_at=now,
    )
    return RowChange(
        row=row,
        version=version,
        generation=generation,
        event=None if context.silent else event,
        timers=rearm(
            milestone, before=None, announced=announced, policy=context.policy.time, now=now
        ),
    )


def _is_older(row: Milestone, stored: Milestone) -> bool:
    if row.updated is None:
        return stored.updated is not None
    return stored.updated is not None and row.updated < stored.updated


def _is_confirmed(stored: StoredMilestone, row: DecodedRow, context: ReadContext) -> bool:
    seen = stored.unconfirmed
    return (
        seen is not None and seen.fingerprint == row.fingerprint and seen.read_id != context.read_id
    )


def _updated(stored: StoredMilestone, row: DecodedRow, context: ReadContext) -> RowChange:
    before, after, now = stored.milestone, row.milestone, context.seen_at
    policy = context.policy
    found = changes(before.doc, after.doc)
    timers = rearm(after, before=before, announced=stored.announced, policy=policy.time, now=now)
    if [change.field for change in found] == ["end_date"] and ends_by_now(timers, now=now):
        shown: tuple[Change, ...] = ()  # the event "ended" says it
    elif policy.touched_is_updated and after.updated != before.updated:
        shown = (*found, _touch(before, after))
    else:
        shown = found
    version = stored.version + 1
    event = Event(
        id=event_id(after.id, Kind.UPDATED, f"{version}|{row.fingerprint.hex()}"),
        kind=Kind.UPDATED,
        milestone=after,
        at=now,
        seen_at=now,
        changes=shown,
    )
    return RowChange(
        row=row,
        version=version,
        generation=stored.generation,
        event=event if shown else None,
        timers=timers,
        touched=not found,
    )


def _touch(before: Milestone, after: Milestone) -> Change:
    return Change(field=_TOUCHED, before=before.doc.get(_TOUCHED), after=after.doc.get(_TOUCHED))


def removed(stored: StoredMilestone, *, now: datetime) -> Event:
    """The event of a milestone that Kalshi no longer lists."""
    return Event(
        id=event_id(stored.milestone.id, Kind.REMOVED, str(stored.generation)),
        kind=Kind.REMOVED,
        milestone=stored.milestone,
        at=now,
        seen_at=now,
    )


# --- fields -------------------------------------------------------------------


def changes(before: Mapping[str, Json], after: Mapping[str, Json]) -> tuple[Change, ...]:
    """
    The fields in which two rows differ, by path; `last_updated_ts` is none.

    Absent equals null, ticker lists compare as sets, `start_date` and `end_date`
    as instants. Maps are followed into their keys, an absent one as if it were
    empty; every other value is shown whole.
    """
    names = sorted((before.keys() | after.keys()) - {_TOUCHED})
    return tuple(
        change for name in names for change in _field(name, before.get(name), after.get(name))
    )


def net(updates: Sequence[Sequence[Change]], now: Mapping[str, Json]) -> tuple[Change, ...]:
    """
    The net change of several updates of one milestone, oldest first.

    `now` is its row at the newest of them: suppressed updates between them may have
    changed the same fields.
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
