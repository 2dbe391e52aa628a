"""The laws: how long the simulated executions run.

A law draws durations, and it knows its distribution function exactly. The simulation uses the draws. The oracle uses
the distribution function, so it does not depend on the draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import attrs
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SHORTEST = 0.01  # seconds; no execution ends sooner

_erf = np.vectorize(math.erf, otypes=[np.float64])


@attrs.frozen
class Law:
    """How long executions of one kind run, in seconds.

    Attributes:
        name: what figures and tables call it.
        draw: draws one duration; infinity if the execution never ends.
        cdf: the distribution function: for each age, the share of the executions that have ended by then.
    """

    name: str
    draw: Callable[[Random], float]
    cdf: Callable[[Floats], Floats]

    def durations(self, count: int, seed: int) -> list[float]:
        """Draw durations, the same ones for the same seed."""
        random = Random(seed)  # noqa: S311  # a simulation
        return [max(SHORTEST, self.draw(random)) for _ in range(count)]


def _normal_cdf(ages: Floats, mean: float, sigma: float) -> Floats:
    return np.asarray((1 + _erf((ages - mean) / (sigma * math.sqrt(2)))) / 2)


def exponential(mean: float) -> Law:
    """Return a law without memory: at every age, the remaining time is as long on average."""
    return Law(f"exponential {mean:g}", lambda random: random.expovariate(1 / mean), lambda t: 1 - np.exp(-t / mean))


def uniform(low: float, high: float) -> Law:
    """Return a law by which every duration between two bounds is equally probable."""
    return Law(
        f"uniform {low:g} to {high:g}",
        lambda random: random.uniform(low, high),
        lambda t: np.clip((t - low) / (high - low), 0, 1),
    )


def lognormal(median: float, sigma: float, *, never: float = 0.0) -> Law:
    """Return a lognormal law, by which a share ``never`` of the executions does not end."""

    def draw(random: Random) -> float:
        if never and random.random() < never:
            return math.inf
        return random.lognormvariate(math.log(median), sigma)

    def cdf(ages: Floats) -> Floats:
        return (1 - never) * _normal_cdf(np.log(np.maximum(ages, 1e-12)), math.log(median), sigma)

    suffix = f", {100 * never:g} % never end" if never else ""
    return Law(f"lognormal {median:g}, \N{GREEK SMALL LETTER SIGMA} {sigma:g}{suffix}", draw, cdf)


def weibull(scale: float, shape: float) -> Law:
    """Return a Weibull law: with a shape below 1, the longer an execution has run, the longer it will still run."""
    return Law(
        f"Weibull {scale:g}, shape {shape:g}",
        lambda random: random.weibullvariate(scale, shape),
        lambda t: 1 - np.exp(-((t / scale) ** shape)),
    )


def pareto(shortest: float, shape: float) -> Law:
    """Return a Pareto law: a few executions run for very long."""
    return Law(
        f"Pareto {shortest:g}, shape {shape:g}",
        lambda random: shortest * random.paretovariate(shape),
        lambda t: np.where(t > shortest, 1 - (shortest / np.maximum(t, shortest)) ** shape, 0.0),
    )


def normal(mean: float, sigma: float) -> Law:
    """Return a law of executions that all take about the same time."""
    return Law(
        f"constant {mean:g} ± {sigma:g}",
        lambda random: random.gauss(mean, sigma),
        lambda t: _normal_cdf(t, mean, sigma),
    )


def constant(seconds: float) -> Law:
    """Return a law of executions that all take exactly the same time."""
    return Law(f"constant {seconds:g}", lambda _: seconds, lambda t: np.asarray(t >= seconds - 1e-9, dtype=np.float64))


def mixture(first: Law, share: float, second: Law, name: str) -> Law:
    """Return a law by which a share of the executions follows one law, and the others another one."""
    return Law(
        name,
        lambda random: (first if random.random() < share else second).draw(random),
        lambda t: share * first.cdf(t) + (1 - share) * second.cdf(t),
    )


QUICK_OR_SLOW = mixture(normal(2, 0.3), 0.7, normal(30, 3), "70 % 2 ± 0.3, 30 % 30 ± 3")

LAWS = (
    exponential(10),
    uniform(5, 35),
    lognormal(8, 0.5),
    lognormal(8, 1),
    weibull(10, 0.5),
    weibull(10, 0.8),
    weibull(15, 3),
    QUICK_OR_SLOW,
    normal(12, 0.2),
    pareto(4, 1.5),
    lognormal(8, 0.5, never=0.05),
)
"""The laws that `LearnedWait` was developed with."""

HELD_OUT = (exponential(1), exponential(60), constant(0.7), lognormal(2, 0.7), uniform(60, 180))
"""Other laws."""
