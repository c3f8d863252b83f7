"""The destination `terminal://`."""

import io
import os
from contextlib import suppress
from datetime import timedelta

import anyio
import pytest
from sending import destination, opened, rendered

from notifier.domain.models import Ambiguous, Failed, Format, Sent

pytestmark = pytest.mark.anyio


async def test_a_message_is_a_title_a_text_and_an_empty_line() -> None:
    output = io.StringIO()

    async with opened(destination("terminal://"), output=output) as sender:
        outcomes = [
            await sender.send("ops", rendered()),
            await sender.send("ops", rendered(title="", body="one\ntwo\n")),
        ]

    assert outcomes == [Sent(), Sent()]
    assert output.getvalue() == ("Bears at Packers\nStarts at 15:30, was 12:00.\n\none\ntwo\n\n")


@pytest.mark.parametrize(
    "evil",
    [
        "\x1b[2J\x1b[31m",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x.example\x1b\\",
        "\x9b31m",
        "\x1bc",
        "\x07\x08\x7f\x00\x85",
        "\u202e\u2066",
        "\x1bP+q\x1b\\",
    ],
)
async def test_nothing_in_a_text_moves_the_terminal(evil: str) -> None:
    output = io.StringIO()

    async with opened(destination("terminal://"), output=output) as sender:
        await sender.send("ops", rendered(title=f"a{evil}b", body=f"c{evil}d\te"))

    assert output.getvalue() == "ab\ncd\te\n\n"


async def test_a_carriage_return_hides_nothing() -> None:
    output = io.StringIO()

    async with opened(destination("terminal://"), output=output) as sender:
        await sender.send("ops", rendered(title="t\r\nu", body="bad\rgood\r\nend"))

    assert output.getvalue() == "t u\nbad\ngood\nend\n\n"


async def test_a_stream_that_lacks_a_letter_gets_a_question_mark() -> None:
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw, encoding="ascii")

    async with opened(destination("terminal://"), output=output) as sender:
        outcome = await sender.send("ops", rendered(title="", body="12:00 → 15:30"))

    assert outcome == Sent()
    assert raw.getvalue() == b"12:00 ? 15:30\n\n"


async def test_a_reader_that_left_is_a_failure() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    output = os.fdopen(writing, "w", buffering=1)

    async with opened(destination("terminal://"), output=output) as sender:
        outcome = await sender.send("ops", rendered())

    assert outcome == Failed(reason="the output is closed (BrokenPipeError)")
    with pytest.raises(BrokenPipeError):
        output.close()


async def test_a_closed_stream_is_a_failure() -> None:
    output = io.StringIO()
    output.close()

    async with opened(destination("terminal://"), output=output) as sender:
        assert isinstance(await sender.send("ops", rendered()), Failed)


async def test_a_reader_that_stands_still_holds_nobody_up() -> None:
    reading, writing = os.pipe()
    output = os.fdopen(writing, "w")
    limit = timedelta(milliseconds=100)
    huge = rendered(body="x" * 1_000_000)

    async with opened(destination("terminal://"), output=output, attempt_limit=limit) as sender:
        with anyio.fail_after(3):
            outcome = await sender.send("ops", huge)
    os.close(reading)
    with suppress(BrokenPipeError):
        output.close()

    assert outcome == Ambiguous(reason="timed out while writing")


async def test_a_terminal_wants_plain_text() -> None:
    async with opened(destination("terminal://")) as sender:
        assert sender.limits("ops").format is Format.TEXT
        assert sender.default_rate("ops") is None
