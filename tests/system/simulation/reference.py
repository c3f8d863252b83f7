"""
What should have happened: computed from the answers that arrived, and from time.

It learns of every answer at the moment of its arrival, and of every boot and end of
the process. What arrived at the very moment of a death may have been committed or
not; only then the database is asked which, and a half is a failure.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, unquote, urlsplit

from simulation import rows
from simulation.ledger import Ledger, Stored
from simulation.rows import Doc

GRACE = timedelta(minutes=30)
ENDED_GRACE = timedelta(hours=24)
AGAIN_AFTER = timedelta(minutes=15)
#: Absent from so many complete reads, before anyone may ask for it by id.
ABSENCES = 3
FEW = 20
#: Of those, so many after one read.
ASKED = 20
#: A process that dies so soon after a moment may not have acted on it.
INSTANT = timedelta(milliseconds=5)

#: A timer in the database: milestone, kind and lead in seconds.
Key = tuple[str, str, float]
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An event that must be stored, exactly once."""

    kind: str
    milestone_id: str
    #: The instant, for what comes from a timer.
    at: datetime | None = None
    lead: timedelta | None = None
    #: When it is to be seen.
    seen_at: datetime
    missed: bool = False
    fields: frozenset[str] = frozenset()
    doc: Doc
    #: What an update found.
    before: Doc | None = None
    #: An update that nobody may miss.
    is_grave: bool = False


@dataclass(frozen=True, kw_only=True)
class Arrived:
    """An answer, when it came back whole."""

    at: datetime
    target: str
    status: int
    body: bytes
    #: Something is wrong with it that hides what is there.
    is_hiding: bool = False
    #: It comes from a replica that is a little behind.
    is_late: bool = False
    #: What a read that begins with it must have shown at its end.
    promises: Mapping[str, bytes] = field(default_factory=dict)


@dataclass
class Read:
    """One read, recognised by what it asks for."""

    number: int
    #: Its window; None: everything.
    since: datetime | None
    is_poll: bool
    promises: Mapping[str, bytes]
    #: How many answers had hidden something before it began.
    hidings: int
    shown: set[str] = field(default_factory=set)
    rows: int = 0


@dataclass(frozen=True)
class Known:
    """A milestone as the service must know it."""

    raw: bytes
    doc: Doc
    is_gone: bool = False
    doubt: tuple[bytes, int] | None = None
    told_start: datetime | None = None
    told_end: datetime | None = None
    #: By kind and lead: when something becomes true.
    timers: Mapping[tuple[str, timedelta], datetime] = field(default_factory=dict)
    absences: int = 0


class Reference:
    """The milestones as they should be known, and the events as they should be."""

    def __init__(
        self, *, leads: tuple[timedelta, ...], loud: Callable[[], Mapping[str, bytes]]
    ) -> None:
        self.expected: list[Expected] = []
        #: What the service did and must not do.
        self.complaints: list[str] = []
        self.known: dict[str, Known] = {}
        self.is_baselined = False
        self._leads = leads
        self._loud = loud
        #: Answers to polls and full reads that hid something, and whether a full read
        #: has made up for them since.
        self._hidings = 0
        self._is_hidden = False
        #: Who may be asked for by id after the last read, and how many were.
        self._askable: set[str] = set()
        self._asked = 0
        self._held: list[Arrived] = []
        self._reads: dict[bool, Read] = {}
        self._numbers = iter(range(1, 1_000_000))
        self._up_since: datetime | None = None
        self._up_until: datetime | None = None

    # --- what happens ---

    def booted(self, at: datetime) -> None:
        """The process lives."""
        self._up_since, self._up_until = at, None
        self._reads.clear()

    def stopping(self, at: datetime) -> None:
        """The process only finishes what it is sending."""
        self.settle(at)
        self._up_until = at

    def arrived(self, answer: Arrived) -> None:
        """The process has got an answer."""
        self.settle(answer.at)
        self._held.append(answer)

    def settle(self, now: datetime) -> None:
        """Everything before this moment has surely had its effect."""
        surely = [answer for answer in self._held if answer.at < now]
        self._held = [answer for answer in self._held if answer.at >= now]
        for answer in surely:
            self._fire(answer.at)
            self._take(answer)
            self._fire(answer.at, not_before=answer.at)
        self._fire(now - INSTANT)

    def died(self, at: datetime, ledger: Ledger) -> None:
        """The process is dead; what it was about to do may have happened or not."""
        self.settle(at)
        for answer in self._held:
            self._take_or_not(answer, ledger)
            self._is_hidden = True
        self._held.clear()
        left = ledger.timers()
        self._fire(at, not_before=at - INSTANT, left=left)
        self._up_since = None

    def _take_or_not(self, answer: Arrived, ledger: Ledger) -> None:
        known, expected = dict(self.known), list(self.expected)
        self._take(answer)
        found = ledger.milestones()
        differing = {
            key
            for key, one in self.known.items()
            if key not in known or _visible(known[key]) != _visible(one)
        }
        committed = {
            key for key in differing if key in found and found[key] == _visible(self.known[key])
        }
        if committed and committed != differing:
            said = f"a torn page: {sorted(committed)} of {sorted(differing)}"
            self.complaints.append(said)
        if differing and not committed:
            self.known, self.expected = known, expected
        self.is_baselined = ledger.is_baselined()

    # --- answers ---

    def _take(self, answer: Arrived) -> None:
        url = urlsplit(answer.target)
        query = {key: values[-1] for key, values in parse_qs(url.query).items()}
        _, _, milestone_id = url.path.partition("/milestones/")
        if milestone_id:
            self._take_single(unquote(milestone_id), answer)
        else:
            self._take_page(query, answer)

    def _take_single(self, milestone_id: str, answer: Arrived) -> None:
        known = self.known[milestone_id]
        if milestone_id not in self._askable:
            said = f"{milestone_id} was asked for after {known.absences} absences"
            self.complaints.append(said)
        self._askable.discard(milestone_id)
        self._asked += 1
        if self._asked > ASKED:
            said = f"{self._asked} milestones were asked for after one read"
            self.complaints.append(said)
        if answer.status == 404 and rows.says_not_found(answer.body):
            self._remove(milestone_id, known, answer.at)
        elif answer.status == 200:
            raw = rows.single(answer.body)
            if raw is not None:
                self._take_row(raw, self._reads[False], answer.at)

    def _remove(self, milestone_id: str, known: Known, now: datetime) -> None:
        self._expect("removed", milestone_id, known.doc, now)
        self.known[milestone_id] = replace(known, is_gone=True, timers={}, absences=0)

    def _take_page(self, query: Mapping[str, str], answer: Arrived) -> None:
        is_poll = "min_updated_ts" in query
        if "cursor" not in query:
            self._reads[is_poll] = self._new_read(query, answer.promises)
        if answer.is_hiding and "minimum_start_date" not in query:
            self._hidings += 1
            self._is_hidden = True
        page = rows.page(answer.body) if answer.status == 200 else None
        if page is None:
            return
        read = self._reads[is_poll]
        if answer.is_late:
            read.promises = {}
        read.rows += len(page.rows)
        for raw in page.rows:
            self._take_row(raw, read, answer.at)
        if not page.cursor:
            self._complete(read)

    def _new_read(self, query: Mapping[str, str], promises: Mapping[str, bytes]) -> Read:
        since = query.get("minimum_start_date")
        return Read(
            number=next(self._numbers),
            since=None if since is None else datetime.fromisoformat(since),
            is_poll="min_updated_ts" in query,
            promises=promises,
            hidings=self._hidings,
        )

    def _complete(self, read: Read) -> None:
        if read.is_poll:
            self._keep_promises(read)
            return
        if read.since is None and read.hidings == self._hidings:
            self._is_hidden = False
        self._askable.clear()
        self._asked = 0
        if read.since is None:
            self.is_baselined = True
        window = {
            key: known
            for key, known in self.known.items()
            if not known.is_gone and (read.since is None or rows.start(known.doc) >= read.since)
        }
        few = len(window) < FEW
        if not read.shown if few else 2 * len(read.shown) < len(window):
            return
        for key, known in window.items():
            absences = 0 if key in read.shown else known.absences + 1
            self.known[key] = replace(known, absences=absences)
            if absences >= ABSENCES:
                self._askable.add(key)

    def _keep_promises(self, read: Read) -> None:
        """A poll to its end brings all that has been updated before it began."""
        if self._is_hidden:
            return
        loud = self._loud()
        for key, raw in read.promises.items():
            doc = json.loads(raw)
            if loud.get(key) != raw or rows.is_simulation(doc):
                continue
            known = self.known.get(key)
            if known is None or known.is_gone or known.doc != doc:
                self.complaints.append(f"{key}: passed over by a whole poll")

    # --- rows ---

    def _take_row(self, raw: bytes, read: Read, now: datetime) -> None:
        if key := rows.identity(raw):
            read.shown.add(key)
        doc = rows.read(raw)
        if doc is None or rows.is_simulation(doc):
            return
        known = self.known.get(doc["id"])
        if known is None or known.is_gone:
            self._create(raw, doc, now)
        elif raw == known.raw:
            self.known[doc["id"]] = replace(known, doubt=None)
        elif not self.is_baselined:
            self._replace_silently(known, raw, doc, now)
        elif self._is_doubtful(known, raw, doc, read):
            self.known[doc["id"]] = replace(known, doubt=(raw, read.number))
        else:
            self._update(known, raw, doc, now)

    def _is_doubtful(self, known: Known, raw: bytes, doc: Doc, read: Read) -> bool:
        if not rows.is_older(doc, known.doc):
            return False
        return known.doubt is None or (known.doubt[0] != raw or known.doubt[1] == read.number)

    def _create(self, raw: bytes, doc: Doc, now: datetime) -> None:
        if self.is_baselined:
            self._expect("created", doc["id"], doc, now)
        self.known[doc["id"]] = self._armed(Known(raw, doc), None, now)

    def _replace_silently(self, known: Known, raw: bytes, doc: Doc, now: datetime) -> None:
        fresh = replace(known, raw=raw, doc=doc, doubt=None, timers={})
        self.known[doc["id"]] = self._armed(fresh, None, now)

    def _update(self, known: Known, raw: bytes, doc: Doc, now: datetime) -> None:
        fields = rows.changed(known.doc, doc)
        fresh = replace(known, raw=raw, doc=doc, doubt=None)
        fresh = self._armed(fresh, known.doc, now)
        self.known[doc["id"]] = fresh
        ends_at = fresh.timers.get(("end", timedelta(0)))
        ends_now = ends_at is not None and ends_at <= now
        if fields and not (fields == {"end_date"} and ends_now):
            self._expect("updated", doc["id"], doc, now, before=known.doc)

    # --- timers ---

    def _armed(self, known: Known, before: Doc | None, now: datetime) -> Known:
        """With the timers that follow from what has moved."""
        timers = dict(known.timers)
        if before is None or rows.start(before) != rows.start(known.doc):
            timers = {key: at for key, at in timers.items() if key[0] == "end"}
            timers |= self._start_timers(known, before, now)
        if before is None or rows.end(before) != rows.end(known.doc):
            timers = {key: at for key, at in timers.items() if key[0] != "end"}
            timers |= self._end_timer(known, before, now)
        return replace(known, timers=timers)

    def _start_timers(
        self, known: Known, before: Doc | None, now: datetime
    ) -> dict[tuple[str, timedelta], datetime]:
        start = rows.start(known.doc)
        if not _is_news(start, known.told_start):
            return {}
        if start <= now:
            if before is None:
                return {}
            was_ahead = rows.start(before) > now
            if not was_ahead and now - start > GRACE:
                return {}
            return {("start", timedelta(0)): start}
        reminders = {
            ("remind", lead): start - lead
            for lead in self._leads
            if now - (start - lead) <= lead / 10
        }
        return {("start", timedelta(0)): start} | reminders

    def _end_timer(
        self, known: Known, before: Doc | None, now: datetime
    ) -> dict[tuple[str, timedelta], datetime]:
        end = rows.end(known.doc)
        if end is None or not _is_news(end, known.told_end):
            return {}
        if end <= now:
            if before is None or now - end > ENDED_GRACE:
                return {}
            was = rows.end(before)
            if known.told_end is not None and was is not None and was <= now:
                return {}
        return {("end", timedelta(0)): end}

    def _fire(
        self,
        until: datetime,
        *,
        not_before: datetime = BEGINNING,
        left: Collection[Key] = (),
    ) -> None:
        """Let come true what is due, but for the timers that are left."""
        if self._up_since is None:
            return
        floor = max(self._up_since, not_before)
        until = min(until, self._up_until or until)
        due = sorted(
            (max(at, floor), at, key, kind, lead)
            for key, known in self.known.items()
            for (kind, lead), at in known.timers.items()
            if max(at, floor) <= until
        )
        for seen_at, at, key, kind, lead in due:
            if (key, kind, lead.total_seconds()) not in left:
                self._come_true(key, kind, lead, at, seen_at)

    def _come_true(
        self, key: str, kind: str, lead: timedelta, at: datetime, seen_at: datetime
    ) -> None:
        known = self.known[key]
        timers = {k: when for k, when in known.timers.items() if k != (kind, lead)}
        known = self.known[key] = replace(known, timers=timers)
        late = seen_at - at
        if kind == "remind":
            if late <= lead / 10 and rows.start(known.doc) > seen_at:
                self._say("upcoming", key, at, seen_at, lead=lead)
        elif kind == "start":
            missed = late > GRACE
            self._say("started", key, at, seen_at, missed=missed)
            if not missed:
                self.known[key] = replace(known, told_start=at)
        else:
            missed = late > ENDED_GRACE
            self._say("ended", key, at, seen_at, missed=missed)
            if not missed:
                self.known[key] = replace(known, told_end=at)

    def _say(
        self,
        kind: str,
        key: str,
        at: datetime,
        seen_at: datetime,
        *,
        lead: timedelta | None = None,
        missed: bool = False,
    ) -> None:
        if any(
            (one.kind, one.milestone_id, one.at, one.lead) == (kind, key, at, lead)
            for one in self.expected
        ):
            return  # the same fact has the same id
        self.expected.append(
            Expected(
                kind=kind,
                milestone_id=key,
                at=at,
                lead=lead,
                seen_at=seen_at,
                missed=missed,
                doc=self.known[key].doc,
            )
        )

    def _expect(
        self,
        kind: str,
        key: str,
        doc: Doc,
        now: datetime,
        *,
        before: Doc | None = None,
    ) -> None:
        self.expected.append(
            Expected(
                kind=kind,
                milestone_id=key,
                seen_at=now,
                fields=rows.changed(before, doc) if before else frozenset(),
                doc=doc,
                before=before,
                is_grave=before is not None and rows.is_grave(before, doc),
            )
        )

    # --- for whoever asks ---

    @property
    def is_waiting(self) -> bool:
        """Whether an answer has just come and may or may not have had its effect."""
        return bool(self._held)

    def by_milestone(self) -> Mapping[str, list[Expected]]:
        """What is expected, in order."""
        found: dict[str, list[Expected]] = defaultdict(list)
        for one in self.expected:
            found[one.milestone_id].append(one)
        return found


def _visible(known: Known) -> Stored:
    return Stored(
        doc=known.doc,
        is_doubted=known.doubt is not None,
        is_gone=known.is_gone,
    )


def _is_news(when: datetime, told: datetime | None) -> bool:
    """Whether an instant is one to announce, after what has been announced."""
    return rows.is_real(when) and (told is None or when - told > AGAIN_AFTER)
