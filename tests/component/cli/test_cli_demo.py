"""The demo, until somebody has seen enough."""

import signal
from pathlib import Path

from commanding import started


def test_ctrl_c_ends_the_demo_cleanly_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    with started("demo", cwd=tmp_path, TMPDIR=str(tmp_path)) as demo:
        out = demo.process.stdout
        demo.read_until(out, "New: State of the Province address")
        demo.read_until(out, "webhook <- kalshi.milestone.created (signature ok)")
        demo.process.send_signal(signal.SIGINT)
        ended = demo.end()

    assert ended.status == 0
    assert ended.err == ""
    assert "2 messages delivered, repeated 0, lost 0" in ended.out
    assert "notifier init" in ended.out
    assert list(tmp_path.iterdir()) == []
