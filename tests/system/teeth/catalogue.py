"""Every tooth: what is taken away, who must notice, and what they may say."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a judge can find."""

    LOST = "lost"
    SPURIOUS = "spurious"
    REPEATED = "repeated"
    ORDER = "out of order"
    CORRUPT = "corrupt"
    LATE = "late"
    #: What is written down is not what was done.
    ACCOUNT = "not accounted for"
    #: Something else that must hold.
    OTHER = "other"
    #: The judge itself came to no verdict: this proves nothing.
    ERROR = "no verdict"


@dataclass(frozen=True)
class Judge:
    """A row of the fault ledger, or seeds of the simulation until one finds something."""

    row: str = ""
    last_seed: int = 0

    @property
    def name(self) -> str:
        """For tables."""
        return f"row {self.row}" if self.row else f"seeds 1 to {self.last_seed}"


@dataclass(frozen=True, kw_only=True)
class Tooth:
    """
    One thing that keeps the promise, and who notices when it is gone.

    `code` is put right behind the definition of `name` at the top level of `module`,
    which it takes back, or wraps.
    """

    name: str
    removed: str
    module: str
    definition: str
    code: str
    judge: Judge
    #: Any of these proves that it was noticed.
    expects: frozenset[Kind]


_SEEDS = Judge(last_seed=12)

TEETH: tuple[Tooth, ...] = (
    Tooth(
        name="compare-and-set",
        removed="a settlement asks whether the lease is still its own",
        module="notifier.storage.outbox",
        definition="_IS_OURS",
        code="""_IS_OURS = "state = 'leased'" """,
        judge=Judge(row="lease-lost"),
        expects=frozenset({Kind.REPEATED}),
    ),
    Tooth(
        name="overlap",
        removed="a poll asks for what was updated up to two minutes earlier",
        module="notifier.domain.poll_schedule",
        definition="OVERLAP",
        code="OVERLAP = timedelta(0)",
        judge=_SEEDS,
        expects=frozenset({Kind.LOST}),
    ),
    Tooth(
        name="synchronous-full",
        removed="a commit waits until the disk has it",
        module="notifier.storage.sqlite",
        definition="_PRAGMAS",
        code='_PRAGMAS["synchronous"] = "1"',
        judge=Judge(row="power-cut"),
        expects=frozenset({Kind.LOST, Kind.REPEATED, Kind.CORRUPT}),
    ),
    Tooth(
        name="unique-events",
        removed="the table of events holds each id once",
        module="notifier.storage.schema",
        definition="events",
        code="events.constraints = {c for c in events.constraints if c is events.primary_key}",
        judge=_SEEDS,
        expects=frozenset({Kind.REPEATED}),
    ),
    Tooth(
        name="attempt-at-claim",
        removed="an attempt is counted when it is claimed, before anything leaves",
        module="notifier.storage.outbox",
        definition="_lease",
        code="""
_counting = _lease
_UNCOUNT = sql(
    "UPDATE deliveries SET attempts = attempts - 1, tries = tries - 1 WHERE token = :token"
)
def _lease(conn, *args):
    leases = _counting(conn, *args)
    _execute_many(conn, _UNCOUNT, [{"token": one.token} for one in leases])
    return leases
""",
        judge=_SEEDS,
        expects=frozenset({Kind.ACCOUNT}),
    ),
    Tooth(
        name="frozen-members",
        removed="what may have arrived goes again with exactly its members and its id",
        module="notifier.domain.retry_policy",
        definition="_retry",
        code="""
_freezing = _retry
def _retry(*args, frozen=False, **kwargs):
    return _freezing(*args, **kwargs)
""",
        judge=_SEEDS,
        expects=frozenset({Kind.REPEATED, Kind.CORRUPT}),
    ),
    Tooth(
        name="order-in-a-milestone",
        removed="what comes later waits behind what comes first",
        module="notifier.storage.due",
        definition="_IS_BLOCKED",
        code='_IS_BLOCKED = "FALSE"',
        judge=_SEEDS,
        expects=frozenset({Kind.ORDER}),
    ),
    Tooth(
        name="instance-lock",
        removed="one process at a time may have the store",
        module="notifier.storage.sqlite",
        definition="InstanceLock",
        code="""
from types import SimpleNamespace
fcntl = SimpleNamespace(**vars(fcntl) | {"LOCK_EX": fcntl.LOCK_SH})
""",
        judge=Judge(row="second-comer"),
        expects=frozenset({Kind.REPEATED}),
    ),
    Tooth(
        name="reaping-at-the-start",
        removed="a start frees what the life before had leased",
        module="notifier.storage.outbox",
        definition="release_expired_leases",
        code="""
_releasing = release_expired_leases
def release_expired_leases(*args, everything, **kwargs):
    return _releasing(*args, everything=False, **kwargs)
""",
        judge=Judge(row="leased-at-death"),
        expects=frozenset({Kind.LATE}),
    ),
)
