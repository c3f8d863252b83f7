"""
Logs: one canonical line per read, alarm and attempt, on stderr, with no secret.

Events are `noun.past_participle`; all of them stand in `docs/log-events.md`.
"""

import logging
import sys
from collections.abc import Callable, Collection, MutableMapping
from typing import Any, TextIO

import structlog

#: Libraries that write URLs and payloads into their logs.
_TALKATIVE = (
    "apprise",
    "urllib3",
    "requests",
    "httpx",
    "httpcore",
    "asyncio",
    "oauthlib",
)

Redact = Callable[[str], str]


def set_up(
    *,
    level: str,
    style: str,
    redact: Redact = str,
    stream: TextIO | None = None,
) -> None:
    """
    Send logs of `level` and above to `stream` (stderr).

    `style` is `json`, `text`, or `auto`: text on a terminal. `redact` takes the
    secrets out of a text; it sees every value before it is written.
    """
    out = sys.stderr if stream is None else stream
    as_text = style == "text" or (style == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            _redacted(redact),
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
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def redacting(secrets: Collection[str], redact: Callable[..., str]) -> Redact:
    """A redactor that knows these secrets."""
    return lambda text: redact(text, secrets)


def _redacted(redact: Redact) -> structlog.typing.Processor:
    def process(
        _logger: object, _name: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        return {key: _without(value, redact) for key, value in line.items()}

    return process


def _without(value: Any, redact: Redact) -> Any:
    """The value with all texts in it redacted, however deep they lie."""
    match value:
        case str():
            return redact(value)
        case bool() | int() | float() | None:
            return value
        case dict():
            return {redact(str(key)): _without(one, redact) for key, one in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_without(one, redact) for one in value]
        case _:
            return redact(str(value))
