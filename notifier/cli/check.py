"""`notifier check`."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from notifier.cli import screen
from notifier.cli.ending import DONE
from notifier.cli.given import Given
from notifier.cli.where import configuration, unusable
from notifier.config import Config, Egress, Source
from notifier.core.model import Match, Route
from notifier.core.trial import check_template
from notifier.core.words import span
from notifier.errors import ConfigError
from notifier.sender.address import scheme_of

_EGRESS = {
    Egress.ANY: "any address but link-local ones and clouds' metadata",
    Egress.PUBLIC: "public addresses only, through no proxy",
}


def check(given: Given) -> int:
    """
    Print what a configuration comes to.

    Raises: ConfigError with every problem in it.
    """
    try:
        found = configuration(given)
    except ConfigError as exc:
        raise ConfigError([*exc.problems, *unusable(given)]) from None
    if problems := [*unusable(given), *_wrong_templates(found)]:
        raise ConfigError(problems)
    console = screen.out()
    console.print(_facts(found))
    for table in (_destinations(found), _routes(found)):
        console.print()
        console.print(table)
    return DONE


def _wrong_templates(found: Config) -> Iterator[str]:
    """Templates that would fail, and have the built-in message sent instead."""
    for route in found.routes:
        for kind, template in route.templates.items():
            if problem := check_template(template, kind=kind):
                yield f"{found.path}: routes.{route.name}.template: {problem}"


def _facts(found: Config) -> Table:
    source, facts = found.source, screen.facts()
    name = "no file: the defaults" if found.path is None else str(found.path)
    facts.add_row("configuration", Text(f"{name}: right"))
    facts.add_row("database", found.store.removeprefix("sqlite:///"))
    facts.add_row("reads", source.base_url)
    facts.add_row("", _cadence(source))
    for watch in source.watch:
        facts.add_row("watched", watch.name)
    facts.add_row("times in", found.zone.key)
    facts.add_row("sends to", _EGRESS[found.egress])
    return facts


def _cadence(source: Source) -> str:
    return (
        f"polled every {span(source.poll_every)}, swept every "
        f"{span(source.sweep_every)}, read in full every {span(source.full_read_every)}"
    )


def _destinations(found: Config) -> Table:
    table = screen.table("Destination", "Service", "Format", "Zone")
    for one in found.destinations:
        style = "as it likes" if one.format is None else one.format.value
        table.add_row(one.name, scheme_of(one.url), style, one.zone.key)
    return table


def _routes(found: Config) -> Table:
    table = screen.table(
        "Route", "To", "Reminders", "Which events", loose=("Which events", "To")
    )
    for route in found.routes:
        table.add_row(
            route.name,
            Text(", ".join(route.to)),
            ", ".join(span(lead) for lead in route.reminders),
            screen.foreign(_which(route)),
        )
    return table


def _which(route: Route) -> str:
    """A route's predicate in a line."""
    ends = ["and no route after it"] if route.stop else []
    return "; ".join([*_conditions(route.match), *ends]) or "all"


def _conditions(match: Match) -> list[str]:
    found = []
    if match.events:
        found.append(", ".join(sorted(kind.value for kind in match.events)))
    found += [f"{key}: {' or '.join(patterns)}" for key, patterns in match.fields]
    if match.changed:
        found.append(f"changed: {' or '.join(match.changed)}")
    return found
