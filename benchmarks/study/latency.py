"""Experiment: each request takes 0.05 to 0.5 s, at random."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from benchmarks.study.figures import Figures, compared, geometric_mean
from benchmarks.study.laws import LAWS, Law
from benchmarks.study.simulation import simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, full_jitter, learned

LEAST, MOST = 0.05, 0.5  # seconds


def measure(sizes: Sizes) -> Figures:
    """Return the figures of all laws, and geometric means. The delay includes the latency of the last request."""
    rows = [_row(law, sizes) for law in LAWS]
    means = {
        name: {what: geometric_mean(row[name][what] for row in rows) for what in ("requests", "lower")}
        for name in ("default / full jitter", "learned / full jitter")
    }
    return {"laws": rows, "means": means}


def _row(law: Law, sizes: Sizes) -> Figures:
    durations = law.durations(sizes.moderate, seed=11)
    jitter = simulate(durations, full_jitter(), latency=_noise()).summary()
    usual = simulate(durations, default(), latency=_noise()).summary()
    ours = simulate(durations, learned(), latency=_noise()).summary()
    return {
        "law": law.name,
        "full jitter": jitter,
        "default": usual,
        "learned": ours,
        "default / full jitter": compared(usual, jitter),
        "learned / full jitter": compared(ours, jitter),
    }


def _noise() -> Callable[[], float]:
    random = Random(8)  # noqa: S311  # a simulation
    return lambda: random.uniform(LEAST, MOST)
