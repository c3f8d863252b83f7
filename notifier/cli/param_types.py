"""What several commands let people type."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from notifier.cli.global_options import Given

# What an option needs is imported when it is given, so that `--help` costs nothing.
# ruff: noqa: PLC0415

_LEVELS = ("debug", "info", "warning", "error")


def _level(text: str) -> str:
    if text.lower() not in _LEVELS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(_LEVELS)}")
    return text.lower()


def since(text: str) -> datetime:
    """An instant that lies back."""
    from notifier.cli.since import since

    return since(text)


def until(text: str) -> datetime:
    """An instant ahead."""
    from notifier.cli.since import until

    return until(text)


def scope(text: str) -> str:
    """What a token opens."""
    if text not in {"read", "write"}:
        raise typer.BadParameter(f"{text!r} is neither read nor write")
    return text


def kind(text: str) -> str:
    """A kind of event."""
    from notifier.domain.models import Kind

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
    typer.Option(parser=_level, metavar="LEVEL", help="What is logged: debug, info, ..."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line.")]
Limit = Annotated[int | None, typer.Option(parser=_limit, metavar="N", help="Only the newest N.")]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=since,
        metavar="WHEN",
        help="Only what is newer: 7d, 90m, 2026-11-22T18:00:00Z.",
    ),
]
Version = Annotated[
    bool,
    typer.Option("--version", callback=_version, is_eager=True, help="Say which version it is."),
]


def given(ctx: typer.Context, config: Path | None, log_level: str | None) -> Given:
    """The options wherever they stand: the ones behind the command's name win."""
    before = ctx.find_object(Given) or Given()
    return Given(config=config, log_level=log_level).over(before)
