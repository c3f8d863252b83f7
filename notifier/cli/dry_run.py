"""`notifier test --drill`: one marked milestone through the true routes and rules."""

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeAlias, assert_never

import anyio
from rich.table import Table
from rich.text import Text
from sqlalchemy import Connection

from notifier import logging
from notifier.cli import output
from notifier.cli.exit_codes import DONE, FAILED, USAGE, say
from notifier.cli.global_options import Given
from notifier.cli.hidden import hidden
from notifier.cli.lists import write_rows
from notifier.cli.store_view import viewing
from notifier.cli.trial import chosen_of
from notifier.cli.where import configuration, database, placing
from notifier.clock import Clock, SystemClock
from notifier.domain.batching import DestinationPolicy, capacity
from notifier.domain.circuit_breaker import DestinationState
from notifier.domain.deliveries import Message, Suppressed
from notifier.domain.dry_run import acts, kept_back, made_up
from notifier.domain.models import (
    Ambiguous,
    Delivery,
    Event,
    Failed,
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
from notifier.domain.rate_limit import window_start
from notifier.domain.routing import deliveries, route
from notifier.domain.rules import Destination, Rate, Silence
from notifier.errors import NotifierError
from notifier.kalshi.decoding import milestone as decode
from notifier.messages.humanize import span
from notifier.messages.render import render
from notifier.messages.test_message import outcome_text
from notifier.policies import destination_policy
from notifier.senders.redaction import redact
from notifier.senders.sender import open_sender
from notifier.settings.models import Settings
from notifier.storage import destination_state, due, silences
from notifier.storage import preview as store

#: A rate is waited for, but no longer than this for one message.
_PATIENCE = timedelta(seconds=60)


class NoSuchMilestone(NotifierError):
    """No milestone, or more than one, has an id that begins so."""


class Far(Protocol):
    """What the drill needs of the far end."""

    async def send(self, destination: str, message: Rendered) -> Outcome: ...
    def limits(self, destination: str) -> Limits: ...
    def default_rate(self, destination: str) -> Rate | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be acted, and for whom."""

    #: None of them: for everyone.
    names: Sequence[str] = ()
    #: The beginning of its id; None: the newest.
    milestone: str | None = None
    #: None of them: each that a route takes.
    kinds: frozenset[Kind] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What the store knows, as far as the drill depends on it."""

    milestone: Milestone
    is_made_up: bool = False
    silences: Sequence[Silence] = ()
    standings: Mapping[str, DestinationState] = field(default_factory=dict)
    #: By destination: when requests left lately that its rate counts.
    sent: Mapping[str, Sequence[datetime]] = field(default_factory=dict)
    #: By destination and route: when digests that gather will go.
    gathering: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)


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
    #: No rule keeps it back, and it did not get there.
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


def drilled(given: Given, wanted: Wanted, *, as_json: bool) -> int:
    """
    Act it, and tell what happened; 1 when somebody who should have it has it not.

    Raises: NoSuchMilestone.
    """
    config = configuration(given)
    chosen = chosen_of(config, wanted.names)
    if chosen is None:
        return USAGE
    logging.set_up(
        level=given.log_level or "warning",
        style=config.log.format.value,
        redact=logging.redacting(hidden(config), redact),
    )
    with placing(given):
        rows, scene = anyio.run(_acted, given, config, chosen, wanted, as_json)
    if as_json:
        write_rows(one.as_json() for one in rows)
    else:
        output.out().print(_headline(scene))
        output.out().print(_table(rows))
    if not rows:
        say("No route takes any of it.")
    return FAILED if any(one.failed for one in rows) else DONE


async def _acted(
    given: Given,
    config: Settings,
    chosen: Sequence[Destination],
    wanted: Wanted,
    as_json: bool,  # noqa: FBT001 - anyio.run knows no keywords
) -> tuple[list[Row], Scene]:
    clock = SystemClock()
    sender = await open_sender(
        chosen,
        # What is read by a program is not mixed with what is shown to people.
        output=sys.stderr if as_json else sys.stdout,
        clock=clock,
        may_reach=config.may_reach,
    )
    try:
        ways = {one.name: destination_policy(one, config, sender) for one in chosen}
        scene = _scene(given, wanted, ways, clock.now())
        play = Play(config=config, sender=sender, clock=clock, ways=ways, scene=scene)
        return await play.run(wanted.kinds), scene
    finally:
        await sender.aclose()


# --- what the store knows -----------------------------------------------------


def _scene(
    given: Given, wanted: Wanted, ways: Mapping[str, DestinationPolicy], now: datetime
) -> Scene:
    with ExitStack() as stack:
        conn = None
        if database(given).exists():
            conn = stack.enter_context(viewing(given))
        found = None if conn is None else _milestone(conn, wanted.milestone)
        if found is None and wanted.milestone is not None:
            raise NoSuchMilestone(f"there is no milestone {wanted.milestone!r}")
        chosen = found or made_up(now, decode)
        if conn is None:
            return Scene(milestone=chosen, is_made_up=True)
        return Scene(
            milestone=chosen,
            is_made_up=found is None,
            silences=silences.active(conn, now),
            standings={name: destination_state.load(conn, name) for name in ways},
            sent={name: _lately(conn, way, now) for name, way in ways.items()},
            gathering={name: due.digests_due(conn, name, now) for name in ways},
        )


def _milestone(conn: Connection, beginning: str | None) -> Milestone | None:
    if beginning is None:
        return store.newest(conn)
    found = store.milestones_named(conn, beginning)
    if len(found) > 1:
        named = " and ".join(one.id for one in found)
        raise NoSuchMilestone(f"{beginning} is the beginning of {named}")
    return found[0] if found else None


def _lately(conn: Connection, way: DestinationPolicy, now: datetime) -> list[datetime]:
    begin = window_start(way.rate, now)
    return [] if begin is None else destination_state.attempts_since(conn, way.name, begin, now)


# --- acting -------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Owed:
    event: Event
    delivery: Delivery


_Line: TypeAlias = "Row | _Owed"


@dataclass(kw_only=True)
class Play:
    """The drill itself; nothing is stored."""

    config: Settings
    sender: Far
    clock: Clock
    ways: Mapping[str, DestinationPolicy]
    scene: Scene

    async def run(self, kinds: Collection[Kind]) -> list[Row]:
        """Send what may be sent; all destinations at once, each in order."""
        now, routes = self.clock.now(), self.config.routes
        told = acts(self.scene.milestone, routes, kinds, now=now, decode=decode)
        lines = [line for event in told for line in self._lines(event, now)]
        owed: dict[str, list[_Owed]] = {}
        for line in lines:
            if isinstance(line, _Owed):
                owed.setdefault(line.delivery.destination, []).append(line)
        results: dict[str, Row] = {}
        async with anyio.create_task_group() as tasks:
            for name, mine in owed.items():
                tasks.start_soon(self._serve, name, mine, results)
        return [line if isinstance(line, Row) else results[line.delivery.id] for line in lines]

    def _lines(self, event: Event, now: datetime) -> list[_Line]:
        """Each route with why not, or with those whom it names."""
        found: list[_Line] = []
        traces = route(event, self.config.routes)
        owed = deliveries(
            event,
            traces,
            due_at=now,
            now=now,
            started_grace=self.config.source.started_grace,
        )
        for trace in traces:
            mine = [
                _Owed(event=event, delivery=one)
                for one in owed
                if one.route == trace.route and one.destination in self.ways
            ]
            found += mine
            if not trace.matched:
                found.append(_unmatched(event.kind, trace, trace.why))
            elif late := self._late(trace):
                found.append(_unmatched(event.kind, trace, late))
        return found

    def _late(self, trace: RouteTrace) -> str:
        """Who has it from an earlier route."""
        rule = next(one for one in self.config.routes if one.name == trace.route)
        theirs = [name for name in rule.to if name not in trace.to]
        # A trace names them in this order, after saying that it matched.
        reasons = zip(theirs, trace.why.split("; ")[1:], strict=True)
        return "; ".join(why for name, why in reasons if name in self.ways)

    async def _serve(self, name: str, owed: Sequence[_Owed], results: dict[str, Row]) -> None:
        sent = list(self.scene.sent.get(name, ()))
        broken: str | None = None
        for one in owed:
            row = self._kept(one) or self._rested(one)
            if row is None and broken is not None:
                row = _row(one, "not tried", f"after it failed: {broken}", failed=True)
            if row is None:
                row, goes_on = await self._sent(one, sent)
                broken = None if goes_on else row.why
            results[one.delivery.id] = row

    def _kept(self, one: _Owed) -> Row | None:
        """What a rule keeps back."""
        name = one.delivery.destination
        found = kept_back(
            one.event,
            one.delivery,
            self.ways[name],
            silences=self.scene.silences,
            digests_due=self.scene.gathering.get(name, {}),
            now=self.clock.now(),
        )
        if found is None:
            return None
        result = found.state.value if isinstance(found, Suppressed) else "held"
        words = found.reason
        if not words.startswith("silenced"):
            words += f" ({self._whose(one, words)})"
        return _row(one, result, words)

    def _whose(self, one: _Owed, words: str) -> str:
        """Whose rule it is: a route's own goes before its destination's."""
        rule = next(r for r in self.config.routes if r.name == one.delivery.route)
        own = rule.quiet if words.startswith("quiet") else rule.digest
        name = one.delivery.destination
        return f"of {name}" if own is None else f"of route {rule.name}"

    def _rested(self, one: _Owed) -> Row | None:
        """Why nothing is sent to the destination at all."""
        stands = self.scene.standings.get(one.delivery.destination, DestinationState())
        if stands.gone:
            how = "gone"
        elif stands.suspended_since is not None:
            how = "suspended"
        elif stands.open_since is not None:
            how = "failing"
        elif stands.paused_until is not None and stands.paused_until > self.clock.now():
            how = "paused"
        else:
            return None
        words = ": ".join(filter(None, ("not sent", stands.reason)))
        return _row(one, how, words, failed=True)

    async def _sent(self, one: _Owed, sent: list[datetime]) -> tuple[Row, bool]:
        """What became of it, and whether the next one is worth a try."""
        way = self.ways[one.delivery.destination]
        waited = await self._slot(way, sent)
        if waited is None:
            words = f"not sent: {_rate(way)} used up for more than {span(_PATIENCE)}"
            return _row(one, "limited", words, failed=True), False
        message = self._message(one)
        begun = self.clock.monotonic()
        outcome = await self.sender.send(way.name, message)
        seconds = self.clock.monotonic() - begun
        sent.append(self.clock.now())
        words = "" if isinstance(outcome, Sent) else outcome_text(outcome, message)
        if isinstance(outcome, Sent) and message.template_error is not None:
            words = f"but the template failed: {message.template_error}"
        if waited > timedelta(0):
            late = f"after {span(waited)}: {_rate(way)} was used up"
            words = "; ".join(filter(None, (late, words)))
        row = Row(
            kind=one.event.kind,
            route=one.delivery.route,
            destination=way.name,
            result=_result(outcome),
            why=words or None,
            status=None if isinstance(outcome, Ambiguous) else outcome.status,
            seconds=seconds,
            failed=not isinstance(outcome, Sent),
        )
        return row, _is_alive(outcome)

    async def _slot(self, way: DestinationPolicy, sent: list[datetime]) -> timedelta | None:
        """Wait until the rate allows one more; None: that takes too long."""
        waited = timedelta(0)
        while True:
            now = self.clock.now()
            begin = window_start(way.rate, now)
            recent = [at for at in sent if begin is not None and at > begin]
            room = capacity(way, DestinationState(), recent, now)
            if room.now:
                return waited
            waited += room.wait
            if waited > _PATIENCE:
                return None
            await self.clock.sleep(room.wait.total_seconds())

    def _message(self, one: _Owed) -> Rendered:
        name = one.delivery.destination
        destination = self._destination(name)
        return render(
            Message.of_event(one.event, destination=name, route=one.delivery.route),
            [one.event],
            routes={rule.name: rule for rule in self.config.routes},
            limits=self.sender.limits(name),
            zone=destination.zone,
            now=self.clock.now(),
            test=True,
            external_url=self.config.external_url,
        )

    def _destination(self, name: str) -> Destination:
        return next(one for one in self.config.destinations if one.name == name)


def _unmatched(kind: Kind, trace: RouteTrace, why: str) -> Row:
    result = "told already" if trace.matched else "not matched"
    return Row(kind=kind, route=trace.route, destination=None, result=result, why=why)


def _row(one: _Owed, result: str, why: str, *, failed: bool = False) -> Row:
    return Row(
        kind=one.event.kind,
        route=one.delivery.route,
        destination=one.delivery.destination,
        result=result,
        why=why,
        failed=failed,
    )


def _result(outcome: Outcome) -> str:
    match outcome:
        case Sent():
            return "sent"
        case Failed():
            return "failed"
        case Ambiguous():
            return "no answer"
        case Refused():
            return "refused"
        case _:
            assert_never(outcome)


def _is_alive(outcome: Outcome) -> bool:
    """Whether the destination would take another message."""
    match outcome:
        case Sent():
            return True
        case Refused(scope=scope):
            return scope is Scope.MESSAGE
        case _:
            return False


def _rate(way: DestinationPolicy) -> str:
    """`10 in 1 min`."""
    rate = way.rate
    return "" if rate is None else f"its rate of {rate.count:,} in {span(rate.per)}"


# --- results ------------------------------------------------------------------

_STYLES = {
    "sent": "green",
    "held": "yellow",
    State.DROPPED.value: "yellow",
    State.EXPIRED.value: "yellow",
    "not matched": "dim",
    "told already": "dim",
}


def _headline(scene: Scene) -> Text:
    if scene.is_made_up:
        return Text("Acted with a made-up milestone, for the store has none:\n")
    one = scene.milestone
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
