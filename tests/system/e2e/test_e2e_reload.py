"""SIGHUP: a good new configuration takes over, a bad one changes nothing."""

import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from e2e.village import Service, api, sink, until
from notifier.demo.fake_api import milestone

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]  # whole processes


def _game(number: int) -> dict[str, object]:
    return dict(
        milestone(
            milestone_id=f"game-{number}",
            title=f"Game {number}",
            start=datetime.now(UTC) + timedelta(days=2),
            tickers=("KXNFLGAME-MERQUA",),
        )
    )


async def test_a_reload_takes_a_good_configuration_and_refuses_a_bad_one(
    tmp_path: Path,
) -> None:
    async with api(tmp_path, milestones=20) as kalshi, sink(tmp_path) as hook:
        service = Service(tmp_path, base_url=kalshi.base_url, hook=hook.url)
        config = tmp_path / "notifier.yaml"
        good = config.read_text()
        async with service.life() as life:
            await until(service.store.is_baselined)

            config.write_text(good + "routes: [{name: all, to: [nobody]}]\n")
            life.process.send_signal(signal.SIGHUP)
            await until(lambda: "config.rejected" in life.said)
            await kalshi.tell("add", **_game(1))
            await until(lambda: len(hook.arrivals()) == 1)

            config.write_text(good + "routes: [{name: anew, to: [hook]}]\n")
            life.process.send_signal(signal.SIGHUP)
            await until(lambda: life.said.count("app.started") == 2)
            await kalshi.tell("add", **_game(2))
            await until(lambda: len(hook.arrivals()) == 2)

            routes = service.store.ask("SELECT route FROM deliveries ORDER BY seq")
            assert [route for (route,) in routes] == ["all", "anew"]
            assert "nobody" in life.said
            assert await life.stop() == 0
            assert "Traceback" not in life.said
