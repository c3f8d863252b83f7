"""
The options of commands, and how a command is registered.

What an option needs is imported when it is used, so that `--help` costs nothing.
"""

# ruff: noqa: PLC0415

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Concatenate, ParamSpec

import typer

from notifier.cli.exit_codes import exit_status

if TYPE_CHECKING:
    from notifier.domain.parsing import ValueParseError

P = ParamSpec("P")

_LOG_LEVELS = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of every command, which may stand before or after its name."""

    config: Path | None = None
    #: None: the level of the configuration.
    log_level: str | None = None


# --- parsers ----------------------------------------------------------------------


def _log_level(text: str) -> str:
    if text.lower() not in _LOG_LEVELS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_LOG_LEVELS)}")
    return text.lower()


def kind(text: str) -> str:
    """A kind of event."""
    from notifier.domain.models import Kind

    kinds = [kind.value for kind in Kind]
    if text.lower() not in kinds:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(kinds)}")
    return text.lower()


def scope(text: str) -> str:
    """The scope of an API token."""
    if text not in {"read", "write"}:
        raise typer.BadParameter(f"{text!r} is neither read nor write")
    return text


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) < 1 << 62:
        raise typer.BadParameter(f"{text!r} is no count of rows")
    return int(text)


def since(text: str) -> datetime:
    """The instant that `7d` (ago) or `2026-11-22T18:00:00Z` means."""
    from notifier.clock import SystemClock
    from notifier.domain.parsing import ValueParseError, parse_duration

    try:
        return SystemClock().now() - parse_duration(text)
    except ValueParseError as exc:
        return _instant(text, exc)


def until(text: str) -> datetime:
    """The instant ahead that `2h` or `2026-12-01T08:00Z` means, in whole seconds."""
    from notifier.clock import SystemClock
    from notifier.domain.parsing import ValueParseError, parse_duration

    now = SystemClock().now()
    try:
        when = now + parse_duration(text)
    except ValueParseError as exc:
        when = _instant(text, exc)
    if when <= now:
        raise typer.BadParameter(f"{text!r} is over; it must lie in the future")
    whole = when.replace(microsecond=0)
    return whole if whole == when else whole + timedelta(seconds=1)


def _instant(text: str, no_duration: "ValueParseError") -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        advice = f"; {no_duration.advice}" if no_duration.advice else ""
        raise typer.BadParameter(
            f"{text!r} is neither a span such as 7d or 90m, nor an instant such as "
            f"2026-11-22T18:00:00Z{advice}"
        ) from None
    if when.tzinfo is None:
        raise typer.BadParameter(f"{text!r} needs a zone: {when.isoformat()}Z is UTC")
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise typer.BadParameter(f"{text!r} is beyond all calendars") from None


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - as Typer calls it
    if wanted:
        from notifier import __version__

        typer.echo(f"notifier {__version__}")
        raise typer.Exit


# --- types of parameters ------------------------------------------------------------

Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="The configuration; default: $NOTIFIER_CONFIG, ./notifier.yaml, ...",
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(parser=_log_level, metavar="LEVEL", help="What is logged: debug, info, ..."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Limit = Annotated[int | None, typer.Option(parser=_limit, metavar="N", help="Only the newest N.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=since, metavar="WHEN", help="Only what is newer: 7d, 90m, 2026-11-22T18:00:00Z."
    ),
]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version."),
]


# --- registration -------------------------------------------------------------------


def group(name: str, text: str) -> typer.Typer:
    """A group of commands that takes `--config` and `--log-level` as well."""
    app = typer.Typer(name=name, rich_markup_mode=None, no_args_is_help=True)

    def callback(ctx: typer.Context, *, config: Config = None, log_level: LogLevel = None) -> None:
        ctx.obj = _merged(ctx, config, log_level)

    app.callback(help=text)(callback)
    return app


def command(
    app: typer.Typer, name: str | None = None
) -> Callable[[Callable[Concatenate[Options, P], int]], Callable[Concatenate[Options, P], int]]:
    """
    Register a function as a command; the process ends with the status it returns.

    Its first parameter is filled with `--config` and `--log-level`; the others become
    arguments and options.
    """

    def register(
        function: Callable[Concatenate[Options, P], int],
    ) -> Callable[Concatenate[Options, P], int]:
        _, *own = inspect.signature(function).parameters.values()

        def run(ctx: typer.Context, **values: object) -> None:
            config, log_level = values.pop("config"), values.pop("log_level")
            options = _merged(ctx, config, log_level)  # type: ignore[arg-type] # as declared below
            raise typer.Exit(exit_status(lambda: function(options, **values)))  # type: ignore[arg-type, call-arg] # by Typer

        keyword = inspect.Parameter.KEYWORD_ONLY
        parameters = [
            inspect.Parameter(
                "ctx", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context
            ),
            *(one.replace(kind=keyword) for one in own),
            inspect.Parameter("config", keyword, default=None, annotation=Config),
            inspect.Parameter("log_level", keyword, default=None, annotation=LogLevel),
        ]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined] # what Typer reads
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        run.__name__, run.__doc__ = function.__name__, function.__doc__
        app.command(name)(run)
        return function

    return register


def _merged(ctx: typer.Context, config: Path | None, log_level: str | None) -> Options:
    """These options, and those before the command's name where these are not given."""
    before = ctx.find_object(Options) or Options()
    return Options(config=config or before.config, log_level=log_level or before.log_level)
