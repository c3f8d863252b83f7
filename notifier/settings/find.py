"""Where the configuration lies."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from notifier.errors import ConfigError

NAME = "notifier.yaml"


def find(explicit: Path | None, environ: Mapping[str, str], *, cwd: Path) -> Path | None:
    """
    The configuration file to use, absolute; None: there is none.

    `--config`, $NOTIFIER_CONFIG, ./, ./config/, $XDG_CONFIG_HOME/notifier/,
    /etc/notifier/: the first one counts, files are never merged.

    Raises: ConfigError when a file that was asked for is not there.
    """
    if explicit is not None:
        return _asked(cwd / explicit, by="--config")
    if named := environ.get("NOTIFIER_CONFIG"):
        return _asked(cwd / named, by="NOTIFIER_CONFIG")
    return next((path for path in usual(environ, cwd) if _is_file(path)), None)


def _asked(path: Path, *, by: str) -> Path:
    """A file that must be there because somebody named it."""
    if _is_file(path) or _is_stream(path):
        return path
    if path.is_dir():
        raise ConfigError([f"{by}: {path} is a folder; did you mean {path / NAME}?"])
    raise ConfigError([f"{by}: {path} does not exist"])


def usual(environ: Mapping[str, str], cwd: Path) -> Iterator[Path]:
    """Where a file is looked for that nobody named, in order."""
    yield cwd / NAME
    yield cwd / "config" / NAME
    xdg, home = environ.get("XDG_CONFIG_HOME", ""), environ.get("HOME", "")
    if Path(xdg).is_absolute():
        yield Path(xdg) / "notifier" / NAME
    elif Path(home).is_absolute():
        yield Path(home) / ".config" / "notifier" / NAME
    yield Path("/etc/notifier") / NAME


def _is_file(path: Path) -> bool:
    """Whether a file is there; one that may not be looked at is no 'no'."""
    try:
        return path.is_file()
    except OSError as exc:
        raise ConfigError([f"{path}: cannot be looked at: {exc.strerror}"]) from None


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe, as a shell's <(...) makes one."""
    return path.is_fifo() or path.is_char_device()
