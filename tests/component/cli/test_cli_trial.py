"""`notifier test`: does a message arrive?"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from commanding import done, typed
from servers.http_sink import Answer, HttpSink, http_sink

SECRET = "whsec_bWlsZXN0b25lcyB3aXRob3V0IHJlZ3JldHM="


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as running:
        yield running


def configure(folder: Path, sink: HttpSink) -> None:
    (folder / "notifier.yaml").write_text(f"""\
destinations:
  good: {{url: "webhook://{sink.netloc}/good?secret={SECRET}"}}
  gone: {{url: "webhook://{sink.netloc}/gone"}}
  here: {{url: "terminal://"}}
routes:
  - {{name: ends, match: {{events: [ended]}}, to: [good, gone, here]}}
""")


def test_each_destination_gets_a_message_that_is_marked_as_a_test(
    tmp_path: Path, sink: HttpSink
) -> None:
    configure(tmp_path, sink)
    sink.answer("/gone", Answer(404))

    ended = done("test", cwd=tmp_path)

    words = " ".join(ended.out.split())
    assert ended.status == 1
    assert "[TEST] Ended: " in ended.out
    assert "good webhook sent" in words
    assert "gone webhook HTTP 404" in words
    assert "here terminal sent" in words
    (told,) = [one.json for one in sink.at("/good")]
    assert isinstance(told, dict)
    assert told["data"]["test"] is True
    assert told["type"] == "kalshi.milestone.ended"
    assert SECRET not in ended.out + ended.err
    assert not (tmp_path / "notifier.db").exists()


def test_a_destination_that_is_not_there_is_a_mistyped_one(tmp_path: Path, sink: HttpSink) -> None:
    configure(tmp_path, sink)

    ended = typed("test", "good", "goon", "xyz", cwd=tmp_path)

    assert ended.status == 2
    assert "'goon' is no destination; did you mean good?" in ended.err
    assert "'xyz' is no destination; there are good, gone, here" in ended.err
    assert sink.requests == []


def test_check_and_test_say_what_egress_forbids(tmp_path: Path, sink: HttpSink) -> None:
    file = tmp_path / "notifier.yaml"
    file.write_text(
        "egress: public\n"
        "destinations:\n"
        f"  named: {{url: 'json://localtest.invalid@localhost.:{sink.port}/in'}}\n"
        f"  known: {{url: 'webhook://{sink.netloc}/in'}}\n"
    )
    forbidden = "url: egress: public forbids this address; any allows it"

    for command in ("check", "test"):
        ended = typed(command, cwd=tmp_path)

        assert ended.status == 78
        assert f"notifier.yaml:3: destinations.named.{forbidden}" in ended.err
        assert f"notifier.yaml:4: destinations.known.{forbidden}" in ended.err

    file.write_text("egress: public\ndestinations: {here: {url: 'terminal://'}}\n")
    assert "public addresses only" in typed("check", cwd=tmp_path).out
    assert sink.connections == 0
