"""The line at the bottom of a terminal."""

import io

from notifier.cli.progress_line import Footer

CLEAR = "\r\x1b[2K"


def test_what_others_write_stays_above_the_line() -> None:
    terminal = io.StringIO()
    footer = Footer(terminal)
    above = footer.above(terminal)

    footer.show("1 page")
    above.write("a log line\n")
    above.flush()

    assert terminal.getvalue() == (f"{CLEAR}1 page{CLEAR}a log line\n{CLEAR}1 page")


def test_without_a_line_nothing_is_added() -> None:
    terminal = io.StringIO()
    footer = Footer(terminal)

    footer.show("1 page")
    footer.show("")
    before = terminal.getvalue()
    print("a log line", file=footer.above(terminal), flush=True)

    assert terminal.getvalue() == before + "a log line\n"


def test_the_line_never_wraps() -> None:
    terminal = io.StringIO()

    Footer(terminal).show("x" * 500)

    assert len(terminal.getvalue().removeprefix(CLEAR)) < 80
