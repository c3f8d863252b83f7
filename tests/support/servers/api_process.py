"""
The fake API as a process: `python -m servers.api_process --port 0`.

It prints one JSON line with its `port` and `base_url`, and serves until it is
stopped. With `--control` it can be told what happens next, see `control`.
"""

import argparse
import sys

import anyio
import msgspec

from notifier.clock import SystemClock
from notifier.demo.fake_api import base_url
from servers.api_control import Control
from servers.faulty_api import FaultyApi
from servers.loopback import Answer, serving
from servers.population import population


def main() -> None:
    """Serve until stopped."""
    parser = argparse.ArgumentParser(prog="python -m servers.api_process")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--milestones", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    clock = SystemClock()
    docs = population(options.milestones, seed=options.seed, now=clock.now())
    api = FaultyApi(clock, docs, record=options.record)
    answer = Control(api, clock=clock).answer if options.control else api.answer
    anyio.run(_serve, answer, options.port)


async def _serve(answer: Answer, port: int) -> None:
    async with serving(answer, port=port) as bound:
        line = {"port": bound, "base_url": base_url(bound)}
        sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
        sys.stdout.flush()
        await anyio.sleep_forever()


if __name__ == "__main__":
    main()
