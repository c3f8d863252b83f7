"""How the demo shows what comes in."""

import io
from datetime import UTC, datetime

from rich.console import Console

from notifier.cli.demo_console import Stage
from notifier.demo.loopback import Request
from notifier.demo.sink import Arrival


def arrival(title: str, *, genuine: bool = True) -> Arrival:
    return Arrival(
        at=datetime(2026, 11, 22, tzinfo=UTC),
        message_id="msg_1",
        events=({"type": "kalshi.milestone.created", "data": {"title": title}},),
        genuine=genuine,
        request=Request("POST", "/hook"),
    )


def staged() -> tuple[Stage, io.StringIO]:
    out = io.StringIO()
    return Stage(Console(file=out, highlight=False, markup=False)), out


def test_a_webhook_stands_under_its_message_whichever_came_first() -> None:
    stage, out = staged()

    stage.arrived(arrival("Home at Away"))
    stage.write("New: This vs That\nStarts soon\n\n")
    stage.write("New: Home at Away\nStarts later\n\n")
    stage.arrived(arrival("This vs That", genuine=False))

    assert out.getvalue() == (
        "\nNew: This vs That\nStarts soon\n"
        "\nNew: Home at Away\nStarts later\n"
        "webhook <- kalshi.milestone.created (signature ok)\n"
        "webhook <- kalshi.milestone.created (SIGNATURE WRONG)\n"
    )


def test_long_lines_are_left_to_the_terminal_to_wrap() -> None:
    stage, out = staged()

    stage.write(f"New: {'x ' * 100}\nbody\n\n")

    assert len(out.getvalue().splitlines()) == 3
