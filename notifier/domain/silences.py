"""
(event, destination, silences) -> the silence that it falls under.

A silence's match is a route's, with one key more: `destination`. Nothing of it
belongs to a route: a reminder is of its kind like any other event, and no change is
ignored. `changed` speaks of updates, so it silences nothing else by itself.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from notifier.domain import match_keys
from notifier.domain.models import Event, Json, Kind, identify
from notifier.domain.patterns import PatternError, compile_pattern
from notifier.domain.routing import fits
from notifier.domain.rules import Match, Silence
from notifier.domain.suggestions import did_you_mean, suggest

#: The key that a route's match does not have.
DESTINATION = "destination"
#: A key that can be matched, as a regular expression.
KEY = "^(?:{})$".format(
    "|".join(
        (
            *match_keys.OWN_KEYS,
            *match_keys.MILESTONE_KEYS,
            DESTINATION,
            match_keys.DOTTED,
        )
    )
)
#: A reason is a line, no report.
LONGEST_WHY = 200
#: Other words for keys, which are not like them.
_ALIKE = {"kind": "events", "to": DESTINATION}


def silencing(event: Event, destination: str, silences: Sequence[Silence]) -> Silence | None:
    """The first of the silences that the event falls under there; None: none."""
    return next(
        (
            silence
            for silence in silences
            if (not silence.destinations or destination in silence.destinations)
            and fits(event, silence.match)
        ),
        None,
    )


def words(silence: Silence) -> str:
    """Why what fell under it was dropped."""
    until = silence.until.isoformat().replace("+00:00", "Z")
    return f"silenced until {until} by {silence.id}: {silence.why}"


# --- as people and the store write it -----------------------------------------


def made(keys: Mapping[str, Json], *, why: str, created_at: datetime, until: datetime) -> Silence:
    """
    The silence that these keys and their patterns mean.

    Equal wishes of one instant have equal ids.

    Raises:
        ValueError: it would silence nothing, or cannot be meant; the text says why.
    """
    if until.tzinfo is None or until <= created_at:
        raise ValueError("a silence must end in the future")
    line = "".join(filter(str.isprintable, " ".join(why.split())))
    if not line:
        raise ValueError("a silence needs a reason")
    if len(line) > LONGEST_WHY:
        raise ValueError(f"a reason has at most {LONGEST_WHY} characters")
    try:
        until, created_at = until.astimezone(UTC), created_at.astimezone(UTC)
    except OverflowError:
        raise ValueError("its end is beyond all calendars") from None
    match, destinations = understood(_checked(keys))
    keys_text = json.dumps(_keys(match, destinations))
    return Silence(
        id=identify("sil_", keys_text, until.isoformat(), created_at.isoformat()),
        match=match,
        destinations=destinations,
        why=line,
        created_at=created_at,
        until=until,
    )


def _checked(keys: Mapping[str, Json]) -> dict[str, list[str]]:
    """Keys with texts that can be matched, and nothing else."""
    if not keys:
        raise ValueError("a silence needs something to match")
    found: dict[str, list[str]] = {}
    for key, patterns in keys.items():
        if isinstance(patterns, str) or not isinstance(patterns, Sequence):
            raise ValueError(f"{key}: must be a list of patterns")  # noqa: TRY004 - whoever asks is told, as of any other mistake
        found[key] = [text for text in patterns if isinstance(text, str) and text]
        if not patterns or len(found[key]) < len(patterns):
            raise ValueError(f"{key}: has no value")
        for text in found[key]:
            if (wrong := problem(key, text)) is not None:
                raise ValueError(f"{key}: {wrong}")
    return found


def problem(key: str, pattern: str) -> str | None:
    """What is wrong with a key, or with a pattern of it; None: nothing."""
    if (wrong := _unknown(key)) is not None:
        return wrong
    if key == "events":
        kinds = [kind.value for kind in Kind]
        if pattern in kinds:
            return None
        advice = suggest(pattern, kinds)
        return f'"{pattern}" is none of {", ".join(kinds)}' + (advice and f"; {advice}")
    try:
        compile_pattern(pattern)
    except PatternError as exc:
        return f'"{pattern}" {exc}'
    return None


def _unknown(key: str) -> str | None:
    """What is wrong with a key: without a word it would match nothing."""
    if key == DESTINATION or (wrong := match_keys.unknown(key)) is None:
        return None
    alike = did_you_mean(_ALIKE.get(key, "")) or suggest(key, [DESTINATION])
    return f"unknown key; {alike}" if alike else wrong


def strange(destinations: Iterable[str], known: Sequence[str]) -> list[str]:
    """What is wrong with those destinations that nothing is sent to."""
    return [
        f"{DESTINATION}: {name!r} is no destination; "
        + (suggest(name, known) or f"there are {', '.join(known) or 'none'}")
        for name in destinations
        if name not in known
    ]


def understood(keys: Mapping[str, Sequence[str]]) -> tuple[Match, frozenset[str]]:
    """
    The match and the destinations that stored keys mean.

    Raises:
        ValueError: there is no such kind, or they contradict each other.
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


def spelt(silence: Silence) -> dict[str, list[str]]:
    """Its keys and their patterns, from which it can be understood again."""
    return _keys(silence.match, silence.destinations)


def _keys(match: Match, destinations: frozenset[str]) -> dict[str, list[str]]:
    keys = {
        "events": [kind.value for kind in Kind if kind in match.events],
        **{key: list(patterns) for key, patterns in match.fields},
        "changed": list(match.changed),
        DESTINATION: sorted(destinations),
    }
    return {key: patterns for key, patterns in keys.items() if patterns}


def phrase(keys: Mapping[str, Sequence[str]]) -> str:
    """`category=Sports, events=created, events=started`, as it is typed."""
    return ", ".join(f"{key}={one}" for key, patterns in keys.items() for one in patterns)
