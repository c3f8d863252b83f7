"""
All exceptions of this program, by the remedy.

* NotifierError
  x ConfigError            edit a file; exit code 78
  x DestinationError       edit the destination's URL; becomes a line of a ConfigError
  x BadWish                correct the request: a part of it is invalid
  x StoreError
    + StoreBusy            another instance holds the store; exit code 75
    + StoreBroken          the disk failed: the process ends, a restart derives it again
    + StoreSlow            request less, or later: the query took too long
    + StoreLocked          another program held the write lock until the service was to end
    + SchemaMismatch       the store was written by a newer version of this program
  x SourceError            a read of Kalshi failed; the next one makes up for it
    + SourceUnavailable    try again after a back-off; may carry `retry_after`
    + SourceRefused        400/401/403: retries do not help
    + SourceGarbled        the answer cannot be read
  x RowInvalid             one milestone of a page cannot be read; the rest can

The result of sending a message is no exception but a value: an `Outcome` of `domain.models`.
"""

from collections.abc import Sequence
from datetime import timedelta


class NotifierError(Exception):
    """Base of every error that this program raises on purpose."""


class ConfigError(NotifierError):
    """
    The configuration cannot be used.

    `problems` holds one line each, `file:line: key: what; did you mean ...?`,
    with no secret in it.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class DestinationError(NotifierError):
    """A destination's URL cannot be used; the text says why, and shows no secret."""


class BadWish(NotifierError):
    """A request is invalid; the text says which part and why."""


class StoreError(NotifierError):
    """The database cannot be used as it is."""


class StoreBusy(StoreError):
    """Another instance holds the store; the text says which."""


class StoreBroken(StoreError):
    """
    The database failed in a way that leaves the last commit unknown.

    End the process: event ids are deterministic, so a restart derives what is missing and
    repeats nothing.
    """


class StoreSlow(StoreError):
    """A query was given up because it took too long. Nothing else is wrong."""


class StoreLocked(StoreError):
    """
    Another program held the write lock until the service was to end.

    Nothing was written and nothing is broken: the service ends without a failure.
    """


class SchemaMismatch(StoreError):
    """The store's schema is newer than this program."""


class SourceError(NotifierError):
    """A read of the milestone list failed."""


class SourceUnavailable(SourceError):
    """The API could not be reached, or asked for a pause."""

    def __init__(self, reason: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class SourceRefused(SourceError):
    """The API refuses this request; a retry would be refused as well."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class SourceGarbled(SourceError):
    """The API's answer is not a page of milestones."""


class RowInvalid(NotifierError):
    """One row of a page is not a milestone; the text says which field and why."""
