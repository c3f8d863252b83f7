"""
Logs: one canonical line for each read, timer run and attempt, on stderr, without secrets.

Event names are `noun.past_participle`; `docs/log-events.md` lists them all.
"""

import logging
import sys
from collections.abc import Callable, Collection, MutableMapping
from typing import Any, TextIO

import structlog

#: Libraries that write URLs and payloads into their logs.
_VERBOSE = ("aiohttp", "apprise", "urllib3", "requests", "httpx", "httpcore", "asyncio", "oauthlib")

Redact = Callable[[str], str]


def set_up(*, level: str, style: str, redact: Redact = str, stream: TextIO | None = None) -> None:
    """
    Send logs of `level` and above to `stream` (stderr).

    `style` is `json`, `text`, or `auto`: text on a terminal. `redact` removes the secrets from
    every text of a line before it is written.
    """
    out = sys.stderr if stream is None else stream
    as_text = style == "text" or (style == "auto" and out.isatty())

    def redact_line(
        _logger: object, _name: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: _redacted(value, redact) for key, value in line.items()}

    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact_line,
            structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=20)
            if as_text
            else structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(
            logging.getLevelNamesMapping()[level.upper()]
        ),
        logger_factory=structlog.PrintLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    for name in _VERBOSE:
        logging.getLogger(name).setLevel(logging.WARNING)


def redactor(secrets: Collection[str], redact: Callable[..., str]) -> Redact:
    """A function that removes these secrets from a text."""
    return lambda text: redact(text, secrets)


def _redacted(value: Any, redact: Redact) -> Any:
    """The value with all texts in it redacted, at any depth."""
    match value:
        case str():
            return redact(value)
        case bool() | int() | float() | None:
            return value
        case dict():
            return {redact(str(key)): _redacted(one, redact) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_redacted(one, redact) for one in value]
        case _:
            return redact(str(value))
