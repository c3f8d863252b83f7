"""
(event, destination, silences) -> the silence that suppresses the delivery.

A silence's match is a route's, with one key more: `destination`. It is evaluated
without a route: `upcoming` is a kind like any other, and no change is ignored. `changed`
is about updates, so a silence with it alone suppresses only these.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from notifier.domain import match_keys
from notifier.domain.models import Event, Json, Kind, identify
from notifier.domain.parsing import describe
from notifier.domain.routing import matches
from notifier.domain.rules import Match, MatchError, Silence
from notifier.domain.suggestions import did_you_mean, suggest

#: The key that a route's match does not have.
DESTINATION = "destination"
#: A key of a silence's match, as a regular expression.
KEY_PATTERN = "^(?:{})$".format(
    "|".join((*match_keys.OWN_KEYS, *match_keys.MILESTONE_KEYS, DESTINATION, match_keys.DOTTED))
)
MAX_REASON = 200
#: Other words for keys, which are not similar to them.
_SYNONYMS = {"kind": "events", "to": DESTINATION}


def find_silence(event: Event, destination: str, silences: Sequence[Silence]) -> Silence | None:
    """Return the first silence that suppresses an event at a destination; None: none."""
    for silence in silences:
        is_there = not silence.destinations or destination in silence.destinations
        if is_there and matches(event, silence.match):
            return silence
    return None


def silenced_reason(silence: Silence) -> str:
    """Return why a delivery is dropped."""
    until = silence.until.isoformat().replace("+00:00", "Z")
    return f"silenced until {until} by {silence.id}: {silence.why}"


# --- creating -----------------------------------------------------------------


def create_silence(
    keys: Mapping[str, Json], *, why: str, created_at: datetime, until: datetime
) -> Silence:
    """
    Create a silence from keys with a list of patterns each.

    Equal keys and times give equal ids.

    Raises: ValueError if it would suppress nothing, or is wrong; the text says why.
    """
    if until.tzinfo is None or until <= created_at:
        raise ValueError("a silence must end in the future")
    line = "".join(filter(str.isprintable, " ".join(why.split())))
    if not line:
        raise ValueError("a silence needs a reason")
    if len(line) > MAX_REASON:
        raise ValueError(f"a reason has at most {MAX_REASON} characters")
    try:
        until, created_at = until.astimezone(UTC), created_at.astimezone(UTC)
    except OverflowError:
        raise ValueError("its end is beyond all calendars") from None
    if not keys:
        raise ValueError("a silence needs something to match")
    checked = {key: _check_patterns(key, patterns) for key, patterns in keys.items()}
    match, destinations = parse_stored(checked)
    keys_text = json.dumps(_keys(match, destinations))
    return Silence(
        id=identify("sil_", keys_text, until.isoformat(), created_at.isoformat()),
        match=match,
        destinations=destinations,
        why=line,
        created_at=created_at,
        until=until,
    )


def _check_patterns(key: str, patterns: Json) -> list[str]:
    """Return the patterns of a key. Raises: ValueError if one of them is wrong."""
    if isinstance(patterns, str) or not isinstance(patterns, Sequence):
        raise ValueError(f"{key}: must be a list of patterns")  # noqa: TRY004 - as any other mistake
    texts = [one for one in patterns if isinstance(one, str) and one]
    if not texts or len(texts) < len(patterns):
        raise ValueError(f"{key}: has no value")
    for text in texts:
        if (problem := find_problem(key, text)) is not None:
            raise ValueError(f"{key}: {problem}")
    return texts


def find_problem(key: str, pattern: str) -> str | None:
    """Return what is wrong with a key, or with a pattern of it; None: nothing."""
    if key == DESTINATION:
        return None
    if match_keys.unknown(key) is not None:
        similar = did_you_mean(_SYNONYMS.get(key, "")) or suggest(key, [DESTINATION])
        if similar:
            return f"unknown key; {similar}"
    try:
        Match.parse({key: [pattern]})
    except MatchError as exc:
        return describe(exc.problems[0][1], pattern)
    return None


def unknown_destinations(destinations: Iterable[str], known: Sequence[str]) -> list[str]:
    """Return the problem of each destination that is not known."""
    return [
        f"{DESTINATION}: {name!r} is no destination; "
        + (suggest(name, known) or f"there are {', '.join(known) or 'none'}")
        for name in destinations
        if name not in known
    ]


# --- stored and shown ---------------------------------------------------------


def parse_stored(keys: Mapping[str, Sequence[str]]) -> tuple[Match, frozenset[str]]:
    """
    Return the match and the destinations of keys whose patterns were checked before.

    Raises: ValueError if there is no such kind, or if keys contradict each other.
    """
    events = frozenset(map(Kind, keys.get("events", ())))
    changed = tuple(keys.get("changed", ()))
    if changed:
        events = events or frozenset({Kind.UPDATED})
        if Kind.UPDATED not in events:
            raise ValueError("changed: is about updates; add events=updated")
    own = {"events", "changed", DESTINATION}
    fields = tuple((key, tuple(patterns)) for key, patterns in keys.items() if key not in own)
    match = Match(events=events, fields=fields, changed=changed)
    return match, frozenset(keys.get(DESTINATION, ()))


def keys_of(silence: Silence) -> dict[str, list[str]]:
    """Return the keys and patterns of a silence: `parse_stored` reads them."""
    return _keys(silence.match, silence.destinations)


def _keys(match: Match, destinations: frozenset[str]) -> dict[str, list[str]]:
    keys = {
        "events": [kind.value for kind in Kind if kind in match.events],
        **{key: list(patterns) for key, patterns in match.fields},
        "changed": list(match.changed),
        DESTINATION: sorted(destinations),
    }
    return {key: patterns for key, patterns in keys.items() if patterns}


def format_keys(keys: Mapping[str, Sequence[str]]) -> str:
    """Return `category=Sports, events=created, events=started`, as it is typed."""
    return ", ".join(f"{key}={one}" for key, patterns in keys.items() for one in patterns)
