"""`notifier token add`, `list` and `revoke`."""

import os
import secrets
import sys
from datetime import datetime
from pathlib import Path

import typer
from rich.table import Table

from notifier import settings
from notifier.cli import output
from notifier.cli.admin_client import tell, write
from notifier.cli.exit_codes import DONE, say
from notifier.cli.lists import write_rows
from notifier.cli.options import Options
from notifier.cli.store_view import viewing
from notifier.cli.where import database, existing
from notifier.clock import SystemClock
from notifier.domain.auth import ALL_FEEDS, TOKEN_PREFIX, Token, TokenKind, TokenScope, token_hash
from notifier.domain.models import Json, rfc3339
from notifier.domain.parsing import ValueParseError, parse_destination_name
from notifier.domain.suggestions import suggest
from notifier.messages.humanize import instant, relative
from notifier.storage import admin
from notifier.workers.admin_actions import COMMAND, let_in, revoked


def add(
    options: Options,
    name: str,
    *,
    scope: str | None,
    feed: str | None,
    expires_at: datetime | None,
) -> int:
    """
    Make a token and print it, once: nothing but its hash is kept.

    Raises: StoreError when another one has that name; BadParameter.
    """
    store = existing(database(options))
    shown = f"{TOKEN_PREFIX}{secrets.token_hex()}"
    token = Token(
        hash=token_hash(shown),
        kind=TokenKind.API if feed is None else TokenKind.FEED,
        name=_name(name),
        scope=_scope(options, scope, feed),
        created_at=SystemClock().now(),
        expires_at=expires_at,
    )
    wish: dict[str, Json] = {
        "hash": token.hash,
        "kind": token.kind.value,
        "name": token.name,
        "scope": token.scope,
        "expires_at": None if expires_at is None else expires_at.isoformat(),
    }
    if tell(store, {"ask": "token add", "token": wish}) is None:
        entry = let_in(COMMAND, token)
        write(
            store,
            lambda conn: admin.with_audit(
                conn, lambda conn: admin.add_token(conn, token), lambda _done: entry
            ),
        )
    sys.stdout.write(f"{shown}\n")
    say(f"Keep it: it is shown this once. {_use(token)}")
    return DONE


def list_tokens(options: Options, *, everything: bool, as_json: bool) -> int:
    """Print the tokens in force, or all of them."""
    with viewing(options) as conn:
        tokens = admin.list_tokens(conn, everything=everything)
    if as_json:
        write_rows([_row(token) for token in tokens])
    elif not tokens:
        say("No tokens.")
    else:
        output.out().print(_table(tokens, SystemClock().now()))
    return DONE


def revoke(options: Options, name: str) -> int:
    """
    Let a token in no more, at once.

    Raises: StoreError when none in force has that name.
    """
    store = existing(database(options))
    now = SystemClock().now()
    if tell(store, {"ask": "token revoke", "name": name}) is None:
        write(
            store,
            lambda conn: admin.with_audit(
                conn,
                lambda conn: admin.revoke_token(conn, name, now=now),
                lambda one: revoked(COMMAND, now, one),
            ),
        )
    say(f"{name} opens nothing any more.")
    return DONE


# --- what was typed -----------------------------------------------------------


def _name(text: str) -> str:
    try:
        return parse_destination_name(text)
    except ValueParseError as exc:
        raise typer.BadParameter(f"{text!r} {exc.what}; {exc.advice}") from None


def _scope(options: Options, scope: str | None, feed: str | None) -> str:
    """What the token opens."""
    if feed is None:
        return scope or TokenScope.READ.value
    if scope is not None:
        raise typer.BadParameter("a feed can only be read; leave it out", param_hint="--scope")
    known = _routes(options)
    if feed != ALL_FEEDS and feed not in known:
        advice = suggest(feed, known) or f"there are {', '.join(known)}"
        raise typer.BadParameter(f"{feed!r} is no route; {advice}", param_hint="--feed")
    return feed


def _routes(options: Options) -> list[str]:
    here = Path.cwd()
    path = settings.find(options.config, os.environ, cwd=here)
    found = settings.load(path, os.environ, cwd=here, required_secrets=False)
    return [one.name for one in found.routes]


# --- for people ---------------------------------------------------------------


def _use(token: Token) -> str:
    if token.kind is TokenKind.API:
        return "Programs show it as `Authorization: Bearer ...`."
    what = "any feed" if token.scope == ALL_FEEDS else f"/feeds/{token.scope}.ics"
    return f"Put it behind the address of {what}: `?token=...`."


def _row(token: Token) -> dict[str, Json]:
    return {
        "name": token.name,
        "kind": token.kind.value,
        "scope": token.scope,
        "created_at": _stamp(token.created_at),
        "expires_at": _stamp(token.expires_at),
        "used_at": _stamp(token.used_at),
        "revoked_at": _stamp(token.revoked_at),
    }


def _stamp(when: datetime | None) -> str | None:
    return None if when is None else rfc3339(when)


def _table(tokens: list[Token], now: datetime) -> Table:
    zone = output.local_zone()
    table = output.table("Token", "Opens", "Made", "Ends", "Last used")
    for token in tokens:
        table.add_row(
            token.name,
            _opens(token),
            instant(token.created_at, zone=zone, now=now),
            _ends(token, now),
            relative(token.used_at, now=now) if token.used_at else "never",
        )
    return table


def _opens(token: Token) -> str:
    if token.kind is TokenKind.API:
        return token.scope
    return "every feed" if token.scope == ALL_FEEDS else f"feed {token.scope}"


def _ends(token: Token, now: datetime) -> str:
    if token.revoked_at is not None:
        return f"revoked {relative(token.revoked_at, now=now)}"
    if token.expires_at is None:
        return "never"
    verb = "ended " if token.expires_at <= now else ""
    return f"{verb}{relative(token.expires_at, now=now)}"
