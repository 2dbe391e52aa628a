"""The strategies that the study compares. They decide how many seconds to sleep after a poll."""

from __future__ import annotations

from random import Random
from typing import Any

from benchmarks.study.simulation import Strategy
from truebit_async.strategies import LearnedWait, ProportionalWait

FULL_JITTER = "full jitter"
DEFAULT = "default"
LEARNED = "LearnedWait"


def full_jitter(seed: int = 3) -> Strategy:
    """Return exponential backoff with full jitter, from 0.5 s to 10 s. It is the reference of all comparisons."""
    random = Random(seed)  # noqa: S311  # a simulation

    def strategy(state: Any) -> float:
        bound = min(9.5, 0.5 * 2.0 ** min(state.attempt_number - 1, 30))
        return float(0.5 + random.random() * bound)

    return strategy


def fixed(seconds: float) -> Strategy:
    """Return a fixed interval."""
    return lambda _: seconds


def default() -> Strategy:
    """Return the default of the package."""
    return ProportionalWait()


def learned(effort: float | None = None, **options: Any) -> LearnedWait:
    """Return the strategy of the package that learns."""
    return LearnedWait(effort, **options)
