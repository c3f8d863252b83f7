"""`notifier test`: a test message to each destination; `--drill`: one milestone by the routes."""

import sys
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

import anyio
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from notifier import logging
from notifier.cli import output
from notifier.cli.exit_codes import DONE, FAILED, USAGE, say
from notifier.cli.hidden import hidden
from notifier.cli.lists import write_rows
from notifier.cli.options import Options
from notifier.cli.store_view import viewing
from notifier.cli.where import configuration, database, placing
from notifier.clock import Clock, SystemClock
from notifier.domain.batching import DestinationPolicy, capacity, destination_policy
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.dry_run import dry_run_events, held_back
from notifier.domain.models import (
    Ambiguous,
    Delivery,
    Event,
    Json,
    Kind,
    Limits,
    Milestone,
    Outcome,
    Refused,
    Rendered,
    RouteTrace,
    Scope,
    Sent,
    State,
)
from notifier.domain.outgoing import Suppressed
from notifier.domain.rate_limit import window_start
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Destination, Rate, Silence
from notifier.domain.sample import sample_milestone
from notifier.domain.suggestions import suggest
from notifier.errors import NotifierError
from notifier.messages.humanize import span
from notifier.messages.test_message import outcome_text, render_test, sample_message
from notifier.senders.redaction import redact
from notifier.senders.sender import DestinationSender, open_sender, scheme_of
from notifier.settings.models import Settings
from notifier.storage import admin, destination_state, due, preview

#: The longest wait for the rate of a destination.
_MAX_WAIT = timedelta(seconds=60)


class NoSuchMilestone(NotifierError):
    """No milestone, or more than one, has an id that begins so."""


def send_tests(options: Options, names: Sequence[str]) -> int:
    """Send a test message to these destinations, or to all; print what they answered."""
    prepared = _prepare(options, names)
    if prepared is None:
        return USAGE
    config, chosen = prepared
    with placing(options):
        results = anyio.run(_send_to_all, config, chosen)
    table = output.table("Destination", "Service", "Result", loose=("Result",))
    for one in chosen:
        outcome, message = results[one.name]
        style = "green" if isinstance(outcome, Sent) else "bold red"
        text = output.folding(outcome_text(outcome, message), style)
        table.add_row(one.name, scheme_of(one.url), text)
    output.out().print(table)
    return DONE if all(isinstance(outcome, Sent) for outcome, _ in results.values()) else FAILED


def _prepare(options: Options, names: Sequence[str]) -> tuple[Settings, list[Destination]] | None:
    """The configuration and the destinations of these names; None: some name is unknown."""
    config = configuration(options)
    known = {one.name: one for one in config.destinations}
    unknown = [name for name in names if name not in known]
    for name in unknown:
        advice = suggest(name, known) or f"there are {', '.join(known)}"
        say(f"notifier: {name!r} is no destination; {advice}")
    logging.set_up(
        level=options.log_level or "warning",
        style=config.log.format.value,
        redact=logging.redactor(hidden(config), redact),
    )
    chosen = [known[name] for name in dict.fromkeys(names or known) if name in known]
    return None if unknown else (config, chosen)


@asynccontextmanager
async def _opened(
    config: Settings, chosen: Sequence[Destination], clock: Clock, *, to_stderr: bool = False
) -> AsyncIterator[DestinationSender]:
    sender = await open_sender(
        chosen,
        # Rows for programs are not mixed with messages on the terminal.
        output=sys.stderr if to_stderr else sys.stdout,
        clock=clock,
        may_reach=config.may_reach,
    )
    try:
        yield sender
    finally:
        await sender.aclose()


async def _send_to_all(
    config: Settings, chosen: Sequence[Destination]
) -> Mapping[str, tuple[Outcome, Rendered]]:
    clock = SystemClock()
    results: dict[str, tuple[Outcome, Rendered]] = {}
    async with _opened(config, chosen, clock) as sender:

        async def send(one: Destination) -> None:
            message = sample_message(
                one,
                config.routes,
                limits=sender.limits(one.name),
                now=clock.now(),
                external_url=config.external_url,
            )
            results[one.name] = (await sender.send(one.name, message), message)

        async with anyio.create_task_group() as tasks:
            for one in chosen:
                tasks.start_soon(send, one)
    return results


# --- dry run --------------------------------------------------------------------


class DryRunSender(Protocol):
    """What a dry run needs of the senders."""

    async def send(self, destination: str, message: Rendered) -> Outcome: ...
    def limits(self, destination: str) -> Limits: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of one kind at one route and destination."""

    kind: Kind
    route: str
    #: None: the route does not take it.
    destination: str | None
    result: str
    why: str | None = None
    status: int | None = None
    seconds: float | None = None
    #: It was not delivered, and no rule holds it back.
    failed: bool = False

    def as_json(self) -> dict[str, Json]:
        """The row as it is documented."""
        return {
            "kind": self.kind.value,
            "route": self.route,
            "destination": self.destination,
            "result": self.result,
            "why": self.why,
            "status": self.status,
            "seconds": None if self.seconds is None else round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a dry run takes from the database."""

    milestone: Milestone
    is_made_up: bool = False
    silences: Sequence[Silence] = ()
    states: Mapping[str, DestinationState] = field(default_factory=dict)
    #: By destination: the recent requests that its rate counts.
    sent: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    #: By destination and route: when digests that gather are due.
    digests_due: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)


def dry_run(
    options: Options,
    names: Sequence[str],
    *,
    milestone: str | None,
    kinds: Collection[Kind],
    as_json: bool,
) -> int:
    """
    Send one milestone, marked as a test, by the routes; 1 if a destination did not get it.

    Raises:
        NoSuchMilestone: no milestone, or more than one, has this id.

    """
    prepared = _prepare(options, names)
    if prepared is None:
        return USAGE
    config, chosen = prepared

    async def run() -> tuple[list[Row], Situation]:
        clock = SystemClock()
        async with _opened(config, chosen, clock, to_stderr=as_json) as sender:
            policies = {
                one.name: destination_policy(
                    one, config.routes, one.rate or sender.default_rate(one.name)
                )
                for one in chosen
            }
            situation = _situation(options, milestone, policies, clock.now())
            run = DryRun(
                config=config,
                sender=sender,
                clock=clock,
                policies=policies,
                situation=situation,
            )
            return await run.rows(kinds), situation

    with placing(options):
        rows, situation = anyio.run(run)
    if as_json:
        write_rows(one.as_json() for one in rows)
    else:
        output.out().print(_headline(situation))
        output.out().print(_table(rows))
    if not rows:
        say("No route takes any of it.")
    return FAILED if any(one.failed for one in rows) else DONE


def _situation(
    options: Options,
    milestone_id: str | None,
    policies: Mapping[str, DestinationPolicy],
    now: datetime,
) -> Situation:
    with ExitStack() as stack:
        if not database(options).exists():
            if milestone_id is not None:
                raise NoSuchMilestone(f"there is no milestone {milestone_id!r}")
            return Situation(milestone=sample_milestone(now), is_made_up=True)
        conn = stack.enter_context(viewing(options))
        found = _milestone(conn, milestone_id)

        def sent(policy: DestinationPolicy) -> list[datetime]:
            begin = window_start(policy.rate, now)
            if begin is None:
                return []
            return destination_state.attempts_since(conn, policy.name, begin, now)

        return Situation(
            milestone=found or sample_milestone(now),
            is_made_up=found is None,
            silences=admin.active_silences(conn, now),
            states={name: destination_state.load(conn, name) for name in policies},
            sent={name: sent(policy) for name, policy in policies.items()},
            digests_due={name: due.digests_due(conn, name, now) for name in policies},
        )


def _milestone(conn: Connection, beginning: str | None) -> Milestone | None:
    if beginning is None:
        return preview.newest(conn)
    found = preview.milestones_named(conn, beginning)
    if not found:
        raise NoSuchMilestone(f"there is no milestone {beginning!r}")
    if len(found) > 1:
        named = " and ".join(one.id for one in found)
        raise NoSuchMilestone(f"{beginning} is the beginning of {named}")
    return found[0]


@dataclass(kw_only=True)
class DryRun:
    """One dry run; nothing of it is stored."""

    config: Settings
    sender: DryRunSender
    clock: Clock
    policies: Mapping[str, DestinationPolicy]
    situation: Situation

    async def rows(self, kinds: Collection[Kind]) -> list[Row]:
        """Send what may leave, to all destinations at once, in order for each."""
        now, routes = self.clock.now(), self.config.routes
        lines: list[Row | Delivery] = []
        events: dict[str, Event] = {}
        for event in dry_run_events(self.situation.milestone, routes, kinds, now=now):
            events[event.id] = event
            lines += self._lines(event, now)
        owed: dict[str, list[Delivery]] = {}
        for line in lines:
            if isinstance(line, Delivery):
                owed.setdefault(line.destination, []).append(line)
        results: dict[str, Row] = {}
        async with anyio.create_task_group() as tasks:
            for name, mine in owed.items():
                tasks.start_soon(self._serve, name, mine, events, results)
        return [line if isinstance(line, Row) else results[line.id] for line in lines]

    def _lines(self, event: Event, now: datetime) -> list[Row | Delivery]:
        """For each route its deliveries, or why it has none."""
        traces = route(event, self.config.routes)
        owed = deliveries(
            event, traces, due_at=now, now=now, started_grace=self.config.source.started_grace
        )
        lines: list[Row | Delivery] = []
        for trace in traces:
            lines += [
                one for one in owed if one.route == trace.route and one.destination in self.policies
            ]
            why = self._served_before(trace) if trace.matched else trace.why
            if why:
                result = "told already" if trace.matched else "not matched"
                lines.append(
                    Row(
                        kind=event.kind, route=trace.route, destination=None, result=result, why=why
                    )
                )
        return lines

    def _served_before(self, trace: RouteTrace) -> str:
        """Which of the route's destinations an earlier route serves."""
        rule = next(one for one in self.config.routes if one.name == trace.route)
        others = [name for name in rule.to if name not in trace.to]
        # The trace gives the reasons in this order, after saying that it matched.
        reasons = zip(others, trace.why.split("; ")[1:], strict=True)
        return "; ".join(why for name, why in reasons if name in self.policies)

    async def _serve(
        self,
        name: str,
        owed: Sequence[Delivery],
        events: Mapping[str, Event],
        results: dict[str, Row],
    ) -> None:
        sent = list(self.situation.sent.get(name, ()))
        failure: str | None = None
        for one in owed:
            event = events[one.event_id]
            row = self._held_back(event, one) or self._not_sent(one)
            if row is None and failure is not None:
                row = _row(one, "not tried", f"after it failed: {failure}", failed=True)
            if row is None:
                row, goes_on = await self._send(event, one, sent)
                failure = None if goes_on else row.why
            results[one.id] = row

    def _held_back(self, event: Event, one: Delivery) -> Row | None:
        found = held_back(
            event,
            one,
            self.policies[one.destination],
            silences=self.situation.silences,
            digests_due=self.situation.digests_due.get(one.destination, {}),
            now=self.clock.now(),
        )
        if found is None:
            return None
        why = found.reason
        if not why.startswith("silenced"):
            # A route's own rule goes before that of its destination.
            rule = next(r for r in self.config.routes if r.name == one.route)
            own = rule.quiet if why.startswith("quiet") else rule.digest
            why += f" (of {one.destination})" if own is None else f" (of route {rule.name})"
        result = found.state.value if isinstance(found, Suppressed) else "held"
        return _row(one, result, why)

    def _not_sent(self, one: Delivery) -> Row | None:
        """Why nothing at all is sent to the destination."""
        state = self.situation.states.get(one.destination, DestinationState())
        if state.gone:
            result = "gone"
        elif state.suspended_since is not None:
            result = "suspended"
        elif state.open_since is not None:
            result = "failing"
        elif state.paused_until is not None and state.paused_until > self.clock.now():
            result = "paused"
        else:
            return None
        why = ": ".join(filter(None, ("not sent", state.reason)))
        return _row(one, result, why, failed=True)

    async def _send(self, event: Event, one: Delivery, sent: list[datetime]) -> tuple[Row, bool]:
        """The result, and whether the destination would take another message."""
        policy = self.policies[one.destination]
        waited = await self._wait_for_rate(policy, sent)
        if waited is None:
            why = f"not sent: {_rate(policy)} used up for more than {span(_MAX_WAIT)}"
            return _row(one, "limited", why, failed=True), False
        message = render_test(
            event,
            next(each for each in self.config.destinations if each.name == one.destination),
            self.config.routes,
            route=one.route,
            limits=self.sender.limits(one.destination),
            now=self.clock.now(),
            external_url=self.config.external_url,
        )
        begun = self.clock.monotonic()
        outcome = await self.sender.send(one.destination, message)
        seconds = self.clock.monotonic() - begun
        sent.append(self.clock.now())
        why = "" if isinstance(outcome, Sent) else outcome_text(outcome, message)
        if isinstance(outcome, Sent) and message.template_error is not None:
            why = f"but the template failed: {message.template_error}"
        if waited > timedelta(0):
            late = f"after {span(waited)}: {_rate(policy)} was used up"
            why = "; ".join(filter(None, (late, why)))
        result = "no answer" if isinstance(outcome, Ambiguous) else type(outcome).__name__.lower()
        is_alive = isinstance(outcome, Sent) or (
            isinstance(outcome, Refused) and outcome.scope is Scope.MESSAGE
        )
        row = Row(
            kind=event.kind,
            route=one.route,
            destination=one.destination,
            result=result,
            why=why or None,
            status=None if isinstance(outcome, Ambiguous) else outcome.status,
            seconds=seconds,
            failed=not isinstance(outcome, Sent),
        )
        return row, is_alive

    async def _wait_for_rate(
        self, policy: DestinationPolicy, sent: list[datetime]
    ) -> timedelta | None:
        """Wait until the rate allows one more; None: that takes too long."""
        waited = timedelta(0)
        while True:
            now = self.clock.now()
            begin = window_start(policy.rate, now)
            recent = [at for at in sent if begin is not None and at > begin]
            room = capacity(policy, DestinationState(), recent, now)
            if room.now:
                return waited
            waited += room.wait
            if waited > _MAX_WAIT:
                return None
            await self.clock.sleep(room.wait.total_seconds())


def _row(one: Delivery, result: str, why: str, *, failed: bool = False) -> Row:
    return Row(
        kind=one.kind,
        route=one.route,
        destination=one.destination,
        result=result,
        why=why,
        failed=failed,
    )


def _rate(policy: DestinationPolicy) -> str:
    """`its rate of 10 in 1 min`."""
    rate = policy.rate or Rate(count=0, per=timedelta(0))
    return f"its rate of {rate.count:,} in {span(rate.per)}"


_STYLES = {
    "sent": "green",
    "held": "yellow",
    State.DROPPED.value: "yellow",
    State.EXPIRED.value: "yellow",
    "not matched": "dim",
    "told already": "dim",
}


def _headline(situation: Situation) -> Text:
    if situation.is_made_up:
        return Text("Acted with a made-up milestone, for the store has none:\n")
    one = situation.milestone
    what = f"({one.category}, {one.type}, {one.id})"
    return output.folding(f"Acted with {one.title} {what}:") + Text("\n")


def _table(rows: Sequence[Row]) -> Table:
    table = output.table(
        *("Kind", "Route", "Destination", "Result", "Seconds", "Why"),
        loose=("Route", "Destination", "Why"),
    )
    before: Kind | None = None
    for one in rows:
        status = "" if one.status is None else f" {one.status}"
        table.add_row(
            Text("") if one.kind is before else output.kind(one.kind.value),
            output.foreign(one.route),
            output.foreign(one.destination or ""),
            Text(one.result + status, style=_STYLES.get(one.result, "bold red")),
            "" if one.seconds is None else f"{one.seconds:.2f}",
            output.folding(one.why or ""),
        )
        before = one.kind
    return table
