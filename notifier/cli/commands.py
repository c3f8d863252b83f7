"""What there is to type."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli import groups, param_types
from notifier.cli.exit_codes import DONE, ends
from notifier.cli.global_options import Given
from notifier.cli.param_types import Config, Json, Limit, LogLevel, Since, Version, given

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
    """Watch Kalshi's milestones, and tell people what happens to them."""
    del version
    ctx.obj = Given(config=config, log_level=log_level)


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

    return run(given(ctx, config, log_level), once=once)


@app.command()
@ends
def healthcheck(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> int:
    """Exit with 0 while the service's loops advance."""
    from notifier.cli.healthcheck import healthcheck

    return healthcheck(given(ctx, config, log_level))


# --- the configuration --------------------------------------------------------


@app.command()
@ends
def check(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> int:
    """Say what is wrong with the configuration, or what it means."""
    from notifier.cli.check import check

    return check(given(ctx, config, log_level))


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

    return init(given(ctx, config, log_level).config or file)


@app.command()
@ends
def schema(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> int:
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
        typer.Option("--milestone", metavar="ID", help="Which one acts; left out: the newest."),
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            parser=param_types.kind,
            metavar="KIND",
            help="Only this kind; several times: these.",
        ),
    ] = None,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Send a test message to each destination."""
    before = given(ctx, config, log_level)
    if not drill:
        if milestone is not None or kinds or json:
            raise typer.BadParameter("--milestone, --kind and --json need --drill")
        from notifier.cli.send_test import send_tests

        return send_tests(before, destinations or [])
    from notifier.cli.send_test import dry_run
    from notifier.domain.models import Kind

    return dry_run(
        before,
        destinations or [],
        milestone=milestone,
        kinds=frozenset(map(Kind, kinds or ())),
        as_json=json,
    )


@app.command()
@ends
def demo(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> int:
    """See it work for half a minute: no network, no account."""
    try:
        from notifier.cli.demo import demo

        return demo(given(ctx, config, log_level))
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

    return status(given(ctx, config, log_level), as_json=json)


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
    return list_events(given(ctx, config, log_level), asked)


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
    return list_deliveries(given(ctx, config, log_level), asked, dead=dead)


@app.command()
@ends
def explain(
    ctx: typer.Context,
    event_id: Annotated[str, typer.Argument(metavar="EVENT_ID", help="Its beginning is enough.")],
    *,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Say why an event went where it went."""
    from notifier.cli.explain import explain

    return explain(given(ctx, config, log_level), event_id, as_json=json)


@app.command()
@ends
def replay(
    ctx: typer.Context,
    *,
    since: Annotated[
        datetime,
        typer.Option(
            "--since",
            parser=param_types.since,
            metavar="WHEN",
            help="From when on: 7d, 90m, 2026-11-22T18:00:00Z.",
        ),
    ] = "7d",  # type: ignore[assignment] # as typed
    routes: Annotated[
        Path | None,
        typer.Option("--routes", metavar="FILE", help="Its routes; left out: the present ones."),
    ] = None,
    json: Json = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Say what routes would have sent, without sending anything."""
    from notifier.cli.replay import replay

    before = given(ctx, config, log_level)
    return replay(before, since=since, routes=routes, as_json=json)


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
    from notifier.cli.redrive import resume

    return resume(given(ctx, config, log_level), destination)


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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which they are.")] = False,
    config: Config = None,
    log_level: LogLevel = None,
) -> int:
    """Put dead deliveries back."""
    from notifier.cli.redrive import redrive

    before = given(ctx, config, log_level)
    return redrive(before, ids or [], destination=destination, dry_run=dry_run)


app.add_typer(groups.silence, name="silence")
app.add_typer(groups.token, name="token")


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

    return backup(given(ctx, config, log_level), file)
