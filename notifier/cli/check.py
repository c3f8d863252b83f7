"""`notifier check`."""

from datetime import timedelta

from rich.table import Table
from rich.text import Text

from notifier.cli import screen
from notifier.cli.ending import DONE, MISCONFIGURED, say
from notifier.cli.given import Given
from notifier.cli.where import configuration
from notifier.config import Config, Source
from notifier.core.model import Match, Route
from notifier.core.words import span
from notifier.sender.address import scheme_of
from notifier.sender.sender import check as unusable


def check(given: Given) -> int:
    """
    Print what a configuration comes to.

    Raises: ConfigError with every problem in it.
    """
    config = configuration(given)
    if problems := unusable(config.destinations):
        for problem in problems:
            say(f"{config.path or '(no file)'}: {problem}")
        return MISCONFIGURED
    console = screen.out()
    console.print(_facts(config))
    for table in (_destinations(config), _routes(config)):
        console.print()
        console.print(table)
    return DONE


def _facts(config: Config) -> Table:
    source, facts = config.source, screen.facts()
    name = "no file: the defaults" if config.path is None else str(config.path)
    facts.add_row("configuration", Text(f"{name}: right"))
    facts.add_row("database", config.store.removeprefix("sqlite:///"))
    facts.add_row("reads", source.base_url)
    facts.add_row("", _cadence(source))
    for watch in source.watch:
        facts.add_row("watched", watch.name)
    facts.add_row("times in", config.zone.key)
    return facts


def _cadence(source: Source) -> str:
    return (
        f"polled every {span(source.poll_every)}, swept every "
        f"{span(source.sweep_every)}, read in full every {span(source.full_read_every)}"
    )


def _destinations(config: Config) -> Table:
    table = screen.table("Destination", "Service", "Format", "Zone")
    for one in config.destinations:
        style = "as it likes" if one.format is None else one.format.value
        table.add_row(one.name, scheme_of(one.url), style, one.zone.key)
    return table


def _routes(config: Config) -> Table:
    table = screen.table("Route", "To", "Reminders", "Which events", loose=("Which events", "To"))
    for route in config.routes:
        table.add_row(
            route.name,
            Text(", ".join(route.to)),
            ", ".join(_short(lead) for lead in route.reminders),
            screen.foreign(_which(route)),
        )
    return table


def _short(lead: timedelta) -> str:
    return span(lead)


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
