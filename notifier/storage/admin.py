"""What people set up while the service runs: tokens, silences, and the audit of it all."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import JSON, Connection, Row

from notifier.domain.auth import SESSION_IDLE, AuditEntry, Token, TokenKind
from notifier.domain.rules import Silence
from notifier.domain.silences import keys_of, parse_stored
from notifier.errors import StoreError
from notifier.storage.sql import sql

T = TypeVar("T")

#: The audit's action of a refused login; strangers can cause many of them.
REFUSED = "login failed"
_KEEP_REFUSED = timedelta(days=30)
#: Refused logins that are kept, the newest of all.
MOST_REFUSED = 1000
#: How long a revoked or expired token stays in the list.
_KEEP_ENDED_TOKENS = timedelta(days=90)

_ADD_AUDIT_ENTRY = sql(
    "INSERT INTO audit (at, who, action, subject, detail)"
    " VALUES (:at, :who, :action, :subject, :detail)"
)
_DELETE_OLD_REFUSED = sql("DELETE FROM audit WHERE action = :refused AND at < :before")
_DELETE_MANY_REFUSED = sql(
    "DELETE FROM audit WHERE action = :refused AND seq <= (SELECT seq FROM audit AS newer"
    " WHERE newer.action = :refused ORDER BY newer.seq DESC LIMIT 1 OFFSET :kept)"
)

_TOKEN_INSTANTS = ("created_at", "expires_at", "used_at", "revoked_at")
_TOKEN = sql("SELECT * FROM tokens WHERE hash = :hash", instants=_TOKEN_INSTANTS)
_TOKENS = sql(
    "SELECT * FROM tokens WHERE kind != 'session' AND (:everything OR revoked_at IS NULL)"
    " ORDER BY created_at, name",
    instants=_TOKEN_INSTANTS,
)
_ADD_TOKEN = sql(
    "INSERT INTO tokens (hash, kind, name, scope, created_at, expires_at)"
    " VALUES (:hash, :kind, :name, :scope, :created_at, :expires_at)"
)
_REVOKE_TOKEN = sql("UPDATE tokens SET revoked_at = :now WHERE hash = :hash AND revoked_at IS NULL")
_TOUCH_TOKEN = sql("UPDATE tokens SET used_at = :at WHERE hash = :hash")
_DELETE_ENDED_SESSIONS = sql(
    "DELETE FROM tokens WHERE kind = 'session' AND (revoked_at IS NOT NULL"
    " OR expires_at <= :now OR coalesce(used_at, created_at) <= :idle_since)"
)
_DELETE_ENDED_TOKENS = sql("DELETE FROM tokens WHERE revoked_at < :before OR expires_at < :before")

_SILENCE_INSTANTS = ("created_at", "until", "expired_at")
_SILENCES = sql(
    "SELECT * FROM silences ORDER BY created_at, id", instants=_SILENCE_INSTANTS, match=JSON
)
_ACTIVE_SILENCES = sql(
    "SELECT * FROM silences WHERE expired_at IS NULL AND until > :now ORDER BY created_at, id",
    instants=_SILENCE_INSTANTS,
    match=JSON,
)
_ADD_SILENCE = sql(
    'INSERT INTO silences (id, "match", why, created_at, until)'
    " VALUES (:id, :match, :why, :created_at, :until) ON CONFLICT DO NOTHING"
)
_EXPIRE_SILENCE = sql("UPDATE silences SET expired_at = :now WHERE id = :id")


# --- the audit ----------------------------------------------------------------


def add_audit_entry(conn: Connection, entry: AuditEntry) -> None:
    """Record who did what."""
    conn.execute(
        _ADD_AUDIT_ENTRY,
        {
            "at": entry.at,
            "who": entry.who,
            "action": entry.action,
            "subject": entry.subject,
            "detail": json.dumps(dict(entry.detail)),
        },
    )


def with_audit(
    conn: Connection, work: Callable[[Connection], T], entry: Callable[[T], AuditEntry | None]
) -> T:
    """Do the work and write its audit entry, if there is one, in the same transaction."""
    result = work(conn)
    if (row := entry(result)) is not None:
        add_audit_entry(conn, row)
    return result


# --- tokens -------------------------------------------------------------------


def find_token(conn: Connection, key: str) -> Token | None:
    """The token of this hash, valid or not."""
    row = conn.execute(_TOKEN, {"hash": key}).one_or_none()
    return None if row is None else _token(row)


def list_tokens(conn: Connection, *, everything: bool = False) -> list[Token]:
    """The tokens of programs and feeds, oldest first; `everything`: revoked ones as well."""
    return [_token(row) for row in conn.execute(_TOKENS, {"everything": everything})]


def add_token(conn: Connection, token: Token) -> None:
    """
    Add a token.

    Raises: StoreError when another one has its name.
    """
    is_named = token.kind is not TokenKind.SESSION
    if is_named and any(one.name == token.name for one in list_tokens(conn)):
        raise StoreError(
            f"there is a token {token.name!r} already; revoke it first, or take another name"
        )
    conn.execute(
        _ADD_TOKEN,
        {
            "hash": token.hash,
            "kind": token.kind.value,
            "name": token.name,
            "scope": token.scope,
            "created_at": token.created_at,
            "expires_at": token.expires_at,
        },
    )


def revoke_token(conn: Connection, name: str, *, now: datetime) -> Token:
    """
    Revoke the token of this name.

    Raises: StoreError when there is none; it names those that there are.
    """
    known = list_tokens(conn)
    for token in known:
        if token.name == name:
            conn.execute(_REVOKE_TOKEN, {"hash": token.hash, "now": now})
            return token
    names = ", ".join(token.name for token in known) or "none"
    raise StoreError(f"{name!r} is no token in force; there are {names}")


def end_session(conn: Connection, key: str, *, now: datetime) -> None:
    """End a session."""
    conn.execute(_REVOKE_TOKEN, {"hash": key, "now": now})


def touch_tokens(conn: Connection, used: Mapping[str, datetime], *, now: datetime) -> None:
    """
    Write down when tokens were used last, and delete what has ended.

    Ended sessions go at once, other tokens and refused logins later.
    """
    if used:
        conn.execute(_TOUCH_TOKEN, [{"hash": key, "at": at} for key, at in used.items()])
    conn.execute(_DELETE_ENDED_SESSIONS, {"now": now, "idle_since": now - SESSION_IDLE})
    conn.execute(_DELETE_ENDED_TOKENS, {"before": now - _KEEP_ENDED_TOKENS})
    conn.execute(_DELETE_OLD_REFUSED, {"refused": REFUSED, "before": now - _KEEP_REFUSED})
    conn.execute(_DELETE_MANY_REFUSED, {"refused": REFUSED, "kept": MOST_REFUSED})


def _token(row: Row[Any]) -> Token:
    fields = row._asdict()
    return Token(**fields | {"kind": TokenKind(row.kind)})


# --- silences -----------------------------------------------------------------


def active_silences(conn: Connection, now: datetime) -> list[Silence]:
    """The silences in force, oldest first."""
    return [_silence(row) for row in conn.execute(_ACTIVE_SILENCES, {"now": now})]


def list_silences(
    conn: Connection, now: datetime, *, everything: bool
) -> list[tuple[Silence, datetime | None]]:
    """
    Silences, oldest first, each with the instant at which a person ended it.

    With `everything` also those that are over.
    """
    rows = conn.execute(_SILENCES if everything else _ACTIVE_SILENCES, {"now": now})
    return [(_silence(row), row.expired_at) for row in rows]


def add_silence(conn: Connection, silence: Silence) -> None:
    """Put a silence into force; the same one twice is one."""
    conn.execute(
        _ADD_SILENCE,
        {
            "id": silence.id,
            "match": json.dumps(keys_of(silence)),
            "why": silence.why,
            "created_at": silence.created_at,
            "until": silence.until,
        },
    )


def expire_silence(conn: Connection, beginning: str, *, now: datetime) -> Silence:
    """
    End the one silence in force whose id begins so.

    Raises:
        StoreError: there is none, or more than one; it names those that there are.
    """
    in_force = active_silences(conn, now)
    if not in_force:
        raise StoreError("no silence is in force")
    found = [one for one in in_force if beginning and one.id.startswith(beginning)]
    if not found:
        known = _names(in_force)
        raise StoreError(f"no silence in force is called {beginning!r}; there is {known}")
    if len(found) > 1:
        raise StoreError(f"{beginning} is the beginning of {_names(found)}")
    conn.execute(_EXPIRE_SILENCE, {"id": found[0].id, "now": now})
    return found[0]


def _names(silences: Sequence[Silence]) -> str:
    return ", ".join(f"{one.id} ({one.why})" for one in silences)


def _silence(row: Row[Any]) -> Silence:
    match, destinations = parse_stored(row.match)
    return Silence(
        id=row.id,
        match=match,
        destinations=destinations,
        why=row.why,
        created_at=row.created_at,
        until=row.until,
    )
