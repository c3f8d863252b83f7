"""How one scalar becomes a value, and what may be said when it does not."""

from collections.abc import Callable
from typing import TypeVar

from notifier.settings.tree import Scalar
from notifier.settings.values import Unreadable, flag

_Value = TypeVar("_Value")

#: As much of a wrong value as a message quotes.
QUOTED = 60


def reading(read: Callable[[str], _Value], *, secret: bool = False) -> Callable[[object], _Value]:
    """
    A reader of scalars out of a reader of texts.

    It raises ValueError with a message for people, in which the value is quoted
    as it was written, and not at all when the key holds a secret.
    """

    def validate(value: object) -> _Value:
        if not isinstance(value, Scalar):
            raise ValueError("must be a single value, not a list or mapping")  # noqa: TRY004 - what pydantic collects is a ValueError
        if value.empty:
            raise ValueError("has no value")
        try:
            return read(value.text)
        except Unreadable as exc:
            raise ValueError(explain(exc, value, secret=secret)) from None

    return validate


def read_flag(value: object) -> bool:
    """A boolean; in quotes it is a text, unless a variable had to be quoted."""
    if isinstance(value, Scalar) and value.quoted and not value.foreign:
        raise ValueError(f"{quote(value)} is a text; write it without quotes")
    return reading(flag)(value)


def explain(exc: Unreadable, value: Scalar, *, secret: bool = False) -> str:
    """What is wrong with a value, and what was probably meant."""
    if secret:
        return exc.what
    advice = "" if value.foreign else exc.advice
    joint = " " if advice.startswith("(") else "; "
    return joint.join(filter(None, (f"{quote(value)} {exc.what}", advice)))


def quote(value: Scalar) -> str:
    """A value as it was written, variables unresolved, cut to one short line."""
    flat = " ".join(value.written.split())
    return f'"{flat if len(flat) <= QUOTED else flat[: QUOTED - 1] + "…"}"'
