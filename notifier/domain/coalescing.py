"""
What waits for one milestone, told as one: the net change, or nothing at all.

Only what surely has not arrived is netted away. Updates that follow each other and
came by the same route become the newest of them; if they undo each other there is
nothing to say, and neither is there about a milestone that came and went.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from notifier.domain.changes import net
from notifier.domain.models import Due, Ended, Kind, State


def netted(waiting: Iterable[Due]) -> Iterator[Ended]:
    """
    Those of the waiting deliveries that need not be told, each with what tells it.

    `waiting` holds nothing urgent and nothing that may have arrived.
    """
    of: dict[str, list[Due]] = defaultdict(list)
    for delivery in waiting:
        of[delivery.milestone_id].append(delivery)
    for together in of.values():
        if len(together) > 1:
            together.sort(key=lambda delivery: delivery.seq)
            yield from _netted(together)


def _netted(together: Sequence[Due]) -> Iterator[Ended]:
    rest = list(together)
    for removed in [one for one in together if one.kind is Kind.REMOVED]:
        run = rest[: rest.index(removed) + 1]
        begun = [n for n, one in enumerate(run) if one.kind is Kind.CREATED]
        if begun and not run[begun[-1]].heard:
            passing = run[begun[-1] :]
            words = "it was listed and removed again before it was told"
            yield from (_superseded(one, removed, words) for one in passing)
            rest = [one for one in rest if one not in passing]
    for (kind, _), run_of in groupby(rest, key=lambda one: (one.kind, one.route)):
        run = list(run_of)
        if kind is Kind.UPDATED and len(run) > 1 and all(one.changes for one in run):
            yield from _merged(run)


def _merged(updates: Sequence[Due]) -> Iterator[Ended]:
    newest = updates[-1]
    if net([update.changes for update in updates], newest.row):
        told = updates[:-1]
        words = "told with a later update of the milestone"
    else:
        told = updates
        words = "changed back before it was told"
    yield from (_superseded(one, newest, words) for one in told)


def _superseded(one: Due, by: Due, words: str) -> Ended:
    return Ended(
        delivery_id=one.delivery_id,
        state=State.SUPERSEDED,
        reason=words,
        by=by.event_id,
    )
