"""A template of the user's own must compile, or it would fail at its first use."""

from notifier.domain.models import Format
from notifier.settings.tree import Scalar


class MisspeltError(ValueError):
    """A template that does not compile, and on which of its lines."""

    def __init__(self, what: str, *, line: int) -> None:
        super().__init__(what)
        self.line = line


def template(value: object) -> str:
    """
    The text of a template that compiles in the sandbox it will run in.

    Raises: ValueError when it is no text; MisspeltError when it does not compile.
    """
    if not isinstance(value, Scalar):
        raise ValueError("must be a text, not a list or mapping")  # noqa: TRY004 - what pydantic collects is a ValueError
    if value.empty:
        raise ValueError("has no value")
    _compile(value.text)
    return value.text


def _compile(text: str) -> None:
    """Nothing, if it compiles: whether its names exist shows when it is filled."""
    from jinja2 import TemplateSyntaxError  # noqa: PLC0415 - few write templates

    from notifier.messages.templates import (  # noqa: PLC0415 - likewise
        MAX_SOURCE,
        environment,
    )

    if len(text) > MAX_SOURCE:
        raise ValueError(f"is longer than {MAX_SOURCE:,} characters")
    try:
        environment(Format.TEXT).from_string(text)
    except TemplateSyntaxError as exc:
        reason = (exc.message or "it does not end").rstrip(".")
        what = f"line {exc.lineno} is not Jinja2: {reason}"
        raise MisspeltError(what, line=exc.lineno) from None
    except (RecursionError, MemoryError, SyntaxError):
        # What Jinja2 makes of it is Python, which takes no more than 20 loops deep.
        raise ValueError("is nested too deeply") from None
