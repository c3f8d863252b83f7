"""Every tooth."""

from teeth.tooth import Edit, Kind, LedgerRow, Seeds, Tooth

_OUTBOX = "notifier/storage/outbox.py"
_RETRY_POLICY = "notifier/domain/retry_policy.py"

TEETH: tuple[Tooth, ...] = (
    Tooth(
        name="compare-and-set",
        removed="a settlement asks whether the lease is still its own",
        edits=(
            Edit(
                file=_OUTBOX,
                old="_IS_OURS = \"token = :token AND state = 'leased'\"",
                new="_IS_OURS = \":token <> '' AND state = 'leased'\"",
            ),
        ),
        judge=LedgerRow("lease-lost"),
        expects=frozenset({Kind.REPEATED}),
    ),
    Tooth(
        name="overlap",
        removed="a poll asks for what was updated up to two minutes earlier",
        edits=(
            Edit(
                file="notifier/domain/poll_schedule.py",
                old="OVERLAP = timedelta(seconds=120)",
                new="OVERLAP = timedelta(seconds=0)",
            ),
        ),
        judge=Seeds(1, 12),
        expects=frozenset({Kind.LOST}),
    ),
    Tooth(
        name="synchronous-full",
        removed="a commit waits until the disk has it",
        edits=(
            Edit(
                file="notifier/storage/sqlite.py",
                old='"synchronous": "2"',
                new='"synchronous": "1"',
            ),
        ),
        judge=LedgerRow("power-cut"),
        expects=frozenset({Kind.LOST, Kind.REPEATED, Kind.CORRUPT}),
    ),
    Tooth(
        name="unique-events",
        removed="the table of events holds each id once",
        edits=(
            Edit(
                file="notifier/storage/schema.py",
                old='    Column("id", Text, nullable=False, unique=True),\n'
                '    Column("kind", Text, nullable=False),\n'
                '    Column("milestone_id", Text, nullable=False),\n'
                '    Column("at", Instant, nullable=False),\n',
                new='    Column("id", Text, nullable=False),\n'
                '    Column("kind", Text, nullable=False),\n'
                '    Column("milestone_id", Text, nullable=False),\n'
                '    Column("at", Instant, nullable=False),\n',
            ),
        ),
        judge=Seeds(1, 12),
        expects=frozenset({Kind.REPEATED}),
    ),
    Tooth(
        name="attempt-at-claim",
        removed="an attempt is counted when it is claimed, before anything leaves",
        edits=(
            Edit(
                file=_OUTBOX,
                old=" attempts = attempts + 1, tries = tries + 1, held = NULL",
                new=" held = NULL",
            ),
        ),
        judge=Seeds(1, 12),
        expects=frozenset({Kind.ACCOUNT}),
    ),
    Tooth(
        name="frozen-members",
        removed="what may have arrived goes again with exactly its members and its id",
        edits=(
            Edit(
                file=_RETRY_POLICY,
                old="_in_time(delivery, now + wait, now), frozen=frozen)",
                new="_in_time(delivery, now + wait, now))",
            ),
            Edit(
                file=_RETRY_POLICY,
                old="    return _retry(delivery, LEASE_EXPIRED, due_at, frozen=True)",
                new="    return _retry(delivery, LEASE_EXPIRED, due_at)",
            ),
        ),
        judge=Seeds(1, 12),
        expects=frozenset({Kind.REPEATED, Kind.CORRUPT}),
    ),
    Tooth(
        name="order-in-a-milestone",
        removed="what comes later waits behind what comes first",
        edits=(
            Edit(
                file="notifier/storage/due.py",
                old="    ahead.state = 'leased'\n    OR d.kind",
                new="    ahead.seq < 0\n    AND d.kind",
            ),
        ),
        judge=Seeds(1, 12),
        expects=frozenset({Kind.ORDER}),
    ),
    Tooth(
        name="instance-lock",
        removed="one process at a time may have the store",
        edits=(
            Edit(
                file="notifier/storage/sqlite.py",
                old="fcntl.LOCK_EX | fcntl.LOCK_NB",
                new="fcntl.LOCK_SH | fcntl.LOCK_NB",
            ),
        ),
        judge=LedgerRow("second-comer"),
        expects=frozenset({Kind.REPEATED}),
    ),
    Tooth(
        name="reaping-at-the-start",
        removed="a start frees what the life before had leased",
        edits=(
            Edit(
                file="notifier/app.py",
                old="        now,\n        everything=True,\n",
                new="        now,\n        everything=False,\n",
            ),
        ),
        judge=LedgerRow("leased-at-death"),
        expects=frozenset({Kind.LATE}),
    ),
)
