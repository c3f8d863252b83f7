"""The destination `terminal://`."""

import io
import os
from contextlib import suppress
from datetime import timedelta

import anyio
import pytest
from sending import destination, opened, rendered

from notifier.domain.models import Ambiguous, Failed, Sent

pytestmark = pytest.mark.anyio


async def written(*texts: tuple[str, str]) -> str:
    """What messages of these titles and bodies write."""
    output = io.StringIO()
    async with opened(destination("terminal://"), output=output) as sender:
        for title, body in texts:
            assert await sender.send("ops", rendered(title=title, body=body)) == Sent()
    return output.getvalue()


async def test_a_message_is_a_title_a_text_and_an_empty_line() -> None:
    assert await written(("Bears", "Starts at 15:30."), ("", "one\ntwo\n")) == (
        "Bears\nStarts at 15:30.\n\none\ntwo\n\n"
    )


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
async def test_nothing_in_a_text_controls_the_terminal(evil: str) -> None:
    assert await written((f"a{evil}b", f"c{evil}d\te")) == "ab\ncd\te\n\n"


async def test_a_carriage_return_hides_nothing() -> None:
    text = await written(("t\r\nu", "bad\rgood\r\nend"))

    assert text == "t u\nbad\ngood\nend\n\n"


async def test_a_letter_that_the_encoding_lacks_is_a_question_mark() -> None:
    raw = io.BytesIO()
    output = io.TextIOWrapper(raw, encoding="ascii")

    async with opened(destination("terminal://"), output=output) as sender:
        outcome = await sender.send("ops", rendered(title="", body="12:00 → 15:30"))

    assert outcome == Sent()
    assert raw.getvalue() == b"12:00 ? 15:30\n\n"


async def test_a_closed_output_is_a_failure() -> None:
    closed = io.StringIO()
    closed.close()
    reading, writing = os.pipe()
    os.close(reading)
    broken = os.fdopen(writing, "w", buffering=1)

    for output, error in ((closed, "ValueError"), (broken, "BrokenPipeError")):
        async with opened(destination("terminal://"), output=output) as sender:
            outcome = await sender.send("ops", rendered())

        assert outcome == Failed(reason=f"the output is closed ({error})")
    with pytest.raises(BrokenPipeError):
        broken.close()


async def test_an_output_that_is_not_read_is_ambiguous_at_the_limit() -> None:
    reading, writing = os.pipe()
    output = os.fdopen(writing, "w")
    limit = timedelta(milliseconds=100)

    async with opened(destination("terminal://"), output=output, attempt_limit=limit) as sender:
        with anyio.fail_after(3):
            outcome = await sender.send("ops", rendered(body="x" * 1_000_000))
    os.close(reading)
    with suppress(BrokenPipeError):
        output.close()

    assert outcome == Ambiguous(reason="timed out while writing")
