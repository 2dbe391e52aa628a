"""What interval-censored answers tell of durations."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

import pytest

from truebit_async._learning.ages import COUNT, EDGES, place
from truebit_async._learning.durations import MEMORY, MEMORY_AFTER_CHANGE, Durations
from truebit_async._learning.saved import SavedGroup


def feed(
    durations: Durations, law: Callable[[], float], count: int, rng: Random, *, leave_at: float = math.inf
) -> int | None:
    """Poll executions in gaps that are no multiple of anything. Return after how many the alarm fired, if it did."""
    fired = None
    for number in range(count):
        duration, before = law(), 0.0
        while True:
            age = before + rng.uniform(0.3, 1) * max(1.0, before / 4)
            if age >= duration:
                durations.add_end(before, age)
                break
            durations.add_pending(before, age)
            before = age
            if age > leave_at:
                break
        if durations.have_changed() and fired is None:
            fired = number + 1
        if durations.completed_since >= 20:
            durations.update()
    durations.update()
    return fired


LAWS: dict[str, tuple[Callable[[Random], float], Callable[[float], float]]] = {
    "exponential": (lambda rng: rng.expovariate(0.1), lambda age: math.exp(-age / 10)),
    "uniform": (lambda rng: rng.uniform(5, 35), lambda age: min(1, max(0, (35 - age) / 30))),
    "Pareto": (lambda rng: 3 * rng.paretovariate(1.5), lambda age: min(1, (3 / max(3, age)) ** 1.5)),
    "two peaks": (lambda rng: rng.gauss(*rng.choice([(2, 0.1), (30, 1)])), lambda age: 1 if age < 1.5 else age < 27),
}


@pytest.mark.parametrize(("law", "share"), LAWS.values(), ids=LAWS)
def test_a_law_is_found_from_answers_about_intervals(
    law: Callable[[Random], float], share: Callable[[float], float]
) -> None:
    durations, rng = Durations(), Random(1)
    feed(durations, lambda: law(rng), 1500, rng)
    assert durations.completed == 1500
    for age in (1.0, 4.0, 8.0, 15.0, 25.0):
        expected = 0.5 if share is LAWS["two peaks"][1] and age > 3 else share(age)
        assert durations.curve.share(age) == pytest.approx(expected, abs=0.05)


def test_waits_that_were_left_count_as_far_as_they_got() -> None:
    durations, rng = Durations(), Random(2)
    for _ in range(20):
        feed(durations, lambda: rng.expovariate(0.1), 50, rng)
        feed(durations, lambda: rng.expovariate(0.1), 50, rng, leave_at=6)
    for age in (3.0, 6.0, 12.0, 24.0):
        assert durations.curve.share(age) == pytest.approx(math.exp(-age / 10), abs=0.05)


def test_executions_that_never_end_are_seen_in_the_share_beyond() -> None:
    durations, rng = Durations(), Random(3)
    feed(durations, lambda: rng.uniform(4, 8) if rng.random() < 0.7 else math.inf, 2000, rng, leave_at=100)
    assert durations.curve.share(90.0) == pytest.approx(0.3, abs=0.05)
    assert durations.curve.share_beyond == pytest.approx(0.3, abs=0.05)
    assert durations.curve.known == pytest.approx(100, rel=0.3)


def test_a_sharp_law_is_known_to_its_end() -> None:
    durations, rng = Durations(), Random(15)
    feed(durations, lambda: rng.gauss(12, 0.2), 600, rng)
    assert durations.curve.share_beyond < 0.1
    assert durations.curve.known < 20


def test_an_end_is_shared_in_proportion_to_the_estimate() -> None:
    durations, rng = Durations(), Random(4)
    feed(durations, lambda: rng.uniform(9.5, 10.5), 400, rng)
    _, before = durations.counts()
    durations.add_end(5.0, 20.0)
    durations.update()
    _, after = durations.counts()
    fading = 1 - 1 / MEMORY
    gained = [new / fading - old for old, new in zip(before, after, strict=True)]
    assert sum(gained) == pytest.approx(1, abs=1e-6)
    assert sum(gained[place(8.0)[0] : place(12.5)[0] + 1]) > 0.9
    assert gained[place(10.0)[0]] > 10 * gained[place(6.0)[0]]


def test_an_end_where_none_was_expected_does_no_harm() -> None:
    durations, rng = Durations(), Random(5)
    feed(durations, lambda: rng.uniform(9.5, 10.5), 400, rng)
    for before, age in ((0.0, 1e-9), (1.0, 1.0 + 1e-12), (5000.0, 5000.0001), (80_000.0, 200_000.0)):
        durations.add_end(before, age)
        durations.update()
        passes, ends = durations.counts()
        assert all(0 <= count <= 600 for count in (*passes, *ends))
        assert durations.curve.share(8.0) > 0.9


def test_the_end_of_one_bin_alone_leaves_shares_above_zero() -> None:
    durations = Durations()
    for _ in range(100):
        for _ in range(5):
            durations.add_end(10.0, 10.01)
        durations.update()
    assert durations.curve.share(1000.0) > 0
    durations.add_pending(1000.0, 2000.0)
    durations.add_end(2000.0, 2000.0001)
    durations.update()
    assert 0 < durations.curve.share(3000.0) <= durations.curve.share(9.0) <= 1


def test_later_executions_count_for_more() -> None:
    durations, rng = Durations(), Random(6)
    feed(durations, lambda: rng.uniform(3, 5), 2000, rng)
    feed(durations, lambda: rng.uniform(15, 25), 250, rng)
    _, ends = durations.counts()
    border = place(10.0)[0]
    assert sum(ends[:border]) / sum(ends) == pytest.approx(math.exp(-250 / MEMORY), rel=0.03)
    assert durations.total == pytest.approx(MEMORY, rel=0.03)


def test_weights_fade_by_what_update_returns() -> None:
    durations = Durations()
    for _ in range(20):
        durations.add_end(1.0, 2.0)
    weight, total = durations.weight, durations.total
    assert weight == pytest.approx((1 - 1 / MEMORY) ** -20)
    fading = durations.update()
    assert fading == pytest.approx(1 / weight)
    assert (durations.weight, durations.completed_since) == (1, 0)
    assert durations.total == pytest.approx(total * fading)


def test_what_is_forgotten_keeps_the_weight_of_a_few_executions() -> None:
    durations, rng = Durations(), Random(7)
    feed(durations, lambda: rng.uniform(3, 5), 200, rng)
    durations.update(forget=True)
    assert durations.total == pytest.approx(MEMORY_AFTER_CHANGE)
    assert sum(durations.counts()[1]) == pytest.approx(MEMORY_AFTER_CHANGE, rel=0.05)
    assert durations.completed == 200


def test_there_is_nothing_to_forget_of_a_few_executions() -> None:
    durations = Durations()
    for _ in range(10):
        durations.add_end(1.0, 2.0)
    durations.update()
    total = durations.total
    durations.update(forget=True)
    assert durations.total == total


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("before", "after"), [(30.0, 5.0), (5.0, 30.0)])
def test_the_alarm_fires_soon_after_durations_have_changed(before: float, after: float, seed: int) -> None:
    durations, rng = Durations(), Random(seed)
    feed(durations, lambda: before * rng.uniform(0.9, 1.1), 300, rng)
    fired = feed(durations, lambda: after * rng.uniform(0.9, 1.1), 60, rng)
    assert fired is not None
    assert fired < 40
    durations.update(forget=True)
    assert not durations.have_changed()


@pytest.mark.parametrize("law", [law for law, _ in LAWS.values()], ids=LAWS)
def test_the_alarm_is_silent_while_durations_stay_as_they_are(law: Callable[[Random], float]) -> None:
    durations, rng = Durations(), Random(8)
    assert feed(durations, lambda: law(rng), 1500, rng) is None


def test_the_alarm_is_silent_before_much_is_known() -> None:
    durations, rng = Durations(), Random(9)
    feed(durations, lambda: rng.uniform(20, 30), 16, rng)
    assert feed(durations, lambda: rng.uniform(1, 2), 15, rng) is None


@pytest.mark.parametrize(("crowd", "fires"), [(1, True), (80, False), (200, False)])
def test_a_crowd_that_errs_together_raises_no_alarm(crowd: int, fires: bool) -> None:
    durations, rng = Durations(), Random(10)
    feed(durations, lambda: rng.uniform(9, 11), 400, rng)
    for _ in range(crowd):
        durations.begin()
    for _ in range(100):
        durations.add_end(4.0, 5.0)
    assert durations.have_changed() is fires


def test_a_crowd_that_has_left_is_forgotten_slowly() -> None:
    durations, rng = Durations(), Random(11)
    feed(durations, lambda: rng.uniform(9, 11), 400, rng)
    for _ in range(200):
        durations.begin()
    durations.add_pending(4.0, 10.0)
    for _ in range(300):
        durations.leave()
    for _ in range(40):
        durations.add_end(4.0, 5.0)
    assert not durations.have_changed()
    for _ in range(200):
        durations.begin()
        durations.leave()
    for _ in range(40):
        durations.add_end(4.0, 5.0)
    assert durations.have_changed()


def test_waits_that_leave_without_having_begun_hide_no_crowd() -> None:
    durations, rng = Durations(), Random(16)
    feed(durations, lambda: rng.uniform(9, 11), 400, rng)
    for _ in range(300):
        durations.leave()
    for _ in range(200):
        durations.begin()
    for _ in range(100):
        durations.add_end(4.0, 5.0)
    assert not durations.have_changed()


def test_answers_of_which_nothing_is_known_raise_no_alarm() -> None:
    durations, rng = Durations(), Random(12)
    feed(durations, lambda: rng.uniform(9, 11), 400, rng)
    for _ in range(200):
        durations.add_pending(5000.0, 6000.0)
        durations.add_pending(3.0, 3.0)
    assert not durations.have_changed()


def test_counts_and_from_saved_are_a_round_trip() -> None:
    durations, rng = Durations(), Random(13)
    feed(durations, lambda: rng.expovariate(0.1), 300, rng)
    saved = SavedGroup(durations.completed, durations.total, 1.0, *durations.counts())
    again = Durations.from_saved(saved)
    assert again.counts() == durations.counts()
    assert (again.completed, again.total, again.weight) == (300, durations.total, 1)
    assert again.curve.survival == durations.curve.survival
    assert again.curve.known == durations.curve.known
    for each in (durations, again):
        feed(each, lambda: 7.0, 40, Random(14))
    assert again.curve.survival == durations.curve.survival


def test_a_short_list_of_saved_counts_is_filled_up() -> None:
    durations = Durations.from_saved(SavedGroup(20, 20.0, 1.0, [20.0] * 10, [0.0] * 9 + [5.0]))
    assert [len(counts) for counts in durations.counts()] == [COUNT, COUNT]
    assert durations.curve.known == EDGES[17]
    assert durations.curve.share(EDGES[10]) == pytest.approx(math.exp(-0.25), abs=0.1)


def test_durations_of_more_than_a_day_are_in_the_last_bin() -> None:
    durations = Durations()
    for day in range(1, 30):
        durations.add_pending(0.0, day * 86_400.0)
        durations.add_end(day * 86_400.0, (day + 1) * 86_400.0)
    durations.update()
    assert durations.curve.share(40_000.0) > 0.5
    assert durations.curve.known == EDGES[COUNT - 1]
