"""
(message, events, templates, zone, limits) -> title and body, ready to be sent.

A single event is put by the user's template, else in our own words; many events
become a digest. Where a service has no titles (`limits.title` is 0), the title
opens the body in bold. Nothing here fails for what Kalshi or a template says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from notifier.domain.models import (
    URGENT,
    Event,
    Form,
    Format,
    Kind,
    Limits,
    Message,
    Milestone,
    Rendered,
    Route,
    Template,
)
from notifier.messages import digest, single_event
from notifier.messages.cloudevents import cloudevent, link
from notifier.messages.escaping import Anchor, Bold, Row, fold, lay_out, shorten, spell
from notifier.messages.event_text import Headline, Teller
from notifier.messages.templates import TemplateFailed, render_template, template_values

#: A title in the body of a service without titles.
_LONGEST_TITLE = 250
_MARK = "[TEST] "


def render(
    message: Message,
    events: Sequence[Event],
    *,
    routes: Mapping[str, Route],
    limits: Limits,
    zone: ZoneInfo,
    now: datetime,
    test: bool = False,
    external_url: str | None = None,
) -> Rendered:
    """
    The message as text for people and CloudEvents for machines.

    `events` come in the order in which they are told; more than one make a digest.
    A refused form is plainer: no markup, no template, and at last only counts.
    """
    rich = message.form is Form.RICH
    desk = _Desk(
        limits=limits if rich else replace(limits, format=Format.TEXT),
        teller=Teller(zone=zone, now=now),
        test=test,
        external_url=external_url,
    )
    many = len(events) > 1 or message.form is Form.COUNTS
    error: str | None = None
    told = [_as_it_is(event) for event in events]
    if many:
        title, body = desk.digest(told, counts=message.form is Form.COUNTS)
    else:
        route = routes.get(message.route) if rich else None
        title, body, error = desk.single(told[0], route)
    return Rendered(
        message_id=message.id,
        title=title,
        body=body,
        format=desk.limits.format,
        urgent=all(event.kind in URGENT for event in events),
        events=tuple(cloudevent(event, test=test) for event in events),
        digest=many,
        template_error=error,
    )


def _as_it_is(event: Event) -> Event:
    """What is new is shown to people as it is by now: nobody knows how it was."""
    return event if event.present is None else replace(event, milestone=event.present)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Desk:
    """Where one message is written: for whom, when, and how much of it."""

    limits: Limits
    teller: Teller
    test: bool
    external_url: str | None

    def digest(self, events: Sequence[Event], *, counts: bool) -> tuple[str, str]:
        """Title and body for many events."""
        line = self._title(digest.headline(events, self.teller, counts=counts))
        paper = digest.Digest(
            events=events,
            teller=self.teller,
            markup=self.limits.format,
            title="" if self._has_titles else line,
            external_url=self.external_url,
        )
        text = paper.counts if counts else paper.body
        return line if self._has_titles else "", text(self.limits.body)

    def single(self, event: Event, route: Route | None) -> tuple[str, str, str | None]:
        """Title and body for one event, and why its template did not serve."""
        error: str | None = None
        if route is not None and (template := template_of(route, event.kind)):
            try:
                return *self._templated(event, template), None
            except TemplateFailed as failed:
                error = f"route {route.name}, {event.kind.value}: {failed}"
        return *self._built_in(event, self._title(self.teller.headline(event))), error

    def _built_in(self, event: Event, line: str) -> tuple[str, str]:
        page = single_event.page(
            event,
            teller=self.teller,
            markup=self.limits.format,
            title="" if self._has_titles else line,
            link=anchor(event.milestone, self.external_url),
            room=self.limits.body,
        )
        return line if self._has_titles else "", page.body(self.limits.body)

    def _templated(self, event: Event, template: Template) -> tuple[str, str]:
        values = template_values(
            event,
            teller=self.teller,
            link=link(event.milestone, self.external_url),
            test=self.test,
            limit=self.limits.body,
        )
        headline = self.teller.headline(event)
        if template.title is not None:
            words = fill_title(template.title, values)
            headline = Headline(before="", title=words)
        line = self._title(headline)
        if template.body is None:
            return self._built_in(event, line)
        body = fill_body(template.body, self.limits.format, values)
        return self._placed(line, body)

    def _placed(self, line: str, body: str) -> tuple[str, str]:
        """A user's body under its title, if it fits: foreign markup is not cut."""
        markup, room = self.limits.format, self.limits.body
        if not self._has_titles:
            gap = "" if markup is Format.HTML else "\n\n"
            body = lay_out([Row(spell((Bold(line),), markup))], markup) + gap + body
        if len(body) > room and markup is not Format.TEXT:
            raise TemplateFailed(
                f"body: gives {len(body):,} characters, the service takes {room:,}"
            )
        return line if self._has_titles else "", shorten(body, room)

    @property
    def _has_titles(self) -> bool:
        return self.limits.title > 0

    def _title(self, headline: Headline) -> str:
        """The headline as one line that fits, marked when it is a test."""
        if self.test and not headline.before.startswith(_MARK):
            headline = replace(headline, before=_MARK + headline.before)
        room = self.limits.title or min(_LONGEST_TITLE, self.limits.body // 2)
        return headline.fit(room)


def template_of(route: Route, kind: Kind) -> Template | None:
    """The route's template for that kind, else the one for every kind."""
    return route.templates.get(kind) or route.templates.get(None)


def fill_title(source: str, values: Mapping[str, object]) -> str:
    """A title from the user's template: one line of plain text, not empty."""
    try:
        words = fold(render_template(source, markup=Format.TEXT, values=values)).strip()
    except TemplateFailed as failed:
        raise TemplateFailed(f"title: {failed}") from failed
    if not words:
        raise TemplateFailed("title: prints nothing")
    return words


def fill_body(source: str, markup: Format, values: Mapping[str, object]) -> str:
    """A body from the user's template, not empty."""
    try:
        body = render_template(source, markup=markup, values=values).strip()
    except TemplateFailed as failed:
        raise TemplateFailed(f"body: {failed}") from failed
    if not body:
        raise TemplateFailed("body: prints nothing")
    return body


def anchor(milestone: Milestone, external_url: str | None) -> Anchor | None:
    """The link as a message shows it."""
    href = link(milestone, external_url)
    if href is None:
        return None
    return Anchor("Open on Kalshi" if external_url is None else "Details", href)
