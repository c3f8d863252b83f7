"""
What destinations were told, and what they need not have been told.

The net change of several updates is, field by field, the difference between two
documents: the one before the first of them that changed it and the one of the last.
Nothing here asks the service how it adds changes up.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from notifier.domain.models import CloudEvent
from simulation import rows
from simulation.books import CONTENT, URGENT, Books
from simulation.far_end import Attempt
from simulation.ledger import StoredDelivery, StoredEvent

IGNORED = frozenset({"details.status", "details.session_id", "source_id"})
#: Fields that may change without a word: there the routes of `story` ignore them.
_UNTOLD = {
    "hook": IGNORED,
    "chat": frozenset({"end_date"}),
    "once": IGNORED | {"end_date"},
}
#: By field: its value before and after.
Difference = Mapping[str, tuple[object, object]]
#: A destination and a milestone.
Ear = tuple[str, str]


def complaints(books: Books, world: Mapping[str, rows.Doc]) -> Iterator[str]:
    """Everything that is wrong."""
    groups = _groups(books)
    for one in books.owed.values():
        if one.state == "superseded":
            yield from _of_one(books, one)
    for group in groups.values():
        yield from _of_group(books, group)
    yield from _of_words(books, groups)
    yield from _of_memory(books, world)


# --- what was superseded ------------------------------------------------------


@dataclass
class _Group:
    """What gave way, oldest first, to one event; with that one, if it did so too."""

    head: StoredDelivery
    members: list[StoredDelivery] = field(default_factory=list)


def _groups(books: Books) -> dict[tuple[str, str], _Group]:
    """By event and destination of what tells it, or of the last that need not be."""
    groups: dict[tuple[str, str], _Group] = {}
    for one in sorted(books.owed.values(), key=books.order):
        if one.state == "superseded" and books.kind(one.event_id) not in URGENT:
            head = _head(books, one)
            key = head.event_id, head.destination
            groups.setdefault(key, _Group(head)).members.append(one)
    return groups


def _head(books: Books, one: StoredDelivery) -> StoredDelivery:
    """The last to which it gives way in turn."""
    passed = {one.event_id}
    while one.state == "superseded" and one.superseded_by not in passed | {None}:
        found = books.owed.get((str(one.superseded_by), one.destination))
        if found is None:
            return one
        one = found
        passed.add(one.event_id)
    return one


def _of_one(books: Books, one: StoredDelivery) -> Iterator[str]:
    """It gives way to something of its milestone; nobody has heard of it."""
    name, event = books.name(one), books.events[one.event_id]
    by = books.events.get(one.superseded_by or "")
    if by is None or by.milestone_id != event.milestone_id or by.seq < event.seq:
        yield f"{name} is superseded by {one.superseded_by}"
    elif event.kind not in URGENT and (by.id, one.destination) not in books.owed:
        yield f"{name} is superseded by {by.id}, which is not owed there"
    for attempt in books.tries(one):
        if attempt.may_have_arrived:
            yield f"{name} is superseded and may have arrived: {attempt.number}"
        if one.settled_at is None or attempt.begun_at > one.settled_at:
            yield f"{name} is superseded and was sent later: {attempt.number}"


def _of_group(books: Books, group: _Group) -> Iterator[str]:
    kind, name = books.kind(group.head.event_id), books.name(group.head)
    kinds = [books.kind(one.event_id) for one in group.members]
    if kind == "removed" and group.head.state == "superseded":
        yield from _of_passing(books, group, kinds)
    elif kind != "updated" or set(kinds) != {"updated"}:
        yield f"{name} takes the place of {kinds}"
    elif len({one.route for one in (*group.members, group.head)}) > 1:
        yield f"{name} takes the place of what came by another route"
    elif group.head.state == "superseded":
        if left := _difference(books, group.members):
            yield f"{name} is as good as changed back, but for {left}"
    elif not _difference(books, [*group.members, group.head]):
        yield f"{name} tells that nothing has changed"


def _of_passing(books: Books, group: _Group, kinds: Sequence[str]) -> Iterator[str]:
    """It came and went: of all that lies between nothing was told."""
    name = books.name(group.head)
    if kinds[0] != "created" or kinds[-1] != "removed":
        yield f"{name} is superseded with {kinds}"
    told = {one.event_id for one in group.members}
    first, last = books.order(group.members[0]), books.order(group.head)
    key = books.events[group.head.event_id].milestone_id
    for one in books.owed.values():
        event = books.events[one.event_id]
        is_between = event.milestone_id == key and first <= event.seq <= last
        if not is_between or one.destination != group.head.destination:
            continue
        if event.kind not in URGENT and event.id not in told:
            yield f"{name} came and went, but {books.name(one)} is {one.state}"


def _difference(books: Books, updates: Sequence[StoredDelivery]) -> Difference:
    """What the documents say that updates, oldest first, come to together."""
    chain = [books.expected[one.event_id] for one in updates]
    # Not from before the first of all: what another event told, or a route ignores,
    # may have moved a field between them, as it may before one that goes by itself.
    before: dict[str, object] = {}
    for one in chain:
        shown = rows.flat(one.before or {})
        for path in one.fields:
            before.setdefault(path, shown.get(path))
    after = rows.flat(chain[-1].doc)
    return {
        path: (value, after.get(path)) for path, value in before.items() if value != after.get(path)
    }


# --- what the messages said ---------------------------------------------------


def _of_words(books: Books, groups: Mapping[tuple[str, str], _Group]) -> Iterator[str]:
    """Each attempt says what it stands for, and exactly what has changed by it."""
    for (event_id, destination), attempts in books.tried.items():
        one = books.owed.get((event_id, destination))
        if one is None or books.kind(event_id) != "updated":
            continue
        head = _head(books, one)
        group = groups.get((head.event_id, destination))
        members = [] if group is None else group.members
        earlier = [other for other in members if books.order(other) < books.order(one)]
        want = _difference(books, [*earlier, one])
        for attempt in attempts:
            told = next(event for event in attempt.told if event.id == event_id)
            if books.kind(head.event_id) == "removed":
                # Tried before all of it came and went: by then less had given way.
                earlier = [o for o in earlier if o.event_id in told.supersedes]
                want = _difference(books, [*earlier, one])
            yield from _of_attempt(
                f"{books.name(one)}: attempt {attempt.number}",
                told,
                [other.event_id for other in earlier],
                want,
            )


def _of_attempt(
    name: str, told: CloudEvent, earlier: Sequence[str], want: Difference
) -> Iterator[str]:
    if list(told.supersedes) != earlier:
        yield f"{name} says that it supersedes {told.supersedes}, not {earlier}"
    elif (said := _said(told)) != want:
        yield f"{name} says {said}, not {want}, and supersedes {earlier}"


def _said(told: CloudEvent) -> Difference:
    return {
        change.field: (
            rows.meaning(change.field, change.before),
            rows.meaning(change.field, change.after),
        )
        for change in told.changes
    }


# --- what a reader knows ------------------------------------------------------


@dataclass
class _Memory:
    """What somebody knows of a milestone who reads only these messages."""

    untold: frozenset[str]
    fields: dict[str, object] = field(default_factory=dict)
    is_gone: bool = False
    is_informed: bool = False


def _of_memory(books: Books, world: Mapping[str, rows.Doc]) -> Iterator[str]:
    """Whoever reads all messages knows at the end what the list shows."""
    deaf, told_gone = set[Ear](), set[Ear]()
    for one in books.owed.values():
        ear = one.destination, books.events[one.event_id].milestone_id
        if one.state in {"dead", "dropped"}:
            deaf.add(ear)
        if books.kind(one.event_id) == "removed":
            told_gone.add(ear)
    silent = {event.milestone_id for event in books.events.values() if event.missed}
    for ear, heard in _heard(books).items():
        if ear not in deaf:
            destination, key = ear
            untold = _UNTOLD.get(destination, frozenset[str]())
            # An end that came true too long ago has been told to nobody.
            untold |= {"end_date"} if key in silent else set()
            memory, name = _Memory(untold), f"{key}: whoever reads {destination}"
            for event, told in heard:
                yield from _learn(memory, event, told, name)
            yield from _of_knowledge(memory, world.get(key), name, is_owed=ear in told_gone)


def _of_knowledge(
    memory: "_Memory", shown: rows.Doc | None, name: str, *, is_owed: bool
) -> Iterator[str]:
    if shown is None:
        if is_owed and not memory.is_gone:
            yield f"{name} has not heard that it is gone"
        return
    if memory.is_gone:
        yield f"{name} believes that it is gone"
    now = rows.flat(shown)
    for path, value in memory.fields.items():
        if path not in memory.untold and value != now.get(path):
            yield f"{name} knows {path} as {value}, and it is {now.get(path)}"


def _heard(books: Books) -> dict[Ear, list[tuple[StoredEvent, CloudEvent]]]:
    """What arrived where about what, each once, in the order of arrival."""
    arrived = {
        attempt.number: attempt
        for attempts in books.tried.values()
        for attempt in attempts
        if attempt.arrived_at is not None
    }
    found: dict[Ear, list[tuple[StoredEvent, CloudEvent]]] = defaultdict(list)
    seen: set[tuple[str, str]] = set()
    for attempt in sorted(arrived.values(), key=Attempt.turn):
        for told in attempt.told:
            event = books.events.get(told.id)
            key = told.id, attempt.destination
            if event is not None and event.kind not in URGENT and key not in seen:
                seen.add(key)
                found[attempt.destination, told.subject].append((event, told))
    return found


def _learn(memory: _Memory, event: StoredEvent, told: CloudEvent, name: str) -> Iterator[str]:
    """A first document, then a chain of changes without a gap."""
    doc = rows.flat(rows.read(told.milestone) or {})
    if event.kind not in CONTENT:
        memory.fields["end_date"] = doc.get("end_date")
    elif event.kind == "removed":
        memory.is_gone, memory.is_informed, memory.fields = True, False, {}
    elif event.kind == "created":
        memory.is_gone, memory.is_informed, memory.fields = False, True, doc
    else:
        for path, (before, after) in _said(told).items():
            knew = memory.fields.get(path)
            is_known = memory.is_informed or path in memory.fields
            if is_known and path not in memory.untold and knew != before:
                yield f"{name} knows {path} as {knew}, and {event.id} says {before}"
            memory.fields[path] = after
