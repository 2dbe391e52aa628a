"""When to poll next: the plan that is best for a curve and a price.

The price c is how many seconds of delay a request is worth. After a poll at age a that found the execution running,
the best next poll is at the age b that minimises

    c S(a)  +  ∫ (F(u) - F(a)) du from a to b  +  U(b)

where U is that minimum itself: what a request costs, the delay of ends until b, and what comes after b. (Barlow, Hunter
and Proschan, 1963, on the best times to check. In the limit of many polls, their density is that of Keller, 1974: the
square root of the hazard divided by 2 c.)

With G = ∫ F, this is the lowest of the straight lines G(b) + U(b) - b F over F = F(a). F rises with the age, so one
pass from the highest age down finds the best b for every a.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable

import attrs

from truebit_async._learning.ages import EDGES, RATIO, place
from truebit_async._learning.curve import Curve

_MIN_SHARE = 1e-3  # a forecast ends where fewer executions run
_ONE_BY_ONE = 50  # polls; a forecast takes later ones together that are closer than a step
_STEP = 2 * (RATIO - 1)  # of the age: about two bins
_SHORTEST = 1e-6  # seconds; a forecast takes no gap for shorter


@attrs.frozen
class Plan:
    """The age of the next poll, for each age of the last one.

    Attributes:
        curve: what it is made for.
        targets: for the beginning of each known bin, and the end of the last one, the age of the next poll, in seconds.
        min_interval: the shortest gap, in seconds.
        max_interval: the longest gap.
    """

    curve: Curve
    targets: array[float]
    min_interval: float
    max_interval: float

    def next_poll(self, age: float) -> float:
        """Return the age of the next poll after one at an age, both in seconds."""
        number, part = place(age)
        targets = self.targets
        if number < len(targets) - 1:
            target = targets[number]
            target += part * (targets[number + 1] - target)
        else:
            target = age + targets[-1] - self.curve.end
        return min(max(target, age + self.min_interval), age + self.max_interval)

    def gap(self, _polls: int, age: float) -> float:
        """Return the gap after a poll, for `forecast`."""
        return self.next_poll(age) - age


def forecast(curve: Curve, gap: Callable[[int, float], float], start: float = 0.0) -> tuple[float, float]:
    """Return the mean number of polls of an execution, and the mean delay in seconds, as far as durations are known.

    Args:
        curve: the durations.
        gap: returns the gap in seconds after a number of polls, the last of which was at some age.
        start: the age of the first poll, in seconds. Executions that have ended before do not count.
    """
    age, share, ran, polls, delay = start, curve.share(start), curve.running_time(start), 0.0, 0.0
    all_of_them = share
    number = 1
    while age < curve.end and share > _MIN_SHARE * all_of_them:
        length = max(_SHORTEST, gap(number, age))
        step = min(_STEP * age, curve.end - age) if number > _ONE_BY_ONE else 0.0
        takes_several = length < step
        if takes_several:
            length = min(step, max(_SHORTEST, gap(number, age + step / 2)))
        next_age = age + (step if takes_several else length)
        next_share, next_ran = curve.share(next_age), curve.running_time(next_age)
        # From the end of an execution to the next poll, summed with the time that it ran: the gaps of all polls.
        gaps = next_ran - ran + length * (share - next_share) / 2 if takes_several else share * length
        polls += gaps / length
        delay += gaps - (next_ran - ran)
        age, share, ran = next_age, next_share, next_ran
        number += 1
    return 1 + polls / all_of_them, delay / all_of_them


def best_plan(curve: Curve, price: float, min_interval: float, max_interval: float, gap_beyond: float) -> Plan:
    """Return the best plan.

    Args:
        curve: the durations.
        price: how many seconds of delay a request is worth.
        min_interval: the shortest gap, in seconds.
        max_interval: the longest gap.
        gap_beyond: the gap at ages of which nothing is known.
    """
    survival, running, top = curve.survival, curve.running, len(curve.survival) - 1
    targets = array("d", EDGES[:top])
    targets.append(EDGES[top] + gap_beyond)
    cost = survival[top] * (price + gap_beyond / 2)  # U
    # The lines that are the lowest somewhere, as the age b and their height at F = 0. The last one has the lowest b.
    ages, heights = [EDGES[top]], [EDGES[top] - running[top] + cost]
    first = 0  # lines before this one are not the lowest for any F that is still to come
    for number in range(top - 1, -1, -1):
        age, share, ended = EDGES[number], survival[number], 1 - survival[number]
        while len(ages) - first > 1 and heights[first + 1] - heights[first] <= (ages[first + 1] - ages[first]) * ended:
            first += 1
        target = ages[first]
        until_age = age - running[number]  # G
        best = price * share + heights[first] - until_age - (target - age) * ended
        length, drop = EDGES[number + 1] - age, share - survival[number + 1]
        polls = round(min(math.sqrt(drop * length / (2 * price * share)), length // min_interval))
        if polls > 1:  # several polls within the bin
            inside = price * polls * share + drop * length / (2 * polls) + cost
            if inside < best:
                best, target = inside, age + length / polls
        targets[number] = target
        cost, height = best, until_age + best
        while len(ages) - first > 1 and _is_never_lowest(ages, heights, age, height):
            ages.pop()
            heights.pop()
        ages.append(age)
        heights.append(height)
    return Plan(curve, targets, min_interval, max_interval)


def _is_never_lowest(ages: list[float], heights: list[float], age: float, height: float) -> bool:
    """Return whether the last line is nowhere lower than both the one before it and a new one."""
    rise, run = heights[-1] - heights[-2], ages[-2] - age
    return (height - heights[-2]) * (ages[-2] - ages[-1]) <= rise * run
