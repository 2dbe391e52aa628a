"""Experiment: how many requests `LearnedWait` needs for the mean delay of full jitter."""

from __future__ import annotations

from benchmarks.study.figures import Figures, geometric_mean
from benchmarks.study.laws import LAWS, Law
from benchmarks.study.oracle import Oracle
from benchmarks.study.simulation import simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import full_jitter, learned


def measure(sizes: Sizes) -> Figures:
    """Return the figures of all laws, once they are learned, and their geometric mean."""
    rows = [_row(law, sizes) for law in LAWS]
    return {"laws": rows, "mean saved": 1 - geometric_mean(1 - row["saved"] for row in rows)}


def _row(law: Law, sizes: Sizes) -> Figures:
    durations = law.durations(sizes.moderate, seed=12)
    known = sizes.moderate // 4
    jitter = simulate(durations, full_jitter()).summary(known)
    ours = simulate(durations, learned(mean_delay=jitter["delay"])).summary(known)
    return {
        "law": law.name,
        "full jitter": jitter,
        "learned": ours,
        "saved": 1 - ours["requests"] / jitter["requests"],
        "oracle": Oracle(law).requests_at(ours["delay"]),
    }
