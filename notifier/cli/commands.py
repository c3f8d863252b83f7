"""The commands, their arguments and options."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli import options as parsers
from notifier.cli.exit_codes import DONE
from notifier.cli.options import (
    Config,
    Json,
    Limit,
    LogLevel,
    Options,
    Since,
    Version,
    command,
    group,
)

# What a command needs is imported inside it, so that `--help` costs nothing.
# ruff: noqa: PLC0415

app = typer.Typer(
    name="notifier",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def notifier(
    ctx: typer.Context,
    *,
    config: Config = None,
    log_level: LogLevel = None,
    version: Version = False,
) -> None:
    """Watch Kalshi's milestones and notify people of what happens to them."""
    del version
    ctx.obj = Options(config=config, log_level=log_level)


# --- the service --------------------------------------------------------------


@command(app)
def run(
    options: Options,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Make one round, then end: 1 if it failed.")
    ] = False,
) -> int:
    """Run the service until it is stopped."""
    from notifier.cli.run import run

    return run(options, once=once)


@command(app)
def healthcheck(options: Options) -> int:
    """Exit with 0 while the workers of the service advance."""
    from notifier.cli.healthcheck import healthcheck

    return healthcheck(options)


# --- the configuration --------------------------------------------------------


@command(app)
def check(options: Options) -> int:
    """Check the configuration, and print what it means."""
    from notifier.cli.check import check

    return check(options)


@command(app)
def init(
    options: Options,
    file: Annotated[Path, typer.Argument(metavar="[FILE]", show_default=False)] = Path(
        "notifier.yaml"
    ),
) -> int:
    """Write a commented configuration to start with."""
    from notifier.cli.init import init

    return init(options.config or file)


@command(app)
def schema(options: Options) -> int:
    """Print the configuration's JSON Schema, for editors."""
    from notifier.cli.schema import schema

    del options
    return schema()


@command(app, "test")
def send_test(
    options: Options,
    destinations: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DESTINATION]...", help="Default: all of them."),
    ] = None,
    *,
    drill: Annotated[
        bool,
        typer.Option("--drill", help="Send one milestone by the real routes and rules."),
    ] = False,
    milestone: Annotated[
        str | None,
        typer.Option(
            "--milestone", metavar="ID", help="The milestone to send; default: the newest."
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            parser=parsers.kind,
            metavar="KIND",
            help="Only this kind of event; may be repeated.",
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Send a test message to each destination."""
    if not drill:
        if milestone is not None or kinds or json:
            raise typer.BadParameter("--milestone, --kind and --json need --drill")
        from notifier.cli.send_test import send_tests

        return send_tests(options, destinations or [])
    from notifier.cli.send_test import dry_run
    from notifier.domain.models import Kind

    return dry_run(
        options,
        destinations or [],
        milestone=milestone,
        kinds=frozenset(map(Kind, kinds or ())),
        as_json=json,
    )


@command(app)
def demo(options: Options) -> int:
    """See the service at work for half a minute: no network, no account."""
    try:
        from notifier.cli.demo import demo

        return demo(options)
    except KeyboardInterrupt:
        return DONE


# --- inspection ----------------------------------------------------------------


@command(app)
def status(
    options: Options,
    *,
    json: Json = False,
) -> int:
    """Show what is watched, what is owed and what starts next."""
    from notifier.cli.status import status

    return status(options, as_json=json)


@command(app)
def events(
    options: Options,
    *,
    json: Json = False,
    limit: Limit = None,
    since: Since = None,
) -> int:
    """List events, oldest first."""
    from notifier.cli.lists import Asked, list_events

    asked = Asked(as_json=json, limit=limit, since=since)
    return list_events(options, asked)


@command(app)
def deliveries(
    options: Options,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters.")] = False,
    json: Json = False,
    limit: Limit = None,
    since: Since = None,
) -> int:
    """List deliveries and their states, oldest first."""
    from notifier.cli.lists import Asked, list_deliveries

    asked = Asked(as_json=json, limit=limit, since=since)
    return list_deliveries(options, asked, dead=dead)


@command(app)
def explain(
    options: Options,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its beginning is enough.")],
    *,
    json: Json = False,
) -> int:
    """Explain the routing and the deliveries of an event."""
    from notifier.cli.explain import explain

    return explain(options, event_id, as_json=json)


@command(app)
def replay(
    options: Options,
    *,
    since: Annotated[
        datetime,
        typer.Option(
            "--since",
            parser=parsers.since,
            metavar="WHEN",
            help="The first moment: 7d, 90m, 2026-11-22T18:00:00Z.",
        ),
    ] = "7d",  # type: ignore[assignment] # as typed
    routes: Annotated[
        Path | None,
        typer.Option(
            "--routes", metavar="FILE", help="A file with routes; default: the present ones."
        ),
    ] = None,
    json: Json = False,
) -> int:
    """Show what routes would have sent; nothing is sent."""
    from notifier.cli.replay import replay

    return replay(options, since=since, routes=routes, as_json=json)


# --- administration ------------------------------------------------------------


@command(app)
def resume(
    options: Options,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION")],
) -> int:
    """End the suspension of a destination."""
    from notifier.cli.redrive import resume

    return resume(options, destination)


@command(app)
def redrive(
    options: Options,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DELIVERY_ID]...", help="Default: all dead letters."),
    ] = None,
    *,
    destination: Annotated[
        str | None,
        typer.Option("--destination", metavar="NAME", help="Only those of this destination."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print them.")] = False,
) -> int:
    """Send dead letters again."""
    from notifier.cli.redrive import redrive

    return redrive(options, ids or [], destination=destination, dry_run=dry_run)


@command(app)
def backup(
    options: Options,
    file: Annotated[Path, typer.Argument(metavar="FILE")],
) -> int:
    """Copy the database, also while the service runs."""
    from notifier.cli.backup import backup

    return backup(options, file)


# --- silences and tokens -----------------------------------------------------------

silence = group("silence", "Suppress events that match, until a time: add, list, expire.")
token = group("token", "Give programs and feed readers access: add, list, revoke.")
app.add_typer(silence, name="silence")
app.add_typer(token, name="token")


@command(silence, "add")
def add_silence(
    options: Options,
    *,
    match: Annotated[
        list[str] | None,
        typer.Option(
            "--match",
            metavar="KEY=PATTERN",
            help="As in a route's match, or destination=NAME; all must match.",
        ),
    ] = None,
    until: Annotated[
        datetime,
        typer.Option(
            "--until",
            parser=parsers.until,
            metavar="WHEN",
            help="When it ends: 2h, 1d, 2026-12-01T08:00Z.",
        ),
    ],
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason, for others.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only print the effect.")] = False,
) -> int:
    """Add a silence: matching events are not sent until it ends."""
    from notifier.cli.silence import add

    return add(options, match or [], until=until, why=why, dry_run=dry_run)


@command(silence, "list")
def list_silences(
    options: Options,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Also those that ended.")] = False,
    json: Json = False,
) -> int:
    """List the silences in force, oldest first."""
    from notifier.cli.silence import list_silences

    return list_silences(options, everything=everything, as_json=json)


@command(silence, "expire")
def expire_silence(
    options: Options,
    silence_id: Annotated[str, typer.Argument(metavar="ID", help="Its beginning is enough.")],
) -> int:
    """End a silence now."""
    from notifier.cli.silence import expire

    return expire(options, silence_id)


@command(token, "add")
def add_token(
    options: Options,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The holder.")],
    *,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope",
            parser=parsers.scope,
            metavar="SCOPE",
            help="read (the default), write.",
        ),
    ] = None,
    feed: Annotated[
        str | None,
        typer.Option("--feed", metavar="ROUTE", help="Only for this route's feeds; *: all feeds."),
    ] = None,
    expires: Annotated[
        datetime | None,
        typer.Option(
            "--expires",
            parser=parsers.until,
            metavar="WHEN",
            help="When it expires: 90d, 2027-01-01T00:00Z; default: never.",
        ),
    ] = None,
) -> int:
    """Create a token, and print it once."""
    from notifier.cli.token import add

    return add(options, name, scope=scope, feed=feed, expires_at=expires)


@command(token, "list")
def list_tokens(
    options: Options,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that were revoked.")
    ] = False,
    json: Json = False,
) -> int:
    """List the tokens, oldest first; their secrets are not stored."""
    from notifier.cli.token import list_tokens

    return list_tokens(options, everything=everything, as_json=json)


@command(token, "revoke")
def revoke_token(
    options: Options,
    name: Annotated[str, typer.Argument(metavar="NAME")],
) -> int:
    """Revoke a token."""
    from notifier.cli.token import revoke

    return revoke(options, name)
