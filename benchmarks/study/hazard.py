"""What the picture of the hazard shows: a law with two kinds of executions, and when it is best to poll them."""

from __future__ import annotations

import numpy as np

from benchmarks.study.figures import Figures
from benchmarks.study.laws import QUICK_OR_SLOW
from benchmarks.study.oracle import Oracle

PRICE = 0.1  # seconds of delay that one poll is worth
OLDEST, STEP = 42.0, 0.25  # seconds


def measure() -> Figures:
    """Return density and hazard by age, and the best ages of polls.

    The hazard at an age is the rate at which executions end that have not ended before.
    """
    ages = np.arange(0, OLDEST + STEP, STEP)
    ended = QUICK_OR_SLOW.cdf(ages)
    density = np.diff(ended) / STEP
    pending = 1 - (ended[1:] + ended[:-1]) / 2
    polls = Oracle(QUICK_OR_SLOW).plan(PRICE).ages
    return {
        "law": QUICK_OR_SLOW.name,
        "ages": list((ages[1:] + ages[:-1]) / 2),
        "density": list(density),
        "hazard": list(density / pending),
        "polls": list(polls[polls <= OLDEST]),
        "price": PRICE,
    }
