"""Experiment: `LearnedWait` learns a law from nothing, while executions arrive one by one."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from benchmarks.study.figures import Figures, compared, geometric_mean
from benchmarks.study.laws import QUICK_OR_SLOW, Law, exponential, lognormal
from benchmarks.study.oracle import Oracle
from benchmarks.study.references import with_default, with_full_jitter
from benchmarks.study.simulation import Result, simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, full_jitter, learned

SEED = 11
FIRST = (200, 1000)  # executions
BEGINNINGS = (exponential(10), lognormal(8, 0.5), QUICK_OR_SLOW)  # the laws of `by_number`
GROUPS = (0, 10, 20, 30, 40, 60, 80, 100, 150, 200, 300, 400)  # of executions, by number


def measure(laws: Iterable[Law], sizes: Sizes) -> Figures:
    """Return the figures of laws, and their geometric means."""
    rows = [_row(law, sizes) for law in laws]
    means = {
        name: geometric_mean(row["later / full jitter"][name] for row in rows)
        for name in ("requests", "lower", "at equal requests")
    }
    cold = {
        name: geometric_mean(row["all / full jitter"][name] for row in rows)
        for name in ("requests", "lower", "at equal requests")
    }
    return {"laws": rows, "means": means, "means, cold start included": cold}


def _row(law: Law, sizes: Sizes) -> Figures:
    jitter, ours = with_full_jitter(law, sizes.main, SEED), simulate(law.durations(sizes.main, SEED), learned())
    half = sizes.main // 2
    later = ours.summary(half)
    best = Oracle(law).delay_at(later["requests"])
    return {
        "law": law.name,
        "full jitter": jitter.summary(),
        "default": with_default(law, sizes.main, SEED).summary(),
        "all": ours.summary(),
        "all / full jitter": compared(ours.summary(), jitter.summary()),
        **{f"first {count}": _lower(ours, jitter, 0, count) for count in FIRST},
        "later": later,
        "later / full jitter": compared(later, jitter.summary(half)),
        "oracle": best,
        "share of the oracle": best / later["delay"],
    }


def _lower(ours: Result, reference: Result, first: int, last: int) -> Figures:
    figures, other = ours.summary(first, last), reference.summary(first, last)
    return {**figures, "lower": other["delay"] / figures["delay"]}


def by_number(sizes: Sizes) -> Figures:
    """Return the delay of the first executions by their number, in seconds, over repeated runs."""
    return {
        "groups": [[first, last] for first, last in pairwise(GROUPS)],
        "laws": {law.name: _beginning(law, 2 * sizes.runs) for law in BEGINNINGS},
    }


def _beginning(law: Law, runs: int) -> Figures:
    delays: dict[str, list[np.ndarray]] = {"full jitter": [], "default": [], "LearnedWait": []}
    for run in range(runs):
        durations = law.durations(GROUPS[-1], seed=100 + run)
        for name, strategy in (("full jitter", full_jitter(run)), ("default", default()), ("LearnedWait", learned())):
            delays[name].append(simulate(durations, strategy).delays)
    return {
        name: [float(np.nanmean(np.array(rows)[:, first:last])) for first, last in pairwise(GROUPS)]
        for name, rows in delays.items()
    }
