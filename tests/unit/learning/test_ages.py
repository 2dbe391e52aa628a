from __future__ import annotations

import math
from bisect import bisect_right
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async._learning.ages import COUNT, EDGES, LAST, RATIO, Intervals, place, zeros


def test_bins_reach_from_zero_to_a_day_or_more() -> None:
    assert len(EDGES) == COUNT + 1
    assert (EDGES[0], EDGES[1]) == (0, 0.25)
    assert LAST <= EDGES[-1] < LAST * RATIO**2
    assert all(EDGES[number + 1] / EDGES[number] == pytest.approx(1.06) for number in range(1, COUNT))


@given(st.floats(0, EDGES[-1]))
def test_an_age_is_in_its_bin(age: float) -> None:
    number, part = place(age)
    assert 0 <= number < COUNT
    assert 0 <= part <= 1
    assert EDGES[number] + part * (EDGES[number + 1] - EDGES[number]) == pytest.approx(age)


def test_both_sides_of_an_edge_are_in_their_bins_or_at_the_ends_of_them() -> None:
    for age in [*EDGES, *(math.nextafter(edge, 0) for edge in EDGES[1:])]:
        number, part = place(age)
        expected = min(COUNT - 1, bisect_right(EDGES, age) - 1)
        part_of_expected = (age - EDGES[expected]) / (EDGES[expected + 1] - EDGES[expected])
        assert number + part == pytest.approx(expected + part_of_expected)


@pytest.mark.parametrize("age", [EDGES[-1], 10 * LAST, 1e300, math.inf])
def test_higher_ages_are_at_the_end_of_the_last_bin(age: float) -> None:
    assert place(age) == (COUNT - 1, 1.0)


@pytest.mark.parametrize("age", [-0.0, -1.0, -1e300, -math.inf, math.nan])
def test_what_is_no_age_counts_as_zero(age: float) -> None:
    assert place(age) == (0, 0.0)


@given(st.lists(st.tuples(st.floats(0, 2 * LAST), st.floats(0, 2 * LAST), st.floats(0, 10)), max_size=5))
def test_intervals_are_summed_by_how_much_of_each_bin_they_cover(added: list[tuple[float, float, float]]) -> None:
    intervals, expected = Intervals(), zeros()
    for one, other, amount in added:
        begin, end = min(one, other), max(one, other)
        intervals.add(place(begin), place(end), amount)
        for number in range(COUNT):
            covered = min(end, EDGES[number + 1]) - max(begin, EDGES[number])
            expected[number] += amount * max(0.0, covered) / (EDGES[number + 1] - EDGES[number])
    assert intervals.sums() == pytest.approx(list(expected), abs=1e-9)


def test_an_interval_within_one_bin_counts_there_alone() -> None:
    intervals = Intervals()
    intervals.add((7, 0.25), (7, 0.75), 4.0)
    sums = intervals.sums()
    assert sums[7] == pytest.approx(2.0)
    assert sum(map(abs, sums)) == pytest.approx(2.0)


def test_many_intervals_leave_nothing_outside() -> None:
    intervals, rng = Intervals(), Random(1)
    for _ in range(10_000):
        begin = rng.uniform(100, 150)
        intervals.add(place(begin), place(begin + rng.uniform(0, 50)), rng.random())
    sums = intervals.sums()
    assert len(sums) == COUNT
    assert min(sums) == 0
    assert max(sums[: place(100.0)[0]]) == 0
    assert max(sums[place(200.0)[0] + 1 :]) < 1e-9
