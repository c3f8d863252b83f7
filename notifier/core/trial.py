"""A user's template tried out before it is needed."""

import difflib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import jinja2
from jinja2 import meta

from notifier.core.model import Change, Event, Format, Kind, Milestone, Template
from notifier.core.news import Teller
from notifier.core.template import (
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


def check_template(template: Template) -> str | None:
    """
    What is wrong with the template, in a line; None if it works on samples.

    A field of `milestone` that the samples lack proves nothing: milestones carry
    different fields. Any other name that is unknown is a mistake.
    """
    for part, source in (("title", template.title), ("body", template.body)):
        if source is not None and (problem := _problem(source)) is not None:
            return f"{part}: {problem}"
    return None


def _problem(source: str) -> str | None:
    try:
        tree = environment(Format.TEXT).parse(source)
    except jinja2.TemplateError as exc:
        return why(exc)
    for name in sorted(meta.find_undeclared_variables(tree) - NAMES - _GLOBALS):
        return _unknown(name)
    return next(_failures(source), None)


_GLOBALS = frozenset({"dict", "namespace", "cycler", "joiner"})


def _unknown(name: str) -> str:
    known = sorted(NAMES | _GLOBALS)
    close = difflib.get_close_matches(name, known, n=1)
    return f"{name} is unknown" + (f"; did you mean {close[0]}?" if close else "")


def _failures(source: str) -> Iterator[str]:
    for event in _samples():
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
            fill(source, form=Format.TEXT, values=values)
        except TemplateFailed as failed:
            if not anything.asked:
                yield str(failed)


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


def _samples() -> Iterator[Event]:
    for kind in Kind:
        changes = _CHANGES if kind is Kind.UPDATED else ()
        yield Event(
            id="evt_sample",
            kind=kind,
            milestone=_milestone(ended=kind is Kind.ENDED),
            at=_START if kind in {Kind.STARTED, Kind.ENDED} else _NOW,
            seen_at=_NOW,
            changes=changes,
            lead=timedelta(minutes=15) if kind is Kind.UPCOMING else None,
        )


_CHANGES = (
    Change(
        field="start_date", before="2026-09-17T20:00:00Z", after="2026-09-17T23:30:00Z"
    ),
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
