"""The shapes of what the API answers, as JSON Schema."""

from collections.abc import Collection, Sequence

from notifier.domain.live_status import Status
from notifier.domain.models import Json, Kind, State, TimerKind

Schema = dict[str, Json]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0}
SECONDS: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
WHEN: Schema = {"type": "string", "format": "date-time"}
ANYTHING: Schema = {}
OBJECT: Schema = {"type": "object"}


def nullable(schema: Schema) -> Schema:
    """The same, or null."""
    kind = schema.get("type")
    if isinstance(kind, str) and "enum" not in schema:
        return schema | {"type": [kind, "null"]}
    return {"anyOf": [schema, {"type": "null"}]}


def listed(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def mapped(values: Schema) -> Schema:
    """Values by names that are not known beforehand."""
    return {"type": "object", "additionalProperties": values}


def words(values: Collection[str]) -> Schema:
    """One of these words."""
    return {"type": "string", "enum": list(values)}


def shape(about: str, *, more: Schema | None = None, **fields: Schema) -> Schema:
    """An object with all of these and nothing else; `more`: a shape that it extends."""
    known = dict(_fields(more)) | fields
    return {
        "type": "object",
        "description": about,
        "properties": known,
        "required": list(known),
        "additionalProperties": False,
    }


def _fields(more: Schema | None) -> dict[str, Schema]:
    found = {} if more is None else more["properties"]
    assert isinstance(found, dict)  # noqa: S101 - every shape has them
    return found


def ref(name: str) -> Schema:
    """The shape of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def page_of(name: str) -> Schema:
    """A page of a list."""
    return shape("A page.", rows=listed(ref(name)), next=nullable(TEXT))


_KIND = words([kind.value for kind in Kind])
_STATE = words([state.value for state in State])

_CHANGE: Schema = {
    "type": "object",
    "description": "One field, before and after; of tickers also what came and went.",
    "properties": {
        "field": TEXT,
        "before": ANYTHING,
        "after": ANYTHING,
        "added": listed(TEXT),
        "removed": listed(TEXT),
    },
    "required": ["field", "before", "after"],
    "additionalProperties": False,
}
_EVENT = shape(
    "What happened to a milestone.",
    event_id=TEXT,
    kind=_KIND,
    milestone_id=TEXT,
    at=WHEN,
    seen_at=WHEN,
    missed=FLAG,
    changes=listed(ref("Change")),
    milestone=OBJECT,
)
_DELIVERY = shape(
    "An event owed to a destination.",
    delivery_id=TEXT,
    event_id=TEXT,
    kind=_KIND,
    milestone_id=TEXT,
    message_id=nullable(TEXT),
    destination=TEXT,
    route=TEXT,
    state=_STATE,
    attempts=NUMBER,
    due_at=nullable(WHEN),
    sent_at=nullable(WHEN),
    reason=nullable(TEXT),
)
_TRY = shape(
    "One try of a message.",
    at=WHEN,
    outcome=TEXT,
    status=nullable({"type": "integer"}),
    reason=nullable(TEXT),
    members=NUMBER,
)
_SENT = shape(
    "What the message said, put into words once more from what is stored.",
    title=TEXT,
    body=TEXT,
    format=words(["text", "markdown", "html", "json"]),
    note=nullable(TEXT),
)
_MILESTONE = shape(
    "A milestone.",
    milestone_id=TEXT,
    title=TEXT,
    category=TEXT,
    type=TEXT,
    start=WHEN,
    end=nullable(WHEN),
    status=nullable(TEXT),
    first_seen_at=WHEN,
    changed_at=WHEN,
    gone_at=nullable(WHEN),
)
_START = shape(
    "A start that lies ahead.",
    milestone_id=TEXT,
    title=TEXT,
    category=TEXT,
    type=TEXT,
    start=WHEN,
)
_SILENCE = shape(
    "What is suppressed, until when and why.",
    id=TEXT,
    active=FLAG,
    created_at=WHEN,
    until=WHEN,
    expired_at=nullable(WHEN),
    match=mapped(listed(TEXT)),
    why=TEXT,
)
_READ = shape(
    "A read of the list.",
    kind=TEXT,
    ended_at=WHEN,
    pages=NUMBER,
    rows=NUMBER,
    events=NUMBER,
    error=nullable(TEXT),
)
_WATCH = shape(
    "What is read.",
    name=TEXT,
    baselined_at=nullable(WHEN),
    watermark=nullable(WHEN),
    polled_at=nullable(WHEN),
    swept_at=nullable(WHEN),
    full_at=nullable(WHEN),
    sweep_only=FLAG,
    last_read=nullable(ref("Read")),
)
_STANDING = shape(
    "How a destination stands.",
    name=TEXT,
    configured=FLAG,
    pending=NUMBER,
    held=NUMBER,
    leased=NUMBER,
    dead=NUMBER,
    dropped_24h=NUMBER,
    last_sent_at=nullable(WHEN),
    paused_until=nullable(WHEN),
    suspended_since=nullable(WHEN),
    gone=FLAG,
    open_since=nullable(WHEN),
    reason=nullable(TEXT),
    next_try_at=nullable(WHEN),
)
_STATUS = shape(
    "How things stand. `milestones` is null until they are counted.",
    milestones=nullable(NUMBER),
    watches=listed(ref("Watch")),
    events_24h=mapped(NUMBER),
    destinations=listed(ref("Standing")),
    quarantined=NUMBER,
    next_starts=listed(ref("Start")),
    conditions=listed(shape("What is wrong with the service.", key=TEXT, since=WHEN, words=TEXT)),
    silences=listed(
        shape(
            "A silence in force.",
            id=TEXT,
            until=WHEN,
            match=mapped(listed(TEXT)),
            why=TEXT,
        )
    ),
)
_PROBLEM = shape(
    "Why not (RFC 9457).",
    type=TEXT,
    title=TEXT,
    status={"type": "integer"},
    detail=TEXT,
)

#: By name.
SHAPES: dict[str, Schema] = {
    "Change": _CHANGE,
    "Event": _EVENT,
    "Delivery": _DELIVERY,
    "ListedDelivery": shape(
        "A delivery, and whose milestone's.",
        more=_DELIVERY,
        title=nullable(TEXT),
        born_at=WHEN,
    ),
    "ToldDelivery": shape(
        "A delivery, its tries, and what was sent.",
        more=_DELIVERY,
        tries=listed(ref("Try")),
        sent=nullable(ref("Sent")),
    ),
    "Try": _TRY,
    "Sent": _SENT,
    "Milestone": _MILESTONE,
    "MilestoneStory": shape(
        "A milestone and all that is known of it.",
        milestone=ref("Milestone"),
        document=OBJECT,
        events=listed(ref("Event")),
        timers=listed(
            shape(
                "A moment at which something becomes true.",
                kind=words([kind.value for kind in TimerKind]),
                lead_s=SECONDS,
                fire_at=WHEN,
            )
        ),
        deliveries=listed(ref("ListedDelivery")),
        live=nullable(
            shape(
                "What Kalshi's live data said last.",
                status=words([status.value for status in Status]),
                word=TEXT,
                since=WHEN,
                checked_at=WHEN,
            )
        ),
    ),
    "KindOfMilestone": shape("How many there are.", category=TEXT, type=TEXT, milestones=NUMBER),
    "Start": _START,
    "Read": _READ,
    "Watch": _WATCH,
    "Standing": _STANDING,
    "Status": _STATUS,
    "Hour": shape(
        "How many events an hour brought.",
        hour=WHEN,
        **{kind.value: NUMBER for kind in Kind},
    ),
    "Latency": shape(
        "From seen to sent, in the last day.",
        sent=NUMBER,
        p50_s=nullable(SECONDS),
        p99_s=nullable(SECONDS),
    ),
    "Overview": shape(
        "Everything at a glance.",
        status=ref("Status"),
        starts=listed(ref("Start")),
        hours=listed(ref("Hour")),
        latency=ref("Latency"),
    ),
    "Trace": shape(
        "Why a route did or did not take an event.",
        route=TEXT,
        matched=FLAG,
        why=TEXT,
        to=listed(TEXT),
    ),
    "Explanation": shape(
        "One event, and why it went where it went.",
        event=ref("Event"),
        routes=listed(ref("Trace")),
        deliveries=listed(ref("ToldDelivery")),
    ),
    "Destination": shape(
        "A destination and how it fared.",
        more=_STANDING,
        service=nullable(TEXT),
        rate=nullable(TEXT),
        used=nullable(NUMBER),
        sent_24h=NUMBER,
        failed_24h=NUMBER,
        tries=listed(ref("Try")),
    ),
    "Route": shape(
        "A route and what it took lately.",
        name=TEXT,
        match=mapped(listed(TEXT)),
        to=listed(TEXT),
        stop=FLAG,
        reminders=listed(TEXT),
        events_24h=mapped(NUMBER),
        latest=listed(
            shape(
                "An event that it took.",
                event_id=TEXT,
                kind=_KIND,
                at=WHEN,
                title=nullable(TEXT),
                milestone_id=TEXT,
            )
        ),
    ),
    "Silence": _SILENCE,
    "Deed": shape(
        "Who had what done.",
        at=WHEN,
        who=TEXT,
        action=TEXT,
        subject=TEXT,
        detail=OBJECT,
    ),
    "Tested": shape(
        "What became of a test.", destination=TEXT, ok=FLAG, said=TEXT, seconds=SECONDS
    ),
    "Redriven": shape(
        "How many are put back, and the first 500 rows.",
        rows=listed(
            shape(
                "A delivery that is put back if it was dead, and how it stood.",
                delivery_id=TEXT,
                destination=TEXT,
                kind=_KIND,
                state=_STATE,
                reason=nullable(TEXT),
            )
        ),
        count=NUMBER,
    ),
    "Resumed": shape("How many deliveries waited.", waiting=NUMBER),
    "Problem": _PROBLEM,
}
_PAGED: Sequence[str] = (
    *("Milestone", "KindOfMilestone", "Event", "ListedDelivery"),
    *("Destination", "Route", "Silence", "Deed"),
)
SHAPES |= {f"{name}Page": page_of(name) for name in _PAGED}
