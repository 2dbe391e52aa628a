"""The oracle: the best schedule of polls for an execution whose law is known exactly, by dynamic programming.

The oracle knows the distribution function F, and that the execution was pending when it was last polled, at age a. It
pays a price for each poll, in seconds of delay, and chooses the age b of the next poll so that

    price * S(a) + integral from a to b of (F(u) - F(a)) du + U(b)

is least, where S = 1 - F and U(b) is that minimum at age b (Barlow, Hunter and Proschan 1963, Optimum checking
procedures). All ages are on a fine grid. As every strategy in the study, it polls at age 0, and it ends at the
deadline. Its gaps are 0.5 to 60 s. No strategy with these limits has a lower mean delay at the same mean number of
requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs
import numpy as np

from benchmarks.study.laws import Floats, Law
from benchmarks.study.simulation import DEADLINE

SHORTEST_GAP, LONGEST_GAP = 0.5, 60.0
STEP, FINE, GROWTH = 0.05, 60.0, 0.002  # the grid: even steps up to an age, then in proportion to the age
ENOUGH = 0.002  # how close the search for a price comes, relative to what it searches for
TRIALS = 30


@attrs.frozen
class Plan:
    """The best schedule at a price.

    Attributes:
        price: seconds of delay that one poll is worth.
        requests: mean polls per execution.
        delay: mean delay, in seconds, of the executions that end before the deadline.
        ages: the ages at which an execution is polled until it ends.
    """

    price: float
    requests: float
    delay: float
    ages: Floats


class Oracle:
    """Plans for one law."""

    def __init__(self, law: Law) -> None:
        self._ages = _grid()
        self._ended = np.maximum.accumulate(np.clip(law.cdf(self._ages), 0, 1))  # F
        steps = np.diff(self._ages) * (self._ended[1:] + self._ended[:-1]) / 2
        self._area = np.concatenate([[0.0], np.cumsum(steps)])  # the integral of F
        self._first = np.searchsorted(self._ages, self._ages + SHORTEST_GAP - 1e-9)
        self._last = np.searchsorted(self._ages, self._ages + LONGEST_GAP + 1e-9)
        self._plans: dict[float, Plan] = {}

    def plan(self, price: float) -> Plan:
        """Return the best schedule at a price."""
        if price not in self._plans:
            self._plans[price] = self._solve(price)
        return self._plans[price]

    def delay_at(self, requests: float) -> float:
        """Return the least mean delay at a mean number of requests."""
        low, high = self._around(requests, lambda plan: plan.requests, falls=True)
        return _between(requests, (low.requests, low.delay), (high.requests, high.delay))

    def requests_at(self, delay: float) -> float:
        """Return the least mean number of requests at a mean delay."""
        low, high = self._around(delay, lambda plan: plan.delay, falls=False)
        return _between(delay, (low.delay, low.requests), (high.delay, high.requests))

    def _solve(self, price: float) -> Plan:
        ages, ended, area = self._ages, self._ended, self._area
        count = len(ages)
        cost, delay, polls = np.zeros(count), np.zeros(count), np.zeros(count)
        following = np.full(count, count)
        lines = area.copy()  # area(b) + U(b), filled from the end
        for a in range(count - 2, -1, -1):
            first = self._first[a]
            if first >= count:
                continue  # the deadline comes before the next poll
            last = max(self._last[a], first + 1)
            values = lines[first:last] - ended[a] * ages[first:last]
            b = first + int(values.argmin())
            late = area[b] - area[a] - ended[a] * (ages[b] - ages[a])
            following[a] = b
            cost[a] = price * (1 - ended[a]) + late + cost[b]
            delay[a] = late + delay[b]
            polls[a] = 1 - ended[a] + polls[b]
            lines[a] = area[a] + cost[a]
        return Plan(price, float(1 + polls[0]), float(delay[0] / ended[-1]), self._schedule(following))

    def _schedule(self, following: np.ndarray) -> Floats:
        polled, index = [0], 0
        while following[index] < len(self._ages):
            index = int(following[index])
            polled.append(index)
        return self._ages[polled]

    def _around(self, wanted: float, what: Callable[[Plan], float], *, falls: bool) -> tuple[Plan, Plan]:
        """Return two plans with what is wanted between them. A choice by chance gives all that lies between.

        Args:
            wanted: the value.
            what: the value of a plan.
            falls: whether the value falls with the price; else it rises.
        """
        low, high = 1e-4, 1e3
        price = 0.2
        for _ in range(TRIALS):
            value = what(self.plan(price))
            if abs(value / wanted - 1) < ENOUGH:
                return self.plan(price), self.plan(price)
            if (value > wanted) == falls:
                low = price
            else:
                high = price
            if high / low < 1 + ENOUGH:
                break
            # Requests go about with the square root of 1 / price, and the delay with that of the price.
            better = price * ((value / wanted) if falls else (wanted / max(value, 1e-9))) ** 2
            price = better if low < better < high else math.sqrt(low * high)
        return self.plan(low), self.plan(high)


def _between(x: float, first: tuple[float, float], second: tuple[float, float]) -> float:
    """Interpolate; outside of the two points, return the nearer one."""
    (x0, y0), (x1, y1) = sorted([first, second])
    if x1 - x0 < 1e-12:  # noqa: PLR2004
        return y0
    share = min(max((x - x0) / (x1 - x0), 0.0), 1.0)
    return y0 + share * (y1 - y0)


def _grid() -> Floats:
    ages = [round(STEP * step, 9) for step in range(round(FINE / STEP))]
    age = FINE
    while age < DEADLINE:
        ages.append(age)
        age += max(STEP, GROWTH * age)
    return np.array([*ages, DEADLINE])
