"""A made-up milestone, for tests of destinations and templates, and what happens to it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from notifier.domain.models import Change, Event, Json, Kind, Milestone, event_id, rfc3339

SAMPLE_ID = "00000000-0000-4000-8000-000000000000"
_HOUR = timedelta(hours=1)
_DEFAULT_LEAD = timedelta(minutes=15)


def sample_milestone(now: datetime) -> Milestone:
    """A milestone that starts in an hour and has nothing of Kalshi's."""
    return milestone_of(
        {
            "id": SAMPLE_ID,
            "category": "Test",
            "type": "test",
            "title": "This is what a milestone looks like",
            "notification_message": "It works: messages arrive here.",
            "start_date": rfc3339(now + _HOUR),
            "end_date": None,
            "last_updated_ts": rfc3339(now),
            "primary_event_tickers": [],
            "related_event_tickers": [],
            "details": {},
        }
    )


def sample_event(
    milestone: Milestone,
    kind: Kind,
    *,
    now: datetime,
    lead: timedelta | None = None,
    changes: Sequence[Change] = (),
) -> Event:
    """
    An event of this kind that happens now; its id differs from that of any real event.

    The milestone's start and end are moved to where the kind has them, so that a message
    reads as it would on the day.
    """
    lead = (lead or _DEFAULT_LEAD) if kind is Kind.UPCOMING else None
    moved: dict[str, Json] = {}
    match kind:
        case Kind.UPCOMING:
            moved = {"start_date": rfc3339(now + (lead or _DEFAULT_LEAD)), "end_date": None}
        case Kind.STARTED:
            moved = {"start_date": rfc3339(now), "end_date": None}
        case Kind.ENDED:
            start = min(milestone.start, now - _HOUR)
            moved = {"start_date": rfc3339(start), "end_date": rfc3339(now)}
        case _:
            pass
    return Event(
        id=event_id(milestone.id, kind, f"test {now.isoformat()} {lead}"),
        kind=kind,
        milestone=milestone_of({**milestone.doc, **moved}) if moved else milestone,
        at=now,
        seen_at=now,
        changes=tuple(changes) if kind is Kind.UPDATED else (),
        lead=lead,
    )


def milestone_of(document: Mapping[str, Json]) -> Milestone:
    """The milestone of a document of our own making; it must be complete and valid."""
    end, details = document.get("end_date"), document.get("details")
    return Milestone(
        id=str(document["id"]),
        category=str(document["category"]),
        type=str(document["type"]),
        title=str(document["title"]),
        message=str(document.get("notification_message") or ""),
        start=datetime.fromisoformat(str(document["start_date"])).astimezone(UTC),
        end=None if end is None else datetime.fromisoformat(str(end)).astimezone(UTC),
        updated=None,
        primary_tickers=_texts(document.get("primary_event_tickers")),
        related_tickers=_texts(document.get("related_event_tickers")),
        details=details if isinstance(details, Mapping) else {},
        doc=document,
        raw=msgspec.json.encode(document),
    )


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, Sequence) else ()
