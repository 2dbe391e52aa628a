"""What is learned of durations is forgotten when they have changed, and not before."""

from __future__ import annotations

import random

import pytest

from truebit_async._learning.durations import Durations

GAP = 0.8  # seconds between two polls: an end is improbable between any two of them
TAUGHT = 300  # executions
BETWEEN_ESTIMATES = 50  # executions


def follow(durations: Durations, seconds: float) -> None:
    """Poll one execution until its end."""
    durations.begin()
    age = 0.0
    while age + GAP < seconds:
        durations.add_pending(age, age + GAP)
        age += GAP
    durations.leave()
    durations.add_end(age, age + GAP)
    if durations.completed_since >= BETWEEN_ESTIMATES:
        durations.update()


def taught(rng: random.Random) -> Durations:
    durations = Durations()
    for _ in range(TAUGHT):
        follow(durations, rng.lognormvariate(2, 0.5))
    return durations


@pytest.mark.parametrize("factor", [3.0, 0.3])
def test_a_change_of_durations_is_noticed(factor: float) -> None:
    rng = random.Random(1)
    durations = taught(rng)
    for _ in range(60):
        follow(durations, factor * rng.lognormvariate(2, 0.5))
        if durations.have_changed():
            return
    pytest.fail("the change was not noticed")


def test_durations_that_stay_the_same_are_not_forgotten() -> None:
    rng = random.Random(1)
    durations = taught(rng)
    for _ in range(2000):
        follow(durations, rng.lognormvariate(2, 0.5))
        assert not durations.have_changed()
