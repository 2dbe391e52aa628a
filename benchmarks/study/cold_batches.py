"""Experiment: a batch begins all at once, and nothing is known of its executions.

When the first ones end, all others sleep already. `LearnedWait` says after a plan that sleeping waits should be decided
again. The experiment shows what that brings, and what the following batches gain.
"""

from __future__ import annotations

from typing import Any

from benchmarks.study.figures import Figures, compared, geometric_mean
from benchmarks.study.laws import LAWS, Law
from benchmarks.study.simulation import DEADLINE, Strategy, simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, full_jitter, learned

BATCHES = 4


class WithoutDecidingAgain:
    """A strategy that learns, but lets sleeping waits sleep."""

    def __init__(self, strategy: Any) -> None:
        self._strategy = strategy

    def __call__(self, state: Any) -> float:
        """Decide as the strategy does."""
        return float(self._strategy(state))

    def observe(self, observation: Any) -> None:
        """Tell the strategy, and ignore what it asks for."""
        self._strategy.observe(observation)


def measure(sizes: Sizes) -> Figures:
    """Return the figures of all laws, and geometric means."""
    rows = [_row(law, sizes) for law in LAWS]
    names = ("default", "not decided again", *(f"batch {number}" for number in range(1, BATCHES + 1)))
    means = {
        name: {what: geometric_mean(row[name][what] for row in rows) for what in ("requests", "lower")}
        for name in names
    }
    return {"laws": rows, "means": means}


def _row(law: Law, sizes: Sizes) -> Figures:
    strategy = learned()
    row: Figures = {"law": law.name, **_batch(law, sizes, 0, default=default()),
                    **_batch(law, sizes, 0, **{"not decided again": WithoutDecidingAgain(learned())})}  # fmt: skip
    for number in range(BATCHES):
        row |= _batch(law, sizes, number, **{f"batch {number + 1}": strategy})
    return row


def _batch(law: Law, sizes: Sizes, number: int, **strategies: Strategy) -> Figures:
    """Return the figures of a batch, for each strategy, against full jitter. It begins when others have ended."""
    durations = law.durations(sizes.batch, seed=11 + number)
    place: dict[str, Any] = {"interval": 0.0, "first_number": number * sizes.batch, "starts": number * 2 * DEADLINE}
    jitter = simulate(durations, full_jitter(number), **place).summary()
    figures = {}
    for name, strategy in strategies.items():
        ours = simulate(durations, strategy, **place).summary()
        figures[name] = {"delay": ours["delay"], "jitter": jitter["delay"], **compared(ours, jitter)}
    return figures
