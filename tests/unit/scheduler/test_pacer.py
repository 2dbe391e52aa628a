from __future__ import annotations

import itertools
import math
import random

import pytest

from truebit_async._scheduler.pacer import Pacer


def test_without_a_rate_only_slots_count() -> None:
    pacer = Pacer(2, None)
    pacer.started(0.0)
    assert pacer.next_start() <= 0.0
    pacer.started(0.0)
    assert pacer.next_start() == math.inf
    pacer.finished()
    assert pacer.next_start() <= 0.0


def test_a_pause_holds_everything_and_never_gets_shorter() -> None:
    pacer = Pacer(1, None)
    pacer.pause(10.0)
    pacer.pause(5.0)
    assert pacer.next_start() == 10.0


@pytest.mark.parametrize("max_rate", [0.2, 1, 3, 7.5, 50, 1000])
@pytest.mark.parametrize("lateness", [0.0, 0.005, 0.5])
@pytest.mark.no_cover
def test_the_rate_is_kept_and_nearly_reached(max_rate: float, lateness: float) -> None:
    """Under saturation, with a timer that is late at random."""
    rng = random.Random(1)
    pacer, now, starts = Pacer(10**9, max_rate), 0.0, list[float]()
    while now < 60:
        now = max(now, pacer.next_start())
        if rng.random() < 0.1:
            now += rng.uniform(0, lateness)
        while pacer.next_start() <= now:
            pacer.started(now)
            starts.append(now)
    window = 0
    for index, start in enumerate(starts):
        while starts[window] <= start - 1:
            window += 1
        assert index - window + 1 <= max(1, max_rate + 1)
    if lateness <= 0.005:
        assert len(starts) / 60 >= 0.97 * max_rate


def test_an_idle_session_saves_up_no_burst() -> None:
    pacer = Pacer(10**9, 10)
    starts = 0
    while pacer.next_start() <= 1000.0:
        pacer.started(1000.0)
        starts += 1
    assert starts == 1
    assert pacer.next_start() == pytest.approx(1000.0 - 0.02 + 1 / 9.8)


def test_turns_are_spread_evenly() -> None:
    pacer, now = Pacer(10**9, 10), 0.0
    starts = []
    for _ in range(5):
        now = max(now, pacer.next_start())
        pacer.started(now)
        starts.append(now)
    gaps = [later - earlier for earlier, later in itertools.pairwise(starts)]
    assert gaps[1:] == pytest.approx([1 / 9.8] * 3)
