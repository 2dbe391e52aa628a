"""How many requests the executions that were seen to end took, and how late; and the same with the default wait.

A poll does not tell when an execution has ended, only that it was between two polls. So the delays are estimated: from
a sample of such intervals of ages, the distribution of the ends that explains them best (Turnbull, 1976). It says where
within its interval an end is to be expected. It is made only when somebody asks. It is not the curve by which polls are
planned: that one is smooth so that it predicts well, and too smooth to say where within one gap executions
end that take nearly the same time.
"""

from __future__ import annotations

import random
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate, pairwise

import attrs

from truebit_async._default_wait import ProportionalWait

_SAMPLE = 256  # executions; their mean delay is within 5 % or so of the mean delay of all
_SHORTEST = 1e-3  # seconds; intervals in the sample are at least as long
_MOST_POLLS = 0xFFFF  # of an execution in the sample
_ROUNDS = 30  # of the estimate; with more of them, it would follow chance
_WALKS = 64  # of the default through the ages, each with other jitter
_MAX_POLLS = 5000  # of these walks together; long executions need few, since jitter adds up


@attrs.frozen
class Gain:
    """What a `LearnedWait` has gained against the default wait, for the executions that it has seen to end.

    Executions that had ended before their first poll do not count.

    Attributes:
        completed: how many executions these are.
        mean_requests: the mean number of requests for one of them.
        mean_delay: the mean time from the end of an execution to the poll that found it, in seconds. It is an estimate,
            since no poll tells when an execution has ended.
        default_requests: the mean number of requests that the default wait would have sent for them, estimated.
        default_delay: their mean delay with the default wait, in seconds, estimated.
    """

    completed: int
    mean_requests: float
    mean_delay: float
    default_requests: float
    default_delay: float


class Ends:
    """The ends of executions that were seen.

    Attributes:
        count: how many.
        polls: how many polls these executions took together.
    """

    def __init__(self) -> None:
        self.count: int = 0
        self.polls: int = 0
        # The sample, in 10 bytes for each interval: a `LearnedWait` may have many groups.
        self._begins = array("f")  # ages
        self._lengths = array("f")
        self._sample_polls = array("H")

    def add(self, before: float, age: float, polls: int) -> None:
        """Add an end.

        Args:
            before: the age at which the execution was running, in seconds.
            age: the higher age at which it had ended.
            polls: its polls.
        """
        self.count += 1
        self.polls += polls
        length = max(age - before, _SHORTEST)
        polls = min(polls, _MOST_POLLS)
        if self.count <= _SAMPLE:
            self._begins.append(before)
            self._lengths.append(length)
            self._sample_polls.append(polls)
            return
        place = int(self.count * random.random())  # noqa: S311  # each end has the same chance to be in the sample
        if place < _SAMPLE:
            self._begins[place], self._lengths[place], self._sample_polls[place] = before, length, polls

    def gain(self, default: ProportionalWait, start: float = 0.0) -> Gain:
        """Return what was gained, if waits began at some age. It takes some milliseconds. There must be an end.

        Args:
            default: the default wait, which it is compared with.
            start: the age at which waits began, in seconds.
        """
        ends = [begin + length for begin, length in zip(self._begins, self._lengths, strict=True)]
        ages, shares = _distribution(self._begins, ends)
        mean_end = sum(share * (begin + end) / 2 for share, (begin, end) in zip(shares, pairwise(ages), strict=True))
        default_requests, default_delay = _cost(default, ages, shares, start)
        mean_requests, sample_size = self.polls / self.count, len(ends)
        # If the sample has taken more requests than all have on average, it would have done so with the default.
        default_requests *= mean_requests / (sum(self._sample_polls) / sample_size)
        mean_delay = max(0.0, sum(ends) / sample_size - mean_end)
        return Gain(self.count, mean_requests, mean_delay, default_requests, default_delay)


def mean_gain(gains: Sequence[Gain]) -> Gain:
    """Return the gain of several groups together. There must be one."""
    total = sum(gain.completed for gain in gains)

    def mean(name: str) -> float:
        return float(sum(getattr(gain, name) * gain.completed for gain in gains)) / total

    names = ("mean_requests", "mean_delay", "default_requests", "default_delay")
    return Gain(total, *map(mean, names))


def _distribution(begins: Sequence[float], ends: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return ages, and which share of the executions has ended between each of them and the next one."""
    ages = sorted({*begins, *ends})
    number_of = {age: number for number, age in enumerate(ages)}
    intervals = [(number_of[begin], number_of[end]) for begin, end in zip(begins, ends, strict=True)]
    shares = [(end - begin) / (ages[-1] - ages[0]) for begin, end in pairwise(ages)]
    for _ in range(_ROUNDS):
        ended = [0.0, *accumulate(shares)]
        changes = [0.0] * len(ages)
        for begin, end in intervals:
            weight = 1 / (ended[end] - ended[begin])
            changes[begin] += weight
            changes[end] -= weight
        factors = accumulate(changes[:-1])
        shares = [share * factor / len(intervals) for share, factor in zip(shares, factors, strict=True)]
    return ages, shares


def _cost(default: ProportionalWait, ages: list[float], shares: list[float], start: float) -> tuple[float, float]:
    """Return the mean number of requests and the mean delay with the default wait, from an age on."""
    ended = [0.0, *accumulate(shares)]
    moments = [share * (begin + end) / 2 for share, (begin, end) in zip(shares, pairwise(ages), strict=True)]
    sum_of_ends = [0.0, *accumulate(moments)]

    def until(age: float) -> tuple[float, float]:
        """Return the share that has ended by an age, and the sum of the ages at which it has."""
        number = bisect_left(ages, age)
        if number == 0:
            return 0.0, 0.0
        if number == len(ages):
            return ended[-1], sum_of_ends[-1]
        begin = ages[number - 1]
        share = shares[number - 1] * (age - begin) / (ages[number] - begin)
        return ended[number - 1] + share, sum_of_ends[number - 1] + share * (begin + age) / 2

    jitter = random.Random(0)  # noqa: S311  # the same ends give the same answer
    requests = delay = 0.0
    walks = polls_of_all = 0
    while walks < _WALKS and (polls_of_all < _MAX_POLLS or not walks):
        age, polls, before = start, 1, until(start)
        while age < ages[-1]:
            age += default.longest(polls, age) * (1 - default.jitter * jitter.random())
            polls += 1
            now = until(age)
            requests += polls * (now[0] - before[0])
            delay += age * (now[0] - before[0]) - (now[1] - before[1])
            before = now
        walks += 1
        polls_of_all += polls
    return requests / walks, delay / walks
