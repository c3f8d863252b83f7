"""Sessions of browsers, tokens of programs and feeds: shown, found, used."""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TypeVar

import anyio
import structlog
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from notifier.domain.auth import (
    LONGEST,
    PREFIX,
    Note,
    Scope,
    Token,
    TokenKind,
    Who,
    crowd,
    digest,
    is_good,
    opens_feed,
    session_digest,
)
from notifier.errors import StoreError
from notifier.storage import admin
from notifier.storage.database import Connection, Database, Priority

log = structlog.get_logger()

T = TypeVar("T")

#: So often it is written down when tokens were used last.
_KEEP_EVERY_S = 60.0
#: No token of ours is longer.
_LONGEST_TOKEN = 200
#: Little memory, as OWASP allows: the service has to stay small.
_MEMORY_KIB = 19 * 1024
#: A password that is its own Argon2 hash already.
HASHED = "$argon2id$"
_WINDOW = timedelta(minutes=1)
_FROM_ONE = 5
#: Beyond it everybody is slowed down, so that nobody is locked out by others.
_MANY = 30
_FROM_ALL = 300

Offload = Callable[[Callable[[], bool]], Awaitable[bool]]


class Password:
    """The one password, as its Argon2 hash."""

    def __init__(self, given: str, *, offload: Offload) -> None:
        self._given: str | None = None if given.startswith(HASHED) else given
        self._hash = given if self._given is None else ""
        self._offload = offload
        self._one_at_a_time = anyio.Lock()
        self._hasher = PasswordHasher(time_cost=2, memory_cost=_MEMORY_KIB, parallelism=1)
        #: With another password every session is over.
        self.key = hashlib.sha256(b"notifier session " + given.encode()).digest()

    async def fits(self, said: str) -> bool:
        """Whether that is it; takes a while, elsewhere."""
        async with self._one_at_a_time:
            return await self._offload(lambda: self._fits(said))

    def _fits(self, said: str) -> bool:
        if self._given is not None:
            self._hash, self._given = self._hasher.hash(self._given), None
        try:
            return self._hasher.verify(self._hash, said)
        except (VerificationError, InvalidHashError):
            return False


@dataclass(slots=True)
class Tries:
    """Counts who tries passwords, so that nobody tries many."""

    _made: list[tuple[datetime, str]] = field(default_factory=list)

    def wait(self, address: str, now: datetime) -> float:
        """Seconds until this address may try; 0: it may, and that counts."""
        self._made = [one for one in self._made if one[0] > now - _WINDOW]
        mine = [at for at, whose in self._made if whose == crowd(address)]
        every = [at for at, _ in self._made]
        frees = [
            found[-most]
            for found, most in ((mine, _FROM_ONE), (every, _FROM_ALL))
            if len(found) >= most
        ]
        if frees:
            return max(1.0, (max(frees) + _WINDOW - now).total_seconds())
        self._made.append((now, crowd(address)))
        return 0.0

    @property
    def are_many(self) -> bool:
        """Whether they come from all sides, as of the last one."""
        return len(self._made) > _MANY

    def forget(self, address: str) -> None:
        """It was the right one."""
        self._made = [one for one in self._made if one[1] != crowd(address)]


@dataclass(slots=True, kw_only=True)
class Tokens:
    """Who has come in, and comes in again."""

    db: Database
    now: Callable[[], datetime]
    #: A fresh secret.
    fresh: Callable[[], str]
    #: What sessions hang on; None: nobody signs in.
    key: bytes | None = None
    _used: dict[str, datetime] = field(default_factory=dict)

    async def session(self, shown: str, *, is_use: bool = True) -> bool:
        """Whether a browser is signed in; without `is_use` that is all it comes to."""
        if self.key is None or not 0 < len(shown) <= _LONGEST_TOKEN:
            return False
        found = await self._good(session_digest(shown, self.key), is_use=is_use)
        return found is not None and found.kind is TokenKind.SESSION

    async def program(self, shown: str, path: str, *, is_use: bool = True) -> Who | None:
        """Whose token a program shows in its header; None: nobody's."""
        found = await self._shown(shown, is_use=is_use)
        if found is None:
            return None
        if found.kind is TokenKind.API:
            return Who(name=f"token {found.name}", may_write=found.scope == Scope.WRITE)
        return _reader(found, path)

    async def feed(self, shown: str, path: str, *, is_use: bool = True) -> Who | None:
        """Whose token is in a feed's address; None: nobody's, or another feed's."""
        found = await self._shown(shown, is_use=is_use)
        return None if found is None else _reader(found, path)

    async def begin(self, address: str) -> str:
        """A new session; its token, which is nowhere else."""
        now, shown = self.now(), self.fresh()
        token = Token(
            hash=session_digest(shown, self.key or b""),
            kind=TokenKind.SESSION,
            name="session",
            scope="",
            created_at=now,
            expires_at=now + LONGEST,
        )
        await self._write_with_audit(
            partial(admin.add_token, token=token), self._note("session", "login", address)
        )
        return shown

    async def end(self, shown: str, address: str) -> None:
        """The session is over."""
        key = session_digest(shown, self.key or b"")
        self._used.pop(key, None)
        entry = self._note("session", "logout", address)
        await self._write_with_audit(partial(admin.end_session, key=key, now=entry.at), entry)

    async def refused(self, address: str) -> None:
        """Somebody did not know the password."""
        entry = self._note("nobody", "login failed", address)
        await self.db.write(Priority.MAINTENANCE, admin.add_audit_entry, entry)

    async def keep(self, sleep: Callable[[float], Awaitable[None]]) -> None:
        """Write down now and then who came when, for ever."""
        while True:
            await sleep(_KEEP_EVERY_S)
            await self.write_down()

    async def write_down(self) -> None:
        """Remember when tokens were used last, and forget what is over."""
        used, self._used = self._used, {}
        try:
            await self.db.write(Priority.MAINTENANCE, admin.touch_tokens, used, now=self.now())
        except StoreError as exc:
            log.warning("web.forgot", reason=str(exc))

    async def _shown(self, shown: str, *, is_use: bool) -> Token | None:
        if not shown.startswith(PREFIX) or len(shown) > _LONGEST_TOKEN:
            return None
        return await self._good(digest(shown), is_use=is_use)

    async def _good(self, key: str, *, is_use: bool) -> Token | None:
        found = await self.db.read(admin.find_token, key)
        if found is None:
            return None
        now, lately = self.now(), self._used.get(key)
        if lately is not None:
            found = replace(found, used_at=lately)
        if not is_good(found, now):
            return None
        if is_use:
            self._used[key] = now
        return found

    async def _write_with_audit(self, work: Callable[[Connection], None], entry: Note) -> None:
        await self.db.write(Priority.MAINTENANCE, admin.with_audit, work, lambda _done: entry)

    def _note(self, who: str, action: str, subject: str) -> Note:
        return Note(at=self.now(), who=who, action=action, subject=subject)


def _reader(token: Token, path: str) -> Who | None:
    if not opens_feed(token, path):
        return None
    return Who(name=f"feed {token.name}", may_write=False)
