"""
The first full read as people watch it: on a terminal how far it is, elsewhere a line
in the log when it is complete.
"""

from pathlib import Path

import structlog

from notifier.cli.exit_codes import say
from notifier.cli.progress_line import Footer
from notifier.clock import SystemClock
from notifier.domain.poll_schedule import Progress, ReadEnd, ReadKind
from notifier.messages.humanize import count
from notifier.storage import stats
from notifier.storage.database import reading

log = structlog.get_logger()


class Baseline:
    """Watches reads for the first ones; `footer` is there when a person looks."""

    def __init__(self, database: Path, footer: Footer | None) -> None:
        self._database = database
        self._footer = footer

    def __call__(self, kind: ReadKind, progress: Progress, end: ReadEnd | None) -> None:
        """Take note of one more page."""
        if kind is not ReadKind.BASELINE:
            return
        if end is not None:
            self._complete(end)
        elif self._footer is not None:
            pages = count(progress.pages, "page")
            rows = count(progress.rows, "milestone")
            self._footer.show(f"Baseline: {pages}, {rows} so far ...")

    def _complete(self, end: ReadEnd) -> None:
        with reading(self._database) as conn:
            milestones = stats.count_milestones(conn)
            starts = stats.count_starts(conn, SystemClock().now())
        if self._footer is None:
            log.info(
                "baseline.completed",
                watch=end.watch.name,
                milestones=milestones,
                starts_ahead=starts,
            )
        else:
            self._footer.show("")
            say(
                f"Baseline complete: {count(milestones, 'milestone')}, "
                f"{count(starts, 'start')} ahead"
            )
