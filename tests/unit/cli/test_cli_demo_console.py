"""The demo's terminal."""

import io
from datetime import UTC, datetime

from rich.console import Console

from notifier.cli.demo_console import DemoConsole
from notifier.demo.receiver import Arrival


def arrival(title: str, *, genuine: bool = True) -> Arrival:
    return Arrival(
        at=datetime(2026, 11, 22, tzinfo=UTC),
        message_id="msg_1",
        events=({"type": "kalshi.milestone.created", "data": {"title": title}},),
        is_genuine=genuine,
    )


def recorded() -> tuple[DemoConsole, io.StringIO]:
    out = io.StringIO()
    return DemoConsole(Console(file=out, highlight=False, markup=False)), out


def test_a_webhook_is_shown_below_its_message_whichever_arrives_first() -> None:
    console, out = recorded()

    console.show_webhook(arrival("Home at Away"))
    console.write("New: This vs That\nStarts soon\n\n")
    console.write("New: Home at Away\nStarts later\n\n")
    console.show_webhook(arrival("This vs That", genuine=False))

    assert out.getvalue() == (
        "\nNew: This vs That\nStarts soon\n"
        "\nNew: Home at Away\nStarts later\n"
        "webhook <- kalshi.milestone.created (signature ok)\n"
        "webhook <- kalshi.milestone.created (SIGNATURE WRONG)\n"
    )


def test_long_lines_are_wrapped_by_the_terminal() -> None:
    console, out = recorded()

    console.write(f"New: {'x ' * 100}\nbody\n\n")

    assert len(out.getvalue().splitlines()) == 3
