"""The same waits in real sessions, beside the simulation: `LearnedWait` in a `TruebitSession` that polls a `Simulator`.

Session and dispatcher are on a loop with virtual time, connected by sockets. The clock stands still while they work, so
a request takes no time, as in the simulation. ``python -m benchmarks.study.sessions`` prints the comparison.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence

import numpy as np

from benchmarks.study.figures import Figures, rounded
from benchmarks.study.laws import QUICK_OR_SLOW, Law, exponential, lognormal
from benchmarks.study.simulation import INTERVAL, Result, Strategy, simulate
from benchmarks.study.sizes import FULL, Sizes
from benchmarks.study.strategies import learned
from truebit_async import PollPolicy, TruebitSession
from truebit_async.errors import VerificationTimeoutError
from truebit_async.events import Finished, PollEvent
from truebit_async.testing import Simulator, VirtualTimeLoop

LAWS = (exponential(10), lognormal(8, 0.5), QUICK_OR_SLOW)


def measure(sizes: Sizes) -> list[Figures]:
    """Return the figures of both, and their ratios."""
    return [_row(law, sizes) for law in LAWS]


def _row(law: Law, sizes: Sizes) -> Figures:
    durations = law.durations(sizes.real, seed=21)
    real, simulated = wait_for_all(durations, learned()).summary(), simulate(durations, learned()).summary()
    return {
        "law": law.name,
        "session": real,
        "simulation": simulated,
        "requests": real["requests"] / simulated["requests"],
        "delay": real["delay"] / simulated["delay"],
    }


def wait_for_all(durations: Sequence[float], strategy: Strategy) -> Result:
    """Wait for executions in a session. They arrive one by one."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(_wait_for_all(durations, strategy))


async def _wait_for_all(durations: Sequence[float], strategy: Strategy) -> Result:
    polls = np.zeros(len(durations), np.int64)
    delays = np.full(len(durations), math.nan)
    loop = asyncio.get_running_loop()

    def note(event: PollEvent) -> None:
        if isinstance(event, Finished):
            polls[int(event.execution_id)] = event.outcome.polls

    async def wait(number: int, begins: float) -> None:
        await asyncio.sleep(begins - loop.time())
        simulator.add(str(number), running_for=durations[number])
        try:
            await session.wait_for_verification(str(number))
        except VerificationTimeoutError:
            return
        delays[number] = loop.time() - begins - durations[number]

    policy = PollPolicy(wait=strategy)
    async with Simulator() as simulator, TruebitSession(simulator.url, policy=policy, listeners=[note]) as session:
        first = loop.time() + 1
        await asyncio.gather(*(wait(number, first + number * INTERVAL) for number in range(len(durations))))
    return Result(polls, delays)


if __name__ == "__main__":
    print(json.dumps(rounded(measure(FULL)), indent=1, ensure_ascii=False))
