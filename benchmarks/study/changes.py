"""Experiment: the law changes, slowly or from one execution to the next, and `LearnedWait` is not told."""

from __future__ import annotations

import math
from random import Random

import attrs
import numpy as np
from numpy.typing import NDArray

from benchmarks.study.figures import Figures, compared
from benchmarks.study.laws import Law, lognormal, normal
from benchmarks.study.simulation import Result, simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, full_jitter, learned

SWITCHES = (
    (normal(12, 0.2), normal(2, 0.1)),
    (lognormal(24, 0.5), lognormal(8, 0.5)),
    (lognormal(8, 0.5), lognormal(24, 0.5)),
    (normal(12, 0.2), normal(40, 0.5)),
)
WITH_TARGETS = 3  # the first ones
WINDOW = 100  # executions
STEP = 10  # executions from one window to the next
NEAR = 1.1  # how close to the delay of the long run counts as back
SLOWEST = 5.0  # the median at the beginning of the drift, in seconds; it becomes ten times as long
SERIES = 20  # executions of a point in the plot


def drift(sizes: Sizes) -> Figures:
    """Return the figures of executions whose median becomes ten times as long, while they arrive."""
    random = Random(1)  # noqa: S311  # a simulation
    count = sizes.moderate
    durations = [random.lognormvariate(math.log(SLOWEST * 10 ** (i / count)), 0.5) for i in range(count)]
    jitter = simulate(durations, full_jitter()).summary()
    ours = simulate(durations, learned()).summary()
    return {
        "full jitter": jitter,
        "default": simulate(durations, default()).summary(),
        "learned": ours,
        "learned / full jitter": compared(ours, jitter),
    }


@attrs.frozen
class _Runs:
    """Repeated runs of one strategy: requests and delays by run and by execution."""

    requests: NDArray[np.float64]
    delays: NDArray[np.float64]

    @classmethod
    def of(cls, results: list[Result]) -> _Runs:
        return cls(np.array([r.requests for r in results], np.float64), np.array([r.delays for r in results]))

    def means(self, first: int, last: int) -> tuple[float, float]:
        return float(self.requests[:, first:last].mean()), float(np.nanmean(self.delays[:, first:last]))


def switches(sizes: Sizes) -> list[Figures]:
    """Return the figures of laws that change from one execution to the next."""
    return [
        {**_switch(before, after, sizes), "has targets": number < WITH_TARGETS}
        for number, (before, after) in enumerate(SWITCHES)
    ]


def _switch(before: Law, after: Law, sizes: Sizes) -> Figures:
    count = sizes.before
    ours, jitter, later = [], [], []
    for run in range(sizes.runs):
        durations = before.durations(count, run) + after.durations(count + WINDOW, 50 + run)
        ours.append(simulate(durations, learned()))
        jitter.append(simulate(durations, full_jitter(run)))
    long_run = [simulate(after.durations(2 * count, 70 + run), learned()) for run in range(max(2, sizes.runs // 2))]
    later = [result.mean_delay(count) for result in long_run]
    return {"from": before.name, "to": after.name, "switch": count, "long run": sum(later) / len(later),
            **_after(_Runs.of(ours), _Runs.of(jitter), count, sum(later) / len(later))}  # fmt: skip


def _after(ours: _Runs, jitter: _Runs, switch: int, long_run: float) -> Figures:
    windows = range(switch, switch + switch + 1, STEP)
    means = [(*ours.means(first, first + WINDOW), *jitter.means(first, first + WINDOW)) for first in windows]
    back = next((i * STEP for i, (_, delay, _, _) in enumerate(means) if delay <= NEAR * long_run), None)
    points = range(switch - min(switch, 200), 2 * switch, SERIES)
    return {
        "worst delay / full jitter": max(delay / other for _, delay, _, other in means),
        "worst requests / full jitter": max(requests / other for requests, _, other, _ in means),
        "back after": back,
        "series": {
            "executions": [first - switch for first in points],
            "full jitter": [jitter.means(first, first + SERIES)[1] for first in points],
            "LearnedWait": [ours.means(first, first + SERIES)[1] for first in points],
        },
    }
