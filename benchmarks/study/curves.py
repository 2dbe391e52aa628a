"""Experiment: delay against requests, for fixed intervals, `LearnedWait` at several efforts, and the oracle."""

from __future__ import annotations

from benchmarks.study.figures import Figures
from benchmarks.study.laws import QUICK_OR_SLOW, Law, exponential, lognormal
from benchmarks.study.oracle import Oracle
from benchmarks.study.simulation import simulate
from benchmarks.study.sizes import Sizes
from benchmarks.study.strategies import default, fixed, full_jitter, learned

LAWS = (exponential(10), lognormal(8, 0.5), QUICK_OR_SLOW)
EFFORTS = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0)
INTERVALS = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0, 4.0, 6.0, 10.0)  # seconds
PRICES = (0.01, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0)  # seconds per request


def measure(sizes: Sizes) -> list[Figures]:
    """Return points of the curves: requests and delay."""
    return [_row(law, sizes) for law in LAWS]


def _row(law: Law, sizes: Sizes) -> Figures:
    durations = law.durations(sizes.moderate, seed=13)
    known = sizes.moderate // 4
    oracle = Oracle(law)
    plans = [oracle.plan(price) for price in PRICES]
    return {
        "law": law.name,
        "full jitter": _point(simulate(durations, full_jitter()).summary(known)),
        "default": _point(simulate(durations, default()).summary(known)),
        "fixed": [[s, *_point(simulate(durations, fixed(s)).summary(known))] for s in INTERVALS],
        "learned": [[e, *_point(simulate(durations, learned(e)).summary(known))] for e in EFFORTS],
        "oracle": [[plan.price, plan.requests, plan.delay] for plan in plans],
    }


def _point(summary: dict[str, float]) -> list[float]:
    return [summary["requests"], summary["delay"]]
