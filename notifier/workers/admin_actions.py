"""
What a person can have done, by a command or by the web; each leaves a row in the audit.

A deed and its row are one transaction. Whoever is woken by it is woken at once.
"""

import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import TypeVar

import anyio
import structlog

from notifier.clock import Clock
from notifier.domain.auth import AuditEntry, Principal, Token, TokenKind
from notifier.domain.models import Json, Outcome, Rendered, Sent
from notifier.domain.pagination import MOST_ROWS, DeadFilter, DeadLetters, Redriven, RowJson, parts
from notifier.domain.rules import Destination, Route, Silence
from notifier.domain.silences import create_silence, format_keys, keys_of, unknown_destinations
from notifier.errors import BadWish, NotifierError
from notifier.messages.test_message import outcome_text, sample_message
from notifier.storage import admin, dead_letters
from notifier.storage.database import Connection, Database, Priority
from notifier.workers.dispatcher import Sender
from notifier.workers.watchdog import Watchdog

log = structlog.get_logger()

T = TypeVar("T")
#: The principal of commands that arrive on the admin socket.
COMMAND = Principal(name="command")
#: Tests of one destination lie so far apart: nobody's finger may flood it.
_BETWEEN_TESTS_S = 10.0
#: Dead letters are not looked for longer.
_PATIENCE_S = 5.0


class Refused(NotifierError):
    """It is not done; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """How a test goes out: its message by destination, and what sends it."""

    destinations: Sequence[str]
    message: Callable[[str], Rendered]
    send: Callable[[str, Rendered], Awaitable[Outcome]]


def trial(
    destinations: Sequence[Destination],
    routes: Sequence[Route],
    sender: Sender,
    clock: Clock,
    external_url: str | None,
) -> Trial:
    """Test messages to these destinations, as the sender sends them."""
    known = {one.name: one for one in destinations}

    def message(name: str) -> Rendered:
        return sample_message(
            known[name],
            routes,
            limits=sender.limits(name),
            now=clock.now(),
            external_url=external_url,
        )

    return Trial(
        destinations=tuple(known),
        message=message,
        send=partial(sender.send, delivered_to=frozenset()),
    )


@dataclass(slots=True, kw_only=True)
class Deeds:
    """The deeds of one running service."""

    db: Database
    clock: Clock
    #: A person says that a destination can be sent to again.
    wake: Callable[[str], None]
    #: There may be something to send.
    look: Callable[[], None]
    trial: Trial
    #: Called after each deed: whoever shows how things stand looks again.
    changed: Callable[[], None] = lambda: None
    _tested: dict[str, float] = field(default_factory=dict)
    _asking: anyio.Lock = field(default_factory=anyio.Lock)

    async def resume(self, who: Principal, destination: str) -> int:
        """End a suspension; how many deliveries waited."""
        now = self.clock.now()
        waiting = await self._write(
            partial(dead_letters.resume, destination=destination, now=now),
            lambda waiting: resumed(who, now, destination, waiting),
        )
        self.wake(destination)
        self.changed()
        return waiting

    async def redrive(
        self,
        who: Principal,
        *,
        ids: Sequence[str] = (),
        destination: str | None = None,
        dry_run: bool = False,
        most: int | None = MOST_ROWS,
    ) -> Redriven:
        """
        Put dead letters back; `most` of their rows. Without ids: all, or one's.

        A thousand at a time, each with its row in the audit: others write meanwhile.
        """
        wanted = DeadFilter(ids=ids, destination=destination, most=most, to_put_back=not dry_run)
        found = await self._dead_letters(wanted)
        if dry_run:
            return Redriven(rows=found.rows, count=found.count)
        subject, now, count = redriven_what(found, destination), self.clock.now(), 0
        for keys in parts(found.keys):
            count += await self._write(
                partial(dead_letters.put_back, keys=keys, now=now),
                lambda many: redriven(who, now, subject, many),
            )
            self.look()
            self.changed()
        return Redriven(rows=found.rows, count=count)

    async def _dead_letters(self, wanted: DeadFilter) -> DeadLetters:
        """One question at a time: whoever asks often leaves readers to others."""
        async with self._asking:
            end = self.clock.monotonic() + _PATIENCE_S
            return await self.db.read_until(
                lambda: self.clock.monotonic() > end, dead_letters.dead_letters, wanted
            )

    async def silence(
        self, who: Principal, match: Mapping[str, Json], *, until: datetime, why: str
    ) -> Silence:
        """
        Suppress what matches, until then.

        Raises: BadWish for what would silence nothing.
        """
        now = self.clock.now()
        try:
            silence = create_silence(match, why=why, created_at=now, until=until)
        except ValueError as exc:
            raise BadWish(str(exc)) from exc
        if wrong := unknown_destinations(sorted(silence.destinations), self.trial.destinations):
            raise BadWish("; ".join(wrong))
        await self._write(
            partial(admin.add_silence, silence=silence), lambda _done: silenced(who, silence)
        )
        self.look()
        self.changed()
        log.info("silence.added", id=silence.id, match=format_keys(keys_of(silence)))
        return silence

    async def expire(self, who: Principal, beginning: str) -> Silence:
        """End a silence before its time, by the beginning of its id."""
        now = self.clock.now()
        silence = await self._write(
            partial(admin.expire_silence, beginning=beginning, now=now),
            lambda one: expired(who, now, one),
        )
        self.look()
        self.changed()
        log.info("silence.expired", id=silence.id)
        return silence

    async def test(self, who: Principal, destination: str) -> RowJson:
        """Send a message marked as a test: `{destination, ok, said, seconds}`."""
        self._check_trial(destination)
        begun = self.clock.monotonic()
        self._tested[destination] = begun
        message = self.trial.message(destination)
        outcome = await self.trial.send(destination, message)
        ok, words = isinstance(outcome, Sent), outcome_text(outcome, message)
        entry = _note(who, self.clock.now(), "test", destination, ok=ok, said=words)
        await self.db.write(Priority.MAINTENANCE, admin.add_audit_entry, entry)
        self.changed()
        seconds = round(self.clock.monotonic() - begun, 3)
        return {"destination": destination, "ok": ok, "said": words, "seconds": seconds}

    def _check_trial(self, destination: str) -> None:
        if destination not in self.trial.destinations:
            known = ", ".join(self.trial.destinations)
            raise Refused(f"{destination!r} is no destination; there are {known}")
        last = self._tested.get(destination)
        if last is None:
            return
        left = last + _BETWEEN_TESTS_S - self.clock.monotonic()
        if left > 0:
            raise Refused(f"{destination} was just tested; wait {left:.0f} s")

    async def let_in(self, who: Principal, token: Token) -> None:
        """Let a token in from now on."""
        await self._write(partial(admin.add_token, token=token), lambda _done: let_in(who, token))

    async def revoke(self, who: Principal, name: str) -> Token:
        """Let the token of this name in no more."""
        now = self.clock.now()
        return await self._write(
            partial(admin.revoke_token, name=name, now=now),
            lambda one: revoked(who, now, one),
        )

    async def _write(
        self, work: Callable[[Connection], T], entry: Callable[[T], AuditEntry | None]
    ) -> T:
        """Do the work and write its audit entry in one transaction."""
        return await self.db.write(Priority.MAINTENANCE, admin.with_audit, work, entry)


# --- rows of the audit --------------------------------------------------------


def _note(who: Principal, at: datetime, action: str, subject: str, **detail: Json) -> AuditEntry:
    return AuditEntry(at=at, who=who.name, action=action, subject=subject, detail=detail)


def resumed(who: Principal, now: datetime, destination: str, waiting: int) -> AuditEntry:
    """A suspension was ended."""
    return _note(who, now, "resume", destination, waiting=waiting)


def silenced(who: Principal, silence: Silence) -> AuditEntry:
    """A silence was put into force."""
    return _note(
        who,
        silence.created_at,
        "silence",
        silence.id,
        match=format_keys(keys_of(silence)),
        until=silence.until.isoformat(),
        why=silence.why,
    )


def expired(who: Principal, now: datetime, silence: Silence) -> AuditEntry:
    """A silence was ended before its time."""
    return _note(who, now, "expire", silence.id)


def let_in(who: Principal, token: Token) -> AuditEntry:
    """A token was created."""
    return _note(who, token.created_at, "token add", token.name, scope=token.scope)


def revoked(who: Principal, now: datetime, token: Token) -> AuditEntry:
    """A token lets nobody in any more."""
    return _note(who, now, "token revoke", token.name)


def redriven_what(found: DeadLetters, only: str | None) -> str:
    """What is put back, in a word or two: the one, or whose they are."""
    ids = [str(row["delivery_id"]) for row in found.rows if row["state"] == "dead"]
    return ids[0] if found.count == 1 and ids else only or "dead letters"


def redriven(who: Principal, now: datetime, subject: str, many: int) -> AuditEntry | None:
    """So many were put back; None: nothing was dead."""
    return _note(who, now, "redrive", subject, deliveries=many) if many else None


# --- by commands --------------------------------------------------------------


async def answer(
    deeds: Deeds,
    watchdog: Watchdog,
    question: Mapping[str, Json],
    *,
    where: Callable[[], str | None] = lambda: None,
) -> Mapping[str, Json]:
    """
    What a command wants to know, or to have done.

    `where`: the dashboard's address; None: there is none.
    """
    match question:
        case {"ask": "health"}:
            return {**_health(watchdog), "web": where()}
        case {"ask": "resume", "destination": str(destination)}:
            return {"waiting": await deeds.resume(COMMAND, destination)}
        case {"ask": "redrive", "ids": list(ids), "dry_run": bool(dry_run)}:
            only = question.get("destination")
            done = await deeds.redrive(
                COMMAND,
                ids=[str(one) for one in ids],
                destination=None if only is None else str(only),
                dry_run=dry_run,
                most=None,
            )
            return {"deliveries": list(done.rows)}
        case {"ask": "silence", "match": dict(keys), "until": str(until)}:
            why, when = str(question.get("why", "")), datetime.fromisoformat(until)
            return {"id": (await deeds.silence(COMMAND, keys, until=when, why=why)).id}
        case {"ask": "expire", "silence": str(beginning)}:
            return {"id": (await deeds.expire(COMMAND, beginning)).id}
        case _:
            return await _about_tokens(deeds, question)


async def _about_tokens(deeds: Deeds, question: Mapping[str, Json]) -> Mapping[str, Json]:
    match question:
        case {"ask": "token add", "token": dict(wish)}:
            token = _token(wish, deeds.clock.now())
            await deeds.let_in(COMMAND, token)
            return {"name": token.name}
        case {"ask": "token revoke", "name": str(name)}:
            return {"name": (await deeds.revoke(COMMAND, name)).name}
        case _:
            return {"error": "this service does not know that question"}


def _token(wish: Mapping[str, Json], now: datetime) -> Token:
    until = wish.get("expires_at")
    return Token(
        hash=str(wish.get("hash", "")),
        kind=TokenKind(str(wish.get("kind", ""))),
        name=str(wish.get("name", "")),
        scope=str(wish.get("scope", "")),
        created_at=now,
        expires_at=None if until is None else datetime.fromisoformat(str(until)),
    )


def _health(watchdog: Watchdog) -> Mapping[str, Json]:
    ages = watchdog.ages()
    stuck = watchdog.stalled()
    return {
        "ok": not stuck,
        "stuck": list(stuck),
        "loops": {loop: round(age, 1) for loop, age in ages.items()},
        "pid": os.getpid(),
    }
