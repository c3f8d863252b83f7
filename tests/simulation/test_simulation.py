"""The whole service in simulated days of random trouble; see `story` and `verdict`."""

import pytest

from simulation.story import tell


@pytest.mark.parametrize("seed", range(1, 7))
def test_days_of_faults_and_crashes_lose_nothing_and_repeat_nothing(seed: int) -> None:
    ending = tell(seed, days=2.0)

    assert not ending.complaints, "\n".join([*ending.trace, *ending.complaints])
    assert ending.counts["lives"] > 3
    assert ending.counts["delivered"] > 50


def test_the_same_seed_tells_the_same_story() -> None:
    assert tell(11, days=0.5).trace == tell(11, days=0.5).trace
