"""Who may come in, and what they had done: tokens and the audit."""

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, bindparam, delete, or_, select, update

from notifier.domain.auth import SESSION_IDLE, AuditEntry, Token, TokenKind
from notifier.errors import StoreError
from notifier.storage import schema as t

T = TypeVar("T")

#: The audit's rows of those who were not let in; strangers can make many.
REFUSED = "login failed"
_REFUSED_FOR = timedelta(days=30)
#: Of them, the newest.
MOST_REFUSED = 1000
#: How long a token that is over can still be looked up in the list.
_OVER_FOR = timedelta(days=90)

_t, _a = t.tokens.c, t.audit.c
_BY_HASH = select(t.tokens).where(_t.hash == bindparam("key"))
_NAMED = (
    select(t.tokens)
    .where(_t.kind != TokenKind.SESSION.value, _t.revoked_at.is_(None))
    .order_by(_t.created_at, _t.name)
)
_LISTED = (
    select(t.tokens).where(_t.kind != TokenKind.SESSION.value).order_by(_t.created_at, _t.name)
)
_USED = (
    update(t.tokens)
    .where(_t.hash == bindparam("key"))
    .values(used_at=bindparam("at", type_=t.Instant))
)
_REVOKE = (
    update(t.tokens)
    .where(_t.hash == bindparam("key"), _t.revoked_at.is_(None))
    .values(revoked_at=bindparam("at", type_=t.Instant))
)

_refused = t.audit.alias("refused").c
_TOO_MANY = delete(t.audit).where(
    _a.action == REFUSED,
    _a.seq
    <= select(_refused.seq)
    .where(_refused.action == REFUSED)
    .order_by(_refused.seq.desc())
    .limit(1)
    .offset(MOST_REFUSED)
    .scalar_subquery(),
)


def add_audit_entry(conn: Connection, entry: AuditEntry) -> None:
    """Remember who had what done."""
    conn.execute(
        t.audit.insert(),
        {
            "at": entry.at,
            "who": entry.who,
            "action": entry.action,
            "subject": entry.subject,
            "detail": dict(entry.detail),
        },
    )


def with_audit(
    conn: Connection, work: Callable[[Connection], T], entry: Callable[[T], AuditEntry | None]
) -> T:
    """Do the work and write its audit entry, if there is one, in the same transaction."""
    done = work(conn)
    if (said := entry(done)) is not None:
        add_audit_entry(conn, said)
    return done


def find_token(conn: Connection, key: str) -> Token | None:
    """The token of this hash, good or not."""
    row = conn.execute(_BY_HASH, {"key": key}).one_or_none()
    return None if row is None else _token(row)


def list_tokens(conn: Connection, *, everything: bool = False) -> list[Token]:
    """The tokens of programs and feeds, oldest first; `everything`: revoked ones."""
    return [_token(row) for row in conn.execute(_LISTED if everything else _NAMED)]


def add_token(conn: Connection, token: Token) -> None:
    """
    Let a token in.

    Raises: StoreError when another one has its name.
    """
    named = token.kind is not TokenKind.SESSION
    if named and any(one.name == token.name for one in list_tokens(conn)):
        raise StoreError(
            f"there is a token {token.name!r} already; revoke it first, or take another name"
        )
    conn.execute(
        t.tokens.insert(),
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
    Let the token of this name in no more.

    Raises: StoreError when there is none; it names those that there are.
    """
    known = list_tokens(conn)
    for token in known:
        if token.name == name:
            conn.execute(_REVOKE, {"key": token.hash, "at": now})
            return token
    names = ", ".join(token.name for token in known) or "none"
    raise StoreError(f"{name!r} is no token in force; there are {names}")


def end_session(conn: Connection, key: str, *, now: datetime) -> None:
    """End a session."""
    conn.execute(_REVOKE, {"key": key, "at": now})


def touch_tokens(conn: Connection, used: Mapping[str, datetime], *, now: datetime) -> None:
    """
    Write down when tokens were used last, and delete what is over.

    Sessions that are over go at once, other tokens and refused logins later.
    """
    if used:
        conn.execute(_USED, [{"key": key, "at": at} for key, at in used.items()])
    session = _t.kind == TokenKind.SESSION.value
    idle = or_(
        _t.used_at <= now - SESSION_IDLE,
        _t.used_at.is_(None) & (_t.created_at <= now - SESSION_IDLE),
    )
    conn.execute(
        delete(t.tokens).where(session, or_(_t.revoked_at.is_not(None), _t.expires_at <= now, idle))
    )
    before = now - _OVER_FOR
    conn.execute(delete(t.tokens).where(or_(_t.revoked_at < before, _t.expires_at < before)))
    conn.execute(delete(t.audit).where(_a.action == REFUSED, _a.at < now - _REFUSED_FOR))
    conn.execute(_TOO_MANY)


def _token(row: Row[Any]) -> Token:
    return Token(
        hash=row.hash,
        kind=TokenKind(row.kind),
        name=row.name,
        scope=row.scope,
        created_at=row.created_at,
        expires_at=row.expires_at,
        used_at=row.used_at,
        revoked_at=row.revoked_at,
    )
