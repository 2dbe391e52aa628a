"""Experiment: more polls are due than the cap allows. Which execution should be polled next?

The scheduler of a session polls a source that answers at once, without sockets, on a loop with virtual time. So the
figures are those of the package itself. Nothing is known of the executions at the beginning.

`LearnedWait` takes part twice. The second time, the scheduler does not see its expected delays, and polls in the order
in which polls became due. The figures are the same each time if ``PYTHONHASHSEED`` is: see `processes`.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import attrs
import numpy as np

from benchmarks.study.figures import Figures
from benchmarks.study.laws import Law, exponential, lognormal, uniform
from benchmarks.study.simulation import Result, Strategy
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import DEFAULT, LEARNED, default, learned
from truebit_async import Execution, PollPolicy, VerificationStatus
from truebit_async._scheduler.batch import wait_for_all
from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async.events import Emitter
from truebit_async.strategies import Observation
from truebit_async.testing import VirtualTimeLoop

NEW = 0.5  # new executions per second and request per second of the cap, where not all begin at once
MAX_IN_FLIGHT = 1000  # requests; never reached, because answers take no time

IN_ORDER = "LearnedWait, oldest due first"
STRATEGIES = (DEFAULT, IN_ORDER, LEARNED)


@attrs.frozen
class Case:
    """A load.

    Attributes:
        name: what tables call it.
        laws: the laws that executions follow, in equal parts.
        at_once: whether all executions begin at once; else they begin one after the other.
    """

    name: str
    laws: tuple[Law, ...]
    at_once: bool


MIXED = (lognormal(15, 0.5), lognormal(300, 0.5))
CASES = (
    Case("15 s and 300 s mixed, all at once", MIXED, at_once=True),
    Case("15 s and 300 s mixed, 100 new per second", MIXED, at_once=False),
    Case("exponential 60, all at once", (exponential(60),), at_once=True),
    Case("uniform 60 to 180, all at once", (uniform(60, 180),), at_once=True),
)


class WithoutExpectedDelay:
    """A strategy that learns, but does not say whom to ask first."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __call__(self, state: object) -> float:
        """Decide as the strategy does."""
        return float(self._strategy(state))

    def observe(self, observation: Observation) -> bool:
        """Tell the strategy."""
        return bool(self._strategy.observe(observation))


class Executions:
    """Executions that begin when they are read, and the source that tells of them."""

    def __init__(self, durations: list[float], starts: list[float]) -> None:
        self._durations, self._starts = durations, starts
        self._ends: list[float] = []
        self._requests = np.zeros(len(durations), np.int64)
        self._delays = np.full(len(durations), math.nan)
        self.source = Source("function", self._fetch, lambda execution: not execution.is_running, has_events=False)

    async def begin(self) -> AsyncIterator[str]:
        """Yield the ID of each execution when it begins."""
        loop = asyncio.get_running_loop()
        for number, (start, duration) in enumerate(zip(self._starts, self._durations, strict=True)):
            if start > loop.time():
                await asyncio.sleep(start - loop.time())
            self._ends.append(loop.time() + duration)
            yield str(number)

    async def _fetch(self, execution_id: str, _timeout: float, /, *, on_new_connection: bool) -> Execution:  # noqa: ARG002
        number, now = int(execution_id), asyncio.get_running_loop().time()
        self._requests[number] += 1
        if now < self._ends[number]:
            return Execution(execution_id, VerificationStatus.RUNNING)
        self._delays[number] = now - self._ends[number]
        return Execution(execution_id, VerificationStatus.SUCCESS)

    async def wait_for_all(self, strategy: Strategy, rate: float) -> Result:
        """Wait until all executions have ended, under a cap on requests per second."""
        poller = Poller(Pacer(MAX_IN_FLIGHT, rate), Emitter(()))
        policy = PollPolicy(wait=strategy, deadline=None)
        async for outcome in wait_for_all(poller, self.source, self.begin(), policy, len(self._durations)):
            outcome.unwrap()
        await poller.close()
        return Result(self._requests, self._delays)


def run(case: Case, strategy: str, count: int, rate: float) -> Result:
    """Return what a session does with a load.

    Args:
        case: the load.
        strategy: one of `STRATEGIES`.
        count: executions.
        rate: the cap, in requests per second.
    """
    draw = Random(1)  # noqa: S311  # a simulation
    kinds = len(case.laws)
    durations = [case.laws[i % kinds].durations(1, draw.getrandbits(40))[0] for i in range(count)]
    starts = [0.0] * count if case.at_once else sorted(draw.uniform(0, count / (NEW * rate)) for _ in range(count))
    random.seed(1)  # the default draws from this generator
    wait: Strategy = default()
    if strategy != DEFAULT:
        wait = learned(key=lambda execution_id: str(int(execution_id) % kinds))
    if strategy == IN_ORDER:
        wait = WithoutExpectedDelay(wait)
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(Executions(durations, starts).wait_for_all(wait, rate))


def measure(sizes: Sizes) -> list[Figures]:
    """Return the figures of each case with each strategy."""
    return [_row(case, sizes) for case in CASES]


def _row(case: Case, sizes: Sizes) -> Figures:
    row: Figures = {strategy: run(case, strategy, sizes.capped, sizes.rate).summary() for strategy in STRATEGIES}
    lower = {other: row[other]["delay"] / row[LEARNED]["delay"] for other in (DEFAULT, IN_ORDER)}
    return {"case": case.name, "is mixed": len(case.laws) > 1, **row, "lower than": lower}
