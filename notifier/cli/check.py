"""`notifier check`."""

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from notifier.cli import output
from notifier.cli.exit_codes import DONE, say
from notifier.cli.options import Options
from notifier.cli.where import configuration, unusable
from notifier.domain.models import Kind
from notifier.domain.rules import DigestPolicy, Match, QuietPolicy, Route, Then
from notifier.errors import ConfigError
from notifier.messages.humanize import span
from notifier.messages.templates import check_template
from notifier.senders.sender import scheme_of
from notifier.settings.models import Egress, Settings, SourceSettings

_EGRESS = {
    Egress.ANY: "any address but link-local ones and clouds' metadata",
    Egress.PUBLIC: "public addresses only, through no proxy",
}
_THEIRS = "its destinations'"


def check(options: Options) -> int:
    """
    Print what a configuration comes to.

    Raises: SettingsError with every problem in it.
    """
    try:
        found = configuration(options)
    except ConfigError as exc:
        raise ConfigError([*exc.problems, *unusable(options)]) from None
    if problems := [*unusable(options), *_wrong_templates(found)]:
        raise ConfigError(problems)
    console = output.out()
    console.print(_facts(found))
    for table in (_destinations(found), _routes(found)):
        console.print()
        console.print(table)
    _warn(found)
    return DONE


def _wrong_templates(found: Settings) -> Iterator[str]:
    """Templates that would fail, and have the built-in message sent instead."""
    for route in found.routes:
        if (template := route.template) is None:
            continue
        by_kind = [(None, template), *((kind, getattr(template, kind.value)) for kind in Kind)]
        for kind, one in by_kind:
            if one is not None and (problem := check_template(one, kind=kind)):
                yield f"{found.path}: routes.{route.name}.template: {problem}"


def _facts(found: Settings) -> Table:
    source, facts = found.source, output.facts()
    name = "no file: the defaults" if found.path is None else str(found.path)
    facts.add_row("configuration", Text(f"{name}: right"))
    facts.add_row("database", found.store.removeprefix("sqlite:///"))
    facts.add_row("reads", source.base_url)
    facts.add_row("", _cadence(source))
    for watch in source.watches:
        live = ", and live data asked" if watch.live else ""
        facts.add_row("watched", f"{watch.name}{live}")
    facts.add_row("times in", found.timezone.key)
    facts.add_row("sends to", _EGRESS[found.egress])
    nobody = "nobody: only the log says what is wrong"
    facts.add_row("operator", ", ".join(found.operator.to) or nobody)
    return facts


def _cadence(source: SourceSettings) -> str:
    return (
        f"polled every {span(source.poll_every)}, swept every "
        f"{span(source.sweep_every)}, read in full every {span(source.full_read_every)}"
    )


def _warn(found: Settings) -> None:
    reached = {*found.operator.to, *(name for route in found.routes for name in route.to)}
    for one in found.destinations:
        if one.name not in reached:
            say(f"warning: nothing goes to {one.name}: no route names it, nor operator")


def _destinations(found: Settings) -> Table:
    table = output.table(
        *("Destination", "Service", "Format", "Zone", "Quiet hours", "Digest"),
        "No answer",
        loose=("Destination", "Zone", "Quiet hours", "Digest"),
    )
    for one in found.destinations:
        style = "as it likes" if one.format is None else one.format.value
        table.add_row(
            one.name,
            scheme_of(one.url),
            style,
            one.zone.key,
            output.folding(_quiet(one.quiet)),
            output.folding(_digest(one.digest)),
            "drop" if one.drop_ambiguous else "retry",
        )
    return table


def _routes(found: Settings) -> Table:
    own = any(route.quiet or route.digest for route in found.routes)
    table = output.table(
        *("Route", "To", "Reminders", "Which events"),
        *(("Quiet hours", "Digest") if own else ()),
        loose=("Which events", "To", "Quiet hours", "Digest"),
    )
    for route in found.routes:
        quiet = _quiet(route.quiet) if route.quiet else _THEIRS
        digest = _digest(route.digest) if route.digest else _THEIRS
        table.add_row(
            route.name,
            output.folding(", ".join(route.to)),
            output.folding(", ".join(span(lead) for lead in route.reminders)),
            output.folding(_which(route)),
            *(map(output.folding, (quiet, digest)) if own else ()),
        )
    return table


def _quiet(policy: QuietPolicy | None) -> str:
    """`Mon-Fri 22:00-07:00 Europe/Paris, then deliver, but started passes`."""
    if policy is None or not policy.windows:
        return "off"
    zone = "" if policy.zone is None else f" {policy.zone.key}"
    kinds = [kind.value for kind in Kind if kind in policy.let_pass]
    verb = "passes" if len(kinds) == 1 else "pass"
    passing = f", {' and '.join(kinds)} {verb}" if kinds else ""
    dropping = policy.then is Then.DROP
    then = "dropped at once" if dropping else f"then {policy.then.value}"
    hours = " and ".join(map(str, policy.windows))
    return f"{hours}{zone}, {then}{passing}"


def _digest(policy: DigestPolicy) -> str:
    """`over 10, daily at 08:00`."""
    parts = [] if policy.over is None else [f"over {policy.over:,}"]
    if policy.at is not None:
        parts.append(f"daily at {policy.at:%H:%M}")
    elif policy.window is not None:
        parts.append(f"after {span(policy.window)}")
    return ", ".join(parts) or "off"


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
