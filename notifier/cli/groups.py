"""What there is to type after `notifier silence` and `notifier token`."""

from datetime import datetime
from typing import Annotated

import typer

from notifier.cli import param_types
from notifier.cli.exit_codes import ends
from notifier.cli.param_types import Config, Json, LogLevel, given

# What a command needs is imported inside it, so that `--help` costs nothing.
# ruff: noqa: PLC0415

silence = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@silence.callback()
def _silence(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> None:
    """Tell nobody of some events until a time: add, list, expire."""
    ctx.obj = given(ctx, config, log_level)


@silence.command("add")
@ends
def add_silence(
    ctx: typer.Context,
    *,
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            metavar="KEY=PATTERN",
            help="As in a route's match, or destination=NAME; several: all must fit.",
        ),
    ] = None,
    until: Annotated[
        datetime,
        typer.Option(
            "--until",
            parser=param_types.until,
            metavar="WHEN",
            help="When it ends: 2h, 1d, 2026-12-01T08:00Z.",
        ),
    ],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="What for: others will ask.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Tell nobody of what matches, until then."""
    from notifier.cli.silence import add

    before = given(ctx, config, log_level)
    return add(before, match or [], until=until, why=why, dry_run=dry_run)


@silence.command("list")
@ends
def list_silences(
    ctx: typer.Context,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """List the silences in force, oldest first."""
    from notifier.cli.silence import list_silences

    before = given(ctx, config, log_level)
    return list_silences(before, everything=everything, as_json=json)


@silence.command("expire")
@ends
def expire_silence(
    ctx: typer.Context,
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="Its beginning is enough.")],
    *,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """End a silence now."""
    from notifier.cli.silence import expire

    return expire(given(ctx, config, log_level), silence_id)


token = typer.Typer(rich_markup_mode=None, no_args_is_help=True)


@token.callback()
def _token(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> None:
    """Let programs and feed readers in: add, list, revoke."""
    ctx.obj = given(ctx, config, log_level)


@token.command("add")
@ends
def add_token(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")],
    *,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            parser=param_types.scope,
            metavar="SCOPE",
            help="read (the default), write.",
        ),
    ] = None,
    feed: Annotated[
        str | None,
        typer.Option("--feed", metavar="ROUTE", help="Opens this feed alone; *: all."),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            parser=param_types.until,
            metavar="WHEN",
            help="When it ends: 90d, 2027-01-01T00:00Z; left out: never.",
        ),
    ] = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Make a token, and print it once."""
    from notifier.cli.token import add

    before = given(ctx, config, log_level)
    return add(before, name, scope=scope, feed=feed, expires_at=expires)


@token.command("list")
@ends
def list_tokens(
    ctx: typer.Context,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were revoked.")
    ] = False,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """List the tokens, oldest first; the tokens themselves are kept nowhere."""
    from notifier.cli.token import list_tokens

    before = given(ctx, config, log_level)
    return list_tokens(before, everything=everything, as_json=json)


@token.command("revoke")
@ends
def revoke_token(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME")],
    *,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Let a token in no more."""
    from notifier.cli.token import revoke

    return revoke(given(ctx, config, log_level), name)
