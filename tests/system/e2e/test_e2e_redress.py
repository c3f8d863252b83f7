"""A person sets something right, beside the running service and without one."""

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from e2e.village import Service, api, sink, until
from notifier.demo.fake_api import milestone

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]  # whole processes


async def _command(folder: Path, *words: str) -> tuple[int, str]:
    done = await anyio.run_process(
        [sys.executable, "-m", "notifier", *words], cwd=folder, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_dead_deliveries_are_put_back_beside_the_service_and_without_it(
    tmp_path: Path,
) -> None:
    async with api(tmp_path, milestones=20) as kalshi, sink(tmp_path) as hook:
        # The sink knows another secret, and refuses what is signed with this one.
        wrong = hook.url.replace("secret=whsec_", "secret=whsec_AAAA")
        service = Service(tmp_path, base_url=kalshi.base_url, hook=wrong)
        async with service.life():
            await until(service.store.is_baselined)
            start = datetime.now(UTC) + timedelta(days=2)
            doc = milestone(milestone_id="game", title="Game", start=start, tickers=("KXA-1",))
            await kalshi.tell("add", **doc)
            await until(lambda: bool(service.store.ask(_SUSPENDED)))

            assert await _command(tmp_path, "resume", "hook") == (
                0,
                "hook goes on; 1 delivery waited for it\n",
            )
            await until(lambda: len(service.store.ask(_TRIES)) >= 2)
            status, said = await _command(tmp_path, "resume", "hok")
            assert status == 1
            assert "'hok' is no destination; there are hook" in said

        assert (await _command(tmp_path, "redrive"))[0] == 0
        status, said = await _command(tmp_path, "resume", "hook")
        assert status == 0, said
        assert service.store.ask(_SUSPENDED) == []


_SUSPENDED = "SELECT 1 FROM destinations WHERE suspended_since IS NOT NULL"
_TRIES = "SELECT 1 FROM attempts WHERE outcome IS NOT NULL"
