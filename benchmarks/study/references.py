"""Simulations that several experiments compare with. Each runs once."""

from __future__ import annotations

from functools import cache

from benchmarks.study.laws import Law
from benchmarks.study.simulation import Result, simulate
from benchmarks.study.strategies import default, full_jitter


@cache
def with_full_jitter(law: Law, count: int, seed: int) -> Result:
    """Return what full jitter does with executions of a law that arrive one by one."""
    return simulate(law.durations(count, seed), full_jitter())


@cache
def with_default(law: Law, count: int, seed: int) -> Result:
    """Return what the default of the package does with them."""
    return simulate(law.durations(count, seed), default())
