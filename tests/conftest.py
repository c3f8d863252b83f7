"""What every test may use, and what all of them run under."""

import os

import pytest
from hypothesis import HealthCheck, settings

# Examples of a property: `pytest --hypothesis-profile=ci` tries more, always the same;
# `deep` tries others each time.
for _profile, _examples in (("default", 20), ("ci", 200), ("deep", 2000)):
    settings.register_profile(
        _profile,
        max_examples=_examples,
        derandomize=_profile != "deep",
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
settings.load_profile("default")

# Temporary folders stand in memory where that is possible: thousands of databases sync.
if os.access("/dev/shm", os.W_OK):
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
