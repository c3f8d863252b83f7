"""What there is to type."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli.ending import DONE, ends
from notifier.cli.given import Given

# What a command needs is imported inside it, so that `--help` costs nothing.
# ruff: noqa: PLC0415

_LEVELS = ("debug", "info", "warning", "error")

app = typer.Typer(
    name="notifier",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_LEVELS)}")
    return text.lower()


def _since(text: str) -> datetime:
    from notifier.cli.since import since

    return since(text)


def _until(text: str) -> datetime:
    from notifier.cli.since import until

    return until(text)


def _scope(text: str) -> str:
    if text not in {"read", "write"}:
        raise typer.BadParameter(f"{text!r} is neither read nor write")
    return text


def _kind(text: str) -> str:
    from notifier.core.model import Kind

    kinds = [kind.value for kind in Kind]
    if text.lower() not in kinds:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(kinds)}")
    return text.lower()


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 62:
        raise typer.BadParameter(f"{text!r} is no count of rows")
    return int(text)


def _version(wanted: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if wanted:
        from notifier import __version__

        typer.echo(f"notifier {__version__}")
        raise typer.Exit


Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration; left out: $NOTIFIER_CONFIG, ./notifier.yaml, ...",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        parser=_level, metavar="LEVEL", help="What is logged: debug, info, ..."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Limit = Annotated[
    int | None, typer.Option(parser=_limit, metavar="N", help="Only the newest N.")
]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=_since,
        metavar="WHEN",
        help="Only what is newer: 7d, 90m, 2026-11-22T18:00:00Z.",
    ),
]
Version = Annotated[
    bool,
    typer.Option(
        "--version", callback=_version, is_eager=True, help="Say which version it is."
    ),
]


@app.callback()
def notifier(
    ctx: typer.Context,
    *,
    config: Config = None,
    log_level: LogLevel = None,
    version: Version = False,
) -> None:
    """Watch Kalshi's milestones, and tell people what happens to them."""
    del version
    ctx.obj = Given(config=config, log_level=log_level)


def _given(ctx: typer.Context, config: Path | None, log_level: str | None) -> Given:
    """The options wherever they stand: the ones behind the command's name win."""
    before = ctx.find_object(Given) or Given()
    return Given(config=config, log_level=log_level).over(before)


# --- the service --------------------------------------------------------------


@app.command()
@ends
def run(
    ctx: typer.Context,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="One round, then end: 1 if it failed.")
    ] = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Be the service: read, notice, tell, until it is stopped."""
    from notifier.cli.run import run

    return run(_given(ctx, config, log_level), once=once)


@app.command()
@ends
def healthcheck(
    ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None
) -> int:
    """Exit with 0 while the service's loops advance."""
    from notifier.cli.healthcheck import healthcheck

    return healthcheck(_given(ctx, config, log_level))


# --- the configuration --------------------------------------------------------


@app.command()
@ends
def check(
    ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None
) -> int:
    """Say what is wrong with the configuration, or what it means."""
    from notifier.cli.check import check

    return check(_given(ctx, config, log_level))


@app.command()
@ends
def init(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="[FILE]", show_default=False)] = Path(
        "notifier.yaml"
    ),
    *,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Write a configuration to begin with."""
    from notifier.cli.init import init

    return init(_given(ctx, config, log_level).config or file)


@app.command()
@ends
def schema(
    ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None
) -> int:
    """Print the configuration's JSON Schema, for editors."""
    from notifier.cli.schema import schema

    del ctx, config, log_level
    return schema()


@app.command("test")
@ends
def send_test(
    ctx: typer.Context,
    destinations: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DESTINATION]...", help="Left out: all of them."),
    ] = None,
    *,
    drill: Annotated[
        bool,
        typer.Option("--drill", help="One milestone through the true routes."),
    ] = False,
    milestone: Annotated[
        str | None,
        typer.Option(
            "--milestone", metavar="ID", help="Which one acts; left out: the newest."
        ),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            parser=_kind,
            metavar="KIND",
            help="Only this kind; several times: these.",
        ),
    ] = None,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Send a test message to each destination."""
    given = _given(ctx, config, log_level)
    if not drill:
        if milestone is not None or kinds or json:
            raise typer.BadParameter("--milestone, --kind and --json need --drill")
        from notifier.cli.trial import trial

        return trial(given, destinations or [])
    from notifier.cli.drill import Wanted, drilled
    from notifier.core.model import Kind

    wanted = Wanted(
        names=destinations or [],
        milestone=milestone,
        kinds=frozenset(map(Kind, kinds or ())),
    )
    return drilled(given, wanted, as_json=json)


@app.command()
@ends
def demo(
    ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None
) -> int:
    """See it work for half a minute: no network, no account."""
    try:
        from notifier.cli.demo import demo

        return demo(_given(ctx, config, log_level))
    except KeyboardInterrupt:
        return DONE  # nobody has to see it to its end


# --- looking ------------------------------------------------------------------


@app.command()
@ends
def status(
    ctx: typer.Context,
    *,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Tell at a glance what is watched, owed, and next."""
    from notifier.cli.status import status

    return status(_given(ctx, config, log_level), as_json=json)


@app.command()
@ends
def events(
    ctx: typer.Context,
    *,
    json: Json = False,
    limit: Limit = None,
    since: Since = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """List what happened, oldest first."""
    from notifier.cli.lists import Asked, list_events

    asked = Asked(as_json=json, limit=limit, since=since)
    return list_events(_given(ctx, config, log_level), asked)


@app.command()
@ends
def deliveries(
    ctx: typer.Context,
    *,
    dead: Annotated[bool, typer.Option("--dead", help="Only dead letters.")] = False,
    json: Json = False,
    limit: Limit = None,
    since: Since = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """List what was owed to whom, oldest first."""
    from notifier.cli.lists import Asked, list_deliveries

    asked = Asked(as_json=json, limit=limit, since=since)
    return list_deliveries(_given(ctx, config, log_level), asked, dead=dead)


@app.command()
@ends
def explain(
    ctx: typer.Context,
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="Its beginning is enough.")
    ],
    *,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Say why an event went where it went."""
    from notifier.cli.explain import explain

    return explain(_given(ctx, config, log_level), event_id, as_json=json)


@app.command()
@ends
def replay(
    ctx: typer.Context,
    *,
    since: Annotated[
        datetime,
        typer.Option(
            "--since",
            parser=_since,
            metavar="WHEN",
            help="From when on: 7d, 90m, 2026-11-22T18:00:00Z.",
        ),
    ] = "7d",  # type: ignore[assignment] # as typed
    routes: Annotated[
        Path | None,
        typer.Option(
            "--routes", metavar="FILE", help="Its routes; left out: the present ones."
        ),
    ] = None,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Say what routes would have sent, without sending anything."""
    from notifier.cli.replay import replay

    given = _given(ctx, config, log_level)
    return replay(given, since=since, routes=routes, as_json=json)


# --- setting right ------------------------------------------------------------


@app.command()
@ends
def resume(
    ctx: typer.Context,
    destination: Annotated[str, typer.Argument(metavar="DESTINATION")],
    *,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Send to a suspended destination again."""
    from notifier.cli.redress import resume

    return resume(_given(ctx, config, log_level), destination)


@app.command()
@ends
def redrive(
    ctx: typer.Context,
    ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[DELIVERY_ID]...", help="Left out: all dead ones."),
    ] = None,
    *,
    destination: Annotated[
        str | None,
        typer.Option("--destination", metavar="NAME", help="Only those owed to it."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say which they are.")
    ] = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Put dead deliveries back."""
    from notifier.cli.redress import redrive

    given = _given(ctx, config, log_level)
    return redrive(given, ids or [], destination=destination, dry_run=dry_run)


silence = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(silence, name="silence")


@silence.callback()
def _silence(
    ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None
) -> None:
    """Tell nobody of some events until a time: add, list, expire."""
    ctx.obj = _given(ctx, config, log_level)


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
            parser=_until,
            metavar="WHEN",
            help="When it ends: 2h, 1d, 2026-12-01T08:00Z.",
        ),
    ],
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="What for: others will ask.")
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what it would do.")
    ] = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Tell nobody of what matches, until then."""
    from notifier.cli.silence import add

    given = _given(ctx, config, log_level)
    return add(given, match or [], until=until, why=why, dry_run=dry_run)


@silence.command("list")
@ends
def list_silences(
    ctx: typer.Context,
    *,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that are over.")
    ] = False,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """List the silences in force, oldest first."""
    from notifier.cli.silence import list_silences

    given = _given(ctx, config, log_level)
    return list_silences(given, everything=everything, as_json=json)


@silence.command("expire")
@ends
def expire_silence(
    ctx: typer.Context,
    silence_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its beginning is enough.")
    ],
    *,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """End a silence now."""
    from notifier.cli.silence import expire

    return expire(_given(ctx, config, log_level), silence_id)


token = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
app.add_typer(token, name="token")


@token.callback()
def _token(
    ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None
) -> None:
    """Let programs and feed readers in: add, list, revoke."""
    ctx.obj = _given(ctx, config, log_level)


@token.command("add")
@ends
def add_token(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Whose it is.")],
    *,
    scope: Annotated[
        str | None,
        typer.Option(
            "--scope", parser=_scope, metavar="SCOPE", help="read (the default), write."
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
            parser=_until,
            metavar="WHEN",
            help="When it ends: 90d, 2027-01-01T00:00Z; left out: never.",
        ),
    ] = None,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Make a token, and print it once."""
    from notifier.cli.token import add

    given = _given(ctx, config, log_level)
    return add(given, name, scope=scope, feed=feed, expires_at=expires)


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

    given = _given(ctx, config, log_level)
    return list_tokens(given, everything=everything, as_json=json)


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

    return revoke(_given(ctx, config, log_level), name)


@app.command()
@ends
def backup(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(metavar="FILE")],
    *,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Copy the database while the service runs, or not."""
    from notifier.cli.backup import backup

    return backup(_given(ctx, config, log_level), file)
