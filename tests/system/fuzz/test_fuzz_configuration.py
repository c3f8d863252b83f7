"""Configurations: whatever a file says, it is taken, or refused with its place."""

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.bounds import at_most
from notifier.errors import ConfigError
from notifier.settings import load, load_destinations, load_store

MEMORY_MIB = 512
EXAMPLE = (Path(__file__).parents[3] / "config" / "notifier.yaml").read_bytes()
SECRET = "canary-4711"
ENVIRON = {
    "SLACK_URL": f"slack://T1JJ3T3L2/A1BRTD4JD/{SECRET}",
    "MAIL_URL": f"mailto://us:{SECRET}@example.com",
    "WEBHOOK_SECRET": SECRET,
}


load_without_secrets = partial(load, required_secrets=False)


def tried(
    file: bytes,
    environ: dict[str, str] | None = None,
    *,
    readers: Sequence[Callable[..., object]] = (load,),
) -> list[str] | None:
    """What is wrong with it; None: nothing. Nothing but that, and soon."""
    found: list[str] | None = None
    with tempfile.TemporaryDirectory() as folder, at_most(MEMORY_MIB):
        here = Path(folder)
        path = here / "notifier.yaml"
        path.write_bytes(file)
        for reader in readers:
            try:
                reader(path, {**ENVIRON, **(environ or {})}, cwd=here)
            except ConfigError as exc:
                if reader is load:
                    found = list(exc.problems)
                    assert found
                for problem in exc.problems:
                    assert SECRET not in problem
                    assert len(problem) < 3_000
    return found


def test_the_example_is_taken_or_waits_for_what_is_not_built() -> None:
    problems = tried(EXAMPLE) or []

    assert all("not available yet" in problem for problem in problems)


SMALL = b"""
destinations: {ops: {url: "${SLACK_URL}"}, hook: {url: "json://h"}}
routes: [{name: all, match: {title: x}, template: {body: y}}]
source: {watch: [{category: Sports}]}
"""
BOMBS = {
    "aliases": b"a0: &a0 [1,1,1,1,1,1,1,1,1]\n"
    + b"".join(
        b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30)
    ),
    "an alias in itself": b"a: &a {b: *a}\n",
    "aliases as keys": b"? &a [1]\n: *a\n",
    "nested lists": b"[" * 100_000,
    "nested mappings": b"{a: " * 100_000,
    "nested by indents": b"".join(b" " * n + b"a:\n" for n in range(1200)),
    "nested keys": b"? " * 50_000 + b"a",
    "nested items": b"- " * 50_000 + b"a",
    "many documents": b"---\n" * 60_000,
    "many anchors": b"".join(b"a%d: &a%d x\n" % (n, n) for n in range(15_000)),
    "many keys": b"".join(b"a%d: x\n" % n for n in range(30_000)),
    "many routes": b"routes:\n" + b"- {name: a}\n" * 4_000,
    "many unknown destinations": b"operator: {to: [" + b"a," * 9_000 + b"]}",
    "many variables": b"store: '" + b"${SLACK_URL}" * 20_000 + b"'",
    "variables without an end": b"store: '" + b"${" * 120_000 + b"'",
    "a variable in a default": b"store: '" + b"${A:-" * 50_000 + b"'",
    "a long key": b"a" * 250_000 + b": 1",
    "a long text": b"timezone: " + b"a" * 250_000,
    "a long number": b"destinations: {a: {concurrency: " + b"9" * 250_000 + b"}}",
    "a long duration": b"source: {poll_every: " + b"1" * 250_000 + b"s}",
    "a long name": b"routes: [{name: " + b"-" * 250_000 + b"}]",
    "a long window": b"destinations: {a: {url: 'json://h', quiet: {windows: ['"
    + b"Mon," * 60_000
    + b" 1-2']}}}",
    "a long url": b"source: {base_url: 'https://" + b"[" * 250_000 + b"'}",
    "a long pattern": b"routes: [{name: a, match: {title: '~" + b"a?" * 120_000 + b"'}}]",
    "a glob of stars": b"routes: [{name: a, match: {title: '" + b"*a" * 120_000 + b"'}}]",
    "an endless pattern": b"routes: [{name: a, match: {title: '~(?=a)(a+)+$'}}]",
    "a wide pattern": b"routes: [{name: a, match: {title: '~(x{1000}){1000}'}}]",
    "a long path": b"routes: [{name: a, match: {a" + b".a" * 120_000 + b": x}}]",
    "a greedy template": b"routes: [{name: a, template: {body: 7, titel: '{{ 9 ** 999999999 }}'}}]",
    "a long template": b"routes: [{name: a, template: {body: '" + b"x" * 250_000 + b"'}}]",
    "a deep template": b"routes: [{name: a, template: {body: '{{ " + b"(" * 5_000 + b" }}'}}]",
    "tags": b"store: !!python/object/apply:os.system ['true']\n",
    "a long tag": b"store: !" + b"a" * 250_000,
    "a merge": b"a: &a {b: 1}\n<<: *a\n",
    "directives": b"%YAML 9.9\n%TAG ! tag:x,2000:\n---\na: !x 1\n",
    "escapes": b'store: "' + b"\\U0010FFFF" * 20_000 + b'"',
    "an escape out of range": b'store: "\\UFFFFFFFF"',
    "a surrogate": b'store: "\\ud800"',
    "no UTF-8": b"store: \xff\xfe",
    "UTF-16": "store: x".encode("utf-16"),
    "too much": b"#" * 2_000_000,
    "nothing": b"",
    "a null": b"store: a\x00b",
    "a byte order mark": b"\xef\xbb\xbfstore: sqlite:///a.db",
    "odd digits": "source: {poll_every: ٣s}".encode(),
    "odd spaces": "source:\u00a0{poll_every:\u2028 1s}\u0085".encode(),
}
FINE = {"a byte order mark", "nothing"}


@pytest.mark.parametrize("name", BOMBS)
def test_a_file_made_to_break_a_reader_is_refused(name: str) -> None:
    problems = tried(BOMBS[name])

    assert (problems is None) == (name in FINE)


def lines(words: list[str]) -> bytes:
    text = "".join(w + ("\n  " if n % 3 == 2 else " ") for n, w in enumerate(words))
    return text.encode("utf-8", "surrogatepass")


WORDS = st.sampled_from(
    """
    source: poll_every: destinations: routes: name: match: to: template: url: web:
    off true null ~ 30s 2/s 0 -1 1e9 08:00 Mon-Fri [ ] { } , : - & * &a *a ! !!str | >
    ' " # % @ ` ${ } ${SLACK_URL} $${ ? << \\ ~( ~a+ * started sqlite:///a.db json://h
    /dev/zero ../../etc/passwd https://x Europe/Paris .. é \u202e \x00 \ud800
    """.split()  # noqa: SIM905 - a list of words reads as words
) | st.text(max_size=4)


@given(st.binary(max_size=200) | st.lists(WORDS).map(lines))
def test_any_file_is_taken_or_refused(file: bytes) -> None:
    tried(file, readers=(load, load_store, load_without_secrets, load_destinations))


LINES = EXAMPLE.splitlines(keepends=True)
PATCHES = st.binary(max_size=6) | WORDS.map(lambda w: w.encode("utf-8", "replace"))


@given(
    st.lists(st.tuples(st.integers(0, len(EXAMPLE)), st.integers(0, 9), PATCHES)),
    st.lists(st.tuples(*[st.integers(0, len(LINES) - 1)] * 2), max_size=4),
)
def test_any_damage_to_a_good_file_is_read_or_refused(
    cuts: list[tuple[int, int, bytes]], swaps: list[tuple[int, int]]
) -> None:
    lines = list(LINES)
    for one, other in swaps:
        lines[one], lines[other] = lines[other], lines[one]
    file = b"".join(lines)
    for at, length, patch in cuts[:4]:
        file = file[:at] + patch + file[at + length :]
    tried(file)


PARTS = st.sampled_from(
    """
    SOURCE POLL_EVERY WATCH IGNORE_TICKERS DESTINATIONS OPS HOOK URL URL_FILE ROUTES 0 1
    99999999999 TEMPLATE BODY MATCH TITLE TO WEB STORE QUIET DIGEST EGRESS ٣ É
    """.split()  # noqa: SIM905 - likewise
) | st.text(st.characters(exclude_characters="=\x00"), min_size=1, max_size=3)
SETTINGS = st.one_of(
    WORDS,
    st.text(st.characters(exclude_characters="\x00")),
    st.sampled_from(["[" * 5_000, "{a: " * 5_000, "[a, b]", "{a: 1}", "9" * 5_000]),
    st.sampled_from(["[&a [1], *a, *a]", "{<<: {a: 1}}", "[!!int 1]", "{a: 1, a: 2}"]),
)


@given(
    st.dictionaries(
        st.lists(PARTS, min_size=1, max_size=5).map(
            lambda parts: "NOTIFIER_" + "__".join(["", *parts])
        )
        | st.sampled_from(["NOTIFIER_STORE", "SLACK_URL", "NOTIFIER___", "NOTIFIER__"]),
        SETTINGS,
        max_size=4,
    )
)
@example({"NOTIFIER_ROUTES__0__MATCH__TITLE": "~(?!b)(a+)+$"})
@example({"NOTIFIER_DESTINATIONS__OPS__URL_FILE": "/dev/zero"})
@example({"NOTIFIER_SOURCE__API_KEY__PRIVATE_KEY_FILE": "/dev/urandom"})
@example({"SLACK_URL": "${SLACK_URL}"})
def test_any_environment_is_taken_or_refused(environ: dict[str, str]) -> None:
    tried(SMALL, environ)
