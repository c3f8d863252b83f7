"""The promise, on stories that a seed tells; `python -m simulation` tells more."""

import os

import pytest

from simulation.story import Ending, tell

#: One where people wait for it, twelve where everything is judged.
SEEDS = range(1, 13) if "NOTIFIER_CI" in os.environ else [1]
#: Lines of the trace that a failure shows; all of them come with `--trace`.
SHOWN = 300


def _explain(ending: Ending) -> str:
    again = f"python -m simulation --first {ending.seed} --seeds 1 --trace"
    return "\n".join(
        (
            f"seed {ending.seed}; all of it: {again}",
            *ending.complaints[:20],
            *("", "the end of the trace:"),
            *ending.trace[-SHOWN:],
        )
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_lost_repeated_or_made_up_whatever_goes_wrong(seed: int) -> None:
    ending = tell(seed)

    assert not ending.complaints, _explain(ending)
    assert ending.counts["lives"] > 5
    assert ending.counts["delivered"] > 50
    assert ending.counts["superseded"] > 0


def test_the_same_seed_tells_the_same_story() -> None:
    first, second = (tell(11, days=1, uptime=100) for _ in range(2))

    assert first.trace == second.trace
    assert first.counts == second.counts
    assert first.counts["delivered"] > 10
