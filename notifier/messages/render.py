"""
A message's events -> title and body, ready to be sent.

A single event is rendered by the operator's template, else by the built-in text; several events
become a digest. Where a service has no titles (`limits.title` is 0), the title opens the body in
bold. Nothing here fails because of what Kalshi or a template says.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from notifier.domain.models import URGENT, Event, Format, Limits, Rendered
from notifier.domain.outgoing import Message, RenderLevel
from notifier.domain.rules import Route, Template
from notifier.messages.cloudevents import cloudevent, link
from notifier.messages.digest import Digest, digest_headline
from notifier.messages.escaping import (
    Anchor,
    Bold,
    TextRow,
    fold,
    format_line,
    lay_out,
    shorten,
)
from notifier.messages.event_text import EventFormatter, Headline
from notifier.messages.single_event import single_body
from notifier.messages.templates import TemplateFailed, render_template, template_values

#: Characters of a title in the body of a service without titles.
_MAX_TITLE = 250
_TEST_MARK = "[TEST] "


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
    Render the message as text for people and as CloudEvents for machines.

    `events` come in the order in which they are shown; more than one make a digest. A level
    after a refusal is plainer: no markup, no template, and at last only counts.
    """
    is_rich = message.level is RenderLevel.RICH
    context = _RenderContext(
        limits=limits if is_rich else replace(limits, format=Format.TEXT),
        formatter=EventFormatter(zone=zone, now=now),
        test=test,
        external_url=external_url,
    )
    is_digest = len(events) > 1 or message.level is RenderLevel.COUNTS
    error: str | None = None
    # An event of a milestone that has changed since shows the milestone of today.
    shown = [
        event if event.present is None else replace(event, milestone=event.present)
        for event in events
    ]
    if is_digest:
        title, body = context.digest(shown, counts=message.level is RenderLevel.COUNTS)
    else:
        route = routes.get(message.route) if is_rich else None
        title, body, error = context.single(shown[0], route)
    return Rendered(
        message_id=message.id,
        title=title,
        body=body,
        format=context.limits.format,
        urgent=all(event.kind in URGENT for event in events),
        events=tuple(cloudevent(event, test=test) for event in events),
        digest=is_digest,
        template_error=error,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _RenderContext:
    """For whom, when and within which limits one message is rendered."""

    limits: Limits
    formatter: EventFormatter
    test: bool
    external_url: str | None

    def digest(self, events: Sequence[Event], *, counts: bool) -> tuple[str, str]:
        """Title and body of several events."""
        line = self._fit(digest_headline(events, self.formatter, counts=counts))
        digest = Digest(
            events=events,
            formatter=self.formatter,
            markup=self.limits.format,
            title="" if self.limits.title else line,
            external_url=self.external_url,
        )
        body = digest.counts if counts else digest.body
        return line if self.limits.title else "", body(self.limits.body)

    def single(self, event: Event, route: Route | None) -> tuple[str, str, str | None]:
        """Title and body of one event, and why its template failed."""
        error: str | None = None
        template = None
        if route is not None:
            template = None if route.template is None else route.template.by_kind(event.kind)
        if route is not None and template is not None:
            try:
                return *self._templated(event, template), None
            except TemplateFailed as failed:
                error = f"route {route.name}, {event.kind.value}: {failed}"
        return *self._built_in(event, self.formatter.headline(event)), error

    def _built_in(self, event: Event, headline: Headline) -> tuple[str, str]:
        line = self._fit(headline)
        address = link(event.milestone, self.external_url)
        words = "Open on Kalshi" if self.external_url is None else "Details"
        body = single_body(
            event,
            formatter=self.formatter,
            markup=self.limits.format,
            title="" if self.limits.title else line,
            link=None if address is None else Anchor(words, address),
            limit=self.limits.body,
        )
        return line if self.limits.title else "", body

    def _templated(self, event: Event, template: Template) -> tuple[str, str]:
        """As the operator's template says; markup of their own is never cut."""
        values = template_values(
            event,
            formatter=self.formatter,
            link=link(event.milestone, self.external_url),
            test=self.test,
            limit=self.limits.body,
        )
        headline = self.formatter.headline(event)
        if template.title is not None:
            title = _filled("title", template.title, Format.TEXT, values)
            headline = Headline(before="", title=title)
        if template.body is None:
            return self._built_in(event, headline)
        markup, limit = self.limits.format, self.limits.body
        line = self._fit(headline)
        body = _filled("body", template.body, markup, values)
        if not self.limits.title:
            gap = "" if markup is Format.HTML else "\n\n"
            body = lay_out([TextRow(format_line((Bold(line),), markup))], markup) + gap + body
        if len(body) > limit and markup is not Format.TEXT:
            raise TemplateFailed(
                f"body: gives {len(body):,} characters, the service takes {limit:,}"
            )
        return line if self.limits.title else "", shorten(body, limit)

    def _fit(self, headline: Headline) -> str:
        """The headline as one line that fits, marked if it is a test."""
        if self.test and not headline.before.startswith(_TEST_MARK):
            headline = replace(headline, before=_TEST_MARK + headline.before)
        return headline.fit(self.limits.title or min(_MAX_TITLE, self.limits.body // 2))


def _filled(part: str, source: str, markup: Format, values: Mapping[str, object]) -> str:
    """A title (one line) or a body from the template, not empty."""
    try:
        text = render_template(source, markup=markup, values=values)
    except TemplateFailed as failed:
        raise TemplateFailed(f"{part}: {failed}") from failed
    text = (fold(text) if part == "title" else text).strip()
    if not text:
        raise TemplateFailed(f"{part}: prints nothing")
    return text
