"""Experiment: executions that were submitted 0 to 35 s before their wait, by somebody else.

Their age is longer than the wait. `LearnedWait` has learned from executions that it saw from their beginning. It is
compared with and without the time of submission, and with a group of their own for these executions.
"""

from __future__ import annotations

from random import Random
from typing import Any

from benchmarks.study.figures import Figures
from benchmarks.study.laws import Law, lognormal, normal, uniform
from benchmarks.study.simulation import INTERVAL, Strategy, simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, full_jitter, learned

LAWS = (uniform(5, 35), lognormal(8, 0.5), normal(12, 0.2))
EARLIEST = 35.0  # seconds before the wait
FIRST = 100  # executions


def measure(sizes: Sizes) -> list[Figures]:
    """Return the figures of each law."""
    return [_row(law, sizes) for law in LAWS]


def _row(law: Law, sizes: Sizes) -> Figures:
    fresh = law.durations(2 * sizes.batch, seed=1)
    remaining, submitted = _pending(law, sizes.batch)
    after: dict[str, Any] = {"first_number": len(fresh), "starts": len(fresh) * INTERVAL + 1000}

    def figures(strategy: Strategy, **options: Any) -> Figures:
        result = simulate(remaining, strategy, **after, **options)
        return {"all": result.summary(), f"first {FIRST}": result.summary(0, FIRST)}

    def taught(**options: Any) -> Strategy:
        strategy = learned(**options)
        simulate(fresh, strategy)
        return strategy

    return {
        "law": law.name,
        "full jitter": figures(full_jitter()),
        "default": figures(default()),
        "unknown": figures(taught()),
        "unknown, own group": figures(
            taught(key=lambda execution_id: "earlier" if execution_id >= len(fresh) else "fresh")
        ),
        "known": figures(taught(), submitted=submitted),
    }


def _pending(law: Law, count: int) -> tuple[list[float], list[float]]:
    """Return how long executions still run when their waits begin, and how long ago they were submitted."""
    random = Random(1)  # noqa: S311  # a simulation
    remaining: list[float] = []
    submitted: list[float] = []
    while len(remaining) < count:
        duration, before = max(0.01, law.draw(random)), random.uniform(0, EARLIEST)
        if duration > before:
            remaining.append(duration - before)
            submitted.append(before)
    return remaining, submitted
