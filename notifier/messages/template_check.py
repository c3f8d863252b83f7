"""A user's template tried out before it is needed."""

import difflib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import jinja2
from jinja2 import meta

from notifier.domain.models import Change, Event, Format, Kind, Milestone, Template
from notifier.messages.event_text import Teller
from notifier.messages.templates import (
    NAMES,
    TemplateFailed,
    environment,
    fill,
    values_of,
    why,
)

_NOW = datetime(2026, 9, 17, 20, 10, tzinfo=UTC)
_START = datetime(2026, 9, 17, 23, 30, tzinfo=UTC)
_ROOM = 2000


def check_template(template: Template, *, kind: Kind | None = None) -> str | None:
    """
    What is wrong with the template, in a line; None if it works on a sample.

    It need not work for every kind, unless `kind` is given: then for that one. A
    field of `milestone` that the samples lack proves nothing, since milestones carry
    different fields. Any other unknown name is a mistake.
    """
    kinds = list(Kind) if kind is None else [kind]
    for part, source in (("title", template.title), ("body", template.body)):
        if source is not None and (problem := _problem(source, kinds)) is not None:
            return f"{part}: {problem}"
    return None


_GLOBALS = frozenset({"dict", "namespace", "cycler", "joiner"})


def _problem(source: str, kinds: Sequence[Kind]) -> str | None:
    try:
        tree = environment(Format.TEXT).parse(source)
        names = meta.find_undeclared_variables(tree) - NAMES - _GLOBALS
    except (jinja2.TemplateError, RecursionError, ValueError) as exc:
        return why(exc)
    if names:
        return _unknown(min(names))
    failures = [_failure(source, _sample(kind)) for kind in kinds]
    return None if None in failures else failures[0]


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name, sorted(NAMES | _GLOBALS), n=1)
    return f"{name} is unknown" + (f"; did you mean {close[0]}?" if close else "")


def _failure(source: str, event: Event) -> str | None:
    """Why the template fails on that event; None if it works, or may elsewhere."""
    anything = _Anything()
    values = values_of(
        event,
        teller=Teller(zone=ZoneInfo("UTC"), now=_NOW),
        link="https://kalshi.com/markets/kxgame/KXGAME-1",
        test=True,
        room=_ROOM,
    )
    values["milestone"] = _Known(event.milestone.doc, anything)
    try:
        printed = fill(source, markup=Format.TEXT, values=values)
    except TemplateFailed as failed:
        return None if anything.asked else str(failed)
    return None if printed.strip() or anything.asked else "prints nothing"


class _Anything:
    """Stands for every field that a sample lacks, and remembers being asked for."""

    def __init__(self) -> None:
        self.asked = False


class _Known(dict[str, object]):
    """A sample's fields; what it lacks is empty text."""

    def __init__(self, fields: Mapping[str, object], anything: _Anything) -> None:
        super().__init__(
            (key, _Known(value, anything) if isinstance(value, Mapping) else value)
            for key, value in fields.items()
        )
        self._anything = anything

    def __missing__(self, key: str) -> str:
        self._anything.asked = True
        return ""


def _sample(kind: Kind) -> Event:
    return Event(
        id="evt_sample",
        kind=kind,
        milestone=_milestone(ended=kind is Kind.ENDED),
        at=_START if kind in {Kind.STARTED, Kind.ENDED} else _NOW,
        seen_at=_NOW,
        changes=_CHANGES if kind is Kind.UPDATED else (),
        lead=timedelta(minutes=15) if kind is Kind.UPCOMING else None,
    )


_CHANGES = (
    Change(field="start_date", before="2026-09-17T20:00:00Z", after="2026-09-17T23:30:00Z"),
    Change(
        field="primary_event_tickers",
        before=["KXGAME-1"],
        after=["KXGAME-1", "KXGAME-2"],
        added=("KXGAME-2",),
        removed=(),
    ),
)


def _milestone(*, ended: bool) -> Milestone:
    doc = {
        "id": "00000000-0000-4000-8000-000000000000",
        "category": "Sports",
        "type": "football_game",
        "title": "Home at Away",
        "notification_message": "The game is about to begin!",
        "start_date": "2026-09-17T23:30:00Z",
        "end_date": "2026-09-18T03:00:00Z" if ended else None,
        "last_updated_ts": "2026-09-15T00:21:49Z",
        "primary_event_tickers": ["KXGAME-1"],
        "related_event_tickers": ["KXGAME-1"],
        "source_id": "sample",
        "details": {"league": "NFL", "status": "scheduled"},
    }
    return Milestone(
        id="00000000-0000-4000-8000-000000000000",
        category="Sports",
        type="football_game",
        title="Home at Away",
        message="The game is about to begin!",
        start=_START,
        end=_START + timedelta(hours=3, minutes=30) if ended else None,
        updated=_NOW,
        primary_tickers=("KXGAME-1",),
        related_tickers=("KXGAME-1",),
        details={"league": "NFL", "status": "scheduled"},
        doc=doc,
        raw=b"{}",
    )
