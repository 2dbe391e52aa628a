"""Experiment: the default of the package and fixed intervals against full jitter. Nothing is learned."""

from __future__ import annotations

from benchmarks.study.figures import Figures, compared, geometric_mean
from benchmarks.study.laws import HELD_OUT, LAWS, Law
from benchmarks.study.references import with_default, with_full_jitter
from benchmarks.study.simulation import simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import fixed

INTERVALS = (1, 2, 5, 10)  # seconds
SEED = 11


def measure(sizes: Sizes) -> Figures:
    """Return the figures of all laws, their geometric means, and the law that fares worst."""
    rows = [_row(law, sizes) for law in (*LAWS, *HELD_OUT)]
    names = ("requests", "lower", "at equal requests")
    weakest = min(rows, key=lambda row: row["default / full jitter"]["lower"])
    return {
        "laws": rows,
        "means": {name: geometric_mean(row["default / full jitter"][name] for row in rows) for name in names},
        "weakest": {"law": weakest["law"], **weakest["default / full jitter"]},
    }


def _row(law: Law, sizes: Sizes) -> Figures:
    durations = law.durations(sizes.batch, SEED)
    jitter = with_full_jitter(law, sizes.main, SEED).summary()
    ours = with_default(law, sizes.main, SEED).summary()
    intervals = {f"{seconds} s": simulate(durations, fixed(seconds)).summary() for seconds in INTERVALS}
    return {
        "law": law.name,
        "full jitter": jitter,
        "default": ours,
        "default / full jitter": compared(ours, jitter),
        "fixed": intervals,
    }
