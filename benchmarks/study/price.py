"""What it costs to learn: time per decision and per plan, and memory per group. These figures depend on the machine."""

from __future__ import annotations

import gc
import statistics
import time
import tracemalloc
from typing import Any

from benchmarks.study.figures import Figures
from benchmarks.study.laws import lognormal
from benchmarks.study.simulation import simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, learned

LAW = lognormal(8, 1)
GROUPS = 15
EXECUTIONS = 100  # of a group
RUNS = 5


def _cost_of_clock() -> float:
    """Return the CPU seconds that a measurement of nothing shows."""
    return statistics.median(-(time.thread_time() - time.thread_time()) for _ in range(10_000))


CLOCK = _cost_of_clock()


class Timed:
    """A strategy whose calls are timed.

    Attributes:
        calls: CPU seconds of all calls that made no plan.
        plans: CPU seconds of each call that made a plan.
        decisions: how many gaps it decided.
    """

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy
        self.calls = 0.0
        self.plans: list[float] = []
        self.decisions = 0

    def __call__(self, state: Any) -> float:
        """Decide."""
        start = time.thread_time()
        gap = float(self._strategy(state))
        self.calls += time.thread_time() - start - CLOCK
        self.decisions += 1
        return gap

    def observe(self, observation: Any) -> None:
        """Take in an answer, if the strategy does."""
        observe = getattr(self._strategy, "observe", None)
        if observe is None:
            return
        start = time.thread_time()
        has_planned = observe(observation)
        seconds = time.thread_time() - start - CLOCK
        if has_planned:
            self.plans.append(seconds)
        else:
            self.calls += seconds


def measure(sizes: Sizes) -> Figures:
    """Return the costs: the least of several runs, because other processes may take time from one of them."""
    runs = [_measure_times(sizes) for _ in range(RUNS)]
    times = {name: min(run[name] for run in runs) for name in runs[0]}
    return {**times, "executions": sizes.moderate, "bytes per group": _bytes_per_group()}


def _measure_times(sizes: Sizes) -> Figures:
    durations = LAW.durations(sizes.moderate, seed=2)
    usual, ours = Timed(default()), Timed(learned())
    simulate(durations, usual)
    simulate(durations, ours)
    return {
        "default, decision": usual.calls / usual.decisions * 1e6,
        "learned, decision and answer": ours.calls / ours.decisions * 1e6,
        "plan": statistics.median(ours.plans) * 1e6,
        "slowest plan": max(ours.plans) * 1e6,
        "plans": len(ours.plans),
    }


def _bytes_per_group() -> float:
    """Return the memory of a group that has learned from some executions."""
    strategy = learned(key=lambda number: str(int(number) % (GROUPS + 1)))
    durations = LAW.durations(EXECUTIONS * (GROUPS + 1), seed=3)
    simulate(durations[: GROUPS + 1 : GROUPS + 1], strategy)  # one group, so that what groups share is there
    gc.collect()
    tracemalloc.start()
    simulate(durations, strategy)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return size / GROUPS
