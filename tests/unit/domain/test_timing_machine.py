"""Whatever Kalshi does to a start, it is announced when it should be, and once."""

from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from life import Life
from strategies import DAY, HOUR, MINUTE, NOON, SECOND, UNSET

from notifier.domain.models import Event, Kind
from notifier.domain.timers import TimePolicy

POLICY = TimePolicy(leads=(10 * SECOND, 15 * MINUTE, DAY))

_STEPS = st.sampled_from(
    [SECOND, MINUTE, 10 * MINUTE, 16 * MINUTE, 31 * MINUTE, 2 * HOUR, 25 * HOUR]
)
_SHIFTS = _STEPS | _STEPS.map(lambda step: -step) | st.just(timedelta(0))


class Starts(RuleBasedStateMachine):
    """Reads, moves, waits and downtimes in any order, beside a plain expectation."""

    def __init__(self) -> None:
        super().__init__()
        self.life = Life(policy=POLICY)
        self.start = NOON
        self.seen: set[datetime] = {NOON}
        #: Starts that were announced, oldest first, and the one that is owed.
        self.announced: list[datetime] = []
        self.owed: datetime | None = None

    @initialize(shift=_SHIFTS)
    def first_read(self, shift: timedelta) -> None:
        self.start = NOON + shift
        self.life.shows(start=self.start)
        self.owed = self.start if self.start > NOON else None

    @rule(shift=_SHIFTS)
    def moves_from_now(self, shift: timedelta) -> None:
        self._moves(self.life.now + shift)

    @rule(shift=_SHIFTS)
    def moves_from_where_it_is(self, shift: timedelta) -> None:
        self._moves(self.start + shift)

    @rule(data=st.data())
    def moves_back_to_where_it_was(self, data: st.DataObject) -> None:
        self._moves(data.draw(st.sampled_from(sorted(self.seen))))

    @rule()
    def loses_its_date(self) -> None:
        self._moves(UNSET)

    @rule()
    def changes_its_title(self) -> None:
        self.life.fields |= {"title": f"Title {len(self.life.events)}"}
        self.life.shows()

    @rule(shift=_SHIFTS)
    def gets_an_end(self, shift: timedelta) -> None:
        self.life.shows(end=self.life.now + shift)

    @rule()
    def loses_its_end(self) -> None:
        self.life.shows_no_end()

    @rule(span=_STEPS)
    def waits(self, span: timedelta) -> None:
        self._check(self.life.wait(span))

    @rule(span=_STEPS)
    def is_down(self, span: timedelta) -> None:
        self._check(self.life.sleep(span))

    def _moves(self, start: datetime) -> None:
        now, before = self.life.now, self.start
        self.life.shows(start=start)
        self.start = start
        self.seen.add(start)
        if start != before:
            self.owed = start if self._is_news(start, before, now) else None
        self._check(self.life.wait(timedelta(0)))

    def _is_news(self, start: datetime, before: datetime, now: datetime) -> bool:
        if start < NOON - 365 * DAY:
            return False
        if self.announced and start - self.announced[-1] <= POLICY.started_again_after:
            return False
        return max(start, before) > now or now - start <= POLICY.started_grace

    def _check(self, said: list[Event]) -> None:
        """What was said is what was owed, no more and no less."""
        now = self.life.now
        started = [event for event in said if event.kind is Kind.STARTED]
        if self.owed is None or self.owed > now:
            assert started == []
            return
        (event,) = started
        assert event.at == self.owed == self.start
        assert event.again_from == (self.announced[-1] if self.announced else None)
        assert event.missed == (event.seen_at - self.owed > POLICY.started_grace)
        self.owed = None
        if not event.missed:
            self.announced.append(event.at)

    @invariant()
    def no_instant_is_announced_twice(self) -> None:
        assert len(set(self.announced)) == len(self.announced)

    @invariant()
    def later_announcements_are_of_much_later_starts(self) -> None:
        pairs = zip(self.announced, self.announced[1:], strict=False)
        assert all(b - a > POLICY.started_again_after for a, b in pairs)

    @invariant()
    def reminders_come_before_the_start_and_hardly_late(self) -> None:
        for event in self.life.events:
            if event.kind is Kind.UPCOMING:
                assert event.lead is not None
                assert event.seen_at < event.milestone.start
                assert event.at == event.milestone.start - event.lead
                assert event.at <= event.seen_at <= event.at + event.lead / 10

    @invariant()
    def nobody_ends_twice_at_one_instant(self) -> None:
        ends = [
            event.at for event in self.life.events if event.kind is Kind.ENDED and not event.missed
        ]
        assert len(set(ends)) == len(ends)

    @invariant()
    def no_start_is_forgotten(self) -> None:
        if self.owed is not None:
            armed = [timer.fire_at for timer in self.life.timers.values()]
            assert self.owed in armed


TestStarts = Starts.TestCase
TestStarts.settings = settings(stateful_step_count=25)
