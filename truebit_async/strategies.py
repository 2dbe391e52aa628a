"""When to poll next: what `PollPolicy.wait` may be, besides the strategies of tenacity.

`ProportionalWait` is the default. `LearnedWait` learns from each execution how long executions take, and polls when an
end is likely. A strategy of your own is any function of a `tenacity.RetryCallState`. If it has a method ``observe``, a
session tells it what polls find and how waits end: see `Observation`.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from typing import Never

import attrs
from tenacity import RetryCallState
from tenacity.wait import wait_base

from truebit_async._arguments import check_positive
from truebit_async._default_wait import ProportionalWait
from truebit_async._learning import saved
from truebit_async._learning.gain import Gain, mean_gain
from truebit_async._learning.group import MIN_COMPLETED, Dice, Group, Terms
from truebit_async._strategy_protocol import Observation, PollState

__all__ = ["Gain", "LearnedDurations", "LearnedWait", "Observation", "PollState", "ProportionalWait"]

_logger = logging.getLogger("truebit_async")

_QUANTILES = (0.1, 0.5, 0.9, 0.99)
_MISUSE = "use it as PollPolicy(wait=LearnedWait()): in a sum or a chain it would not hear of polls"
_BITS = 20  # of a random number; a hash has enough for three
_MASK = (1 << _BITS) - 1
_UNIT = 1 / (1 << _BITS)


@attrs.frozen
class LearnedDurations:
    """What a `LearnedWait` has learned of one group of executions, and what it plans for them.

    Attributes:
        kind: the kind of task, such as ``"function"``.
        key: what the function ``key`` returned for these executions; an empty text if there is none.
        completed: how many executions were seen running and then seen to have ended.
        quantiles: the age in seconds by which a part of the executions has ended, for the parts 0.1, 0.5, 0.9 and
            0.99; None where that is not known.
        expected_requests: the mean number of requests for an execution, as planned now.
        expected_delay: the mean time from the end of an execution to the poll that finds it, in seconds, likewise.
        default_requests: the mean number of requests that the default wait would send for these executions.
        default_delay: their mean delay with the default wait, in seconds.
    """

    kind: str
    key: str
    completed: int
    quantiles: dict[float, float | None]
    expected_requests: float
    expected_delay: float
    default_requests: float
    default_delay: float


class LearnedWait(wait_base):
    """Learns how long executions take, and polls when an end is likely.

    Use it as ``PollPolicy(wait=LearnedWait())``, in one session or in several. Sessions tell it of polls and ends by
    themselves. In three cases it sleeps as the default, `ProportionalWait`, would: until it has seen 16 executions of
    a group end, at ages of which it knows nothing, and after a failure.

    Executions of different kinds are different groups, and so are those for which ``key`` returns different texts. An
    instance keeps 1,000 groups, of less than 20 kB each. Beyond that, it drops the one that has been unused for
    longest. When durations change, it forgets most of what it has learned of the group.

    An instance must not be used in several threads at a time. So it belongs to one event loop, or to several loops one
    after the other.

    Args:
        effort: how many requests to send for an execution on average, as a multiple of those that full jitter would
            send (gaps of a random time from 0.5 s to a bound that grows from 1 s to 10 s), but 2.5 requests at least.
            None is 1.0, unless ``mean_delay`` is given.
        mean_delay: the mean time from the end of an execution to the poll that finds it, in seconds. It takes the
            place of ``effort``: as many requests are sent as this needs. None keeps to the effort.
        key: a function that returns a text of at most 200 characters for an execution ID, the same one for executions
            that take about the same time. It is called often, so it must be quick. Executions for which it fails are
            in the group with the key ``""``. None puts all executions of a kind into that group.
        min_interval: the shortest gap between two polls, in seconds.
        max_interval: the longest gap between two polls, in seconds.

    Raises:
        TypeError: an argument has the wrong type.
        ValueError: an argument is negative, zero, infinite or NaN; both ``effort`` and ``mean_delay`` were given; or
            ``min_interval`` is above ``max_interval``.
    """

    def __init__(
        self,
        effort: float | None = None,
        *,
        mean_delay: float | None = None,
        key: Callable[[str], str] | None = None,
        min_interval: float = 0.5,
        max_interval: float = 60.0,
    ) -> None:
        if effort is not None and mean_delay is not None:
            msg = "give effort or mean_delay, not both: each of them decides how often to poll"
            raise ValueError(msg)
        effort = 1.0 if effort is None else effort
        check_positive("effort", effort)
        if mean_delay is not None:
            check_positive("mean_delay", mean_delay)
        if key is not None and not callable(key):
            msg = f"key must be a function of an execution ID, not {type(key).__name__}"
            raise TypeError(msg)
        check_positive("min_interval", min_interval)
        check_positive("max_interval", max_interval)
        if min_interval > max_interval:
            msg = f"min_interval must be at most max_interval, not {min_interval} and {max_interval}"
            raise ValueError(msg)
        self._terms = Terms(effort, mean_delay, min_interval, max_interval)
        self._key = key
        self._default = ProportionalWait()
        self._key_has_failed = False
        self._groups: dict[tuple[str, str], Group] = {}  # the one that was used last comes last

    def __call__(self, retry_state: RetryCallState) -> float:
        """Return the seconds to sleep after a poll.

        Args:
            retry_state: a `PollState`, as a session passes it.

        Raises:
            TypeError: the caller is no session, or the instance is a part of a sum or of a chain, so that the session
                does not tell it of polls and ends.
        """
        if not isinstance(retry_state, PollState) or not hasattr(retry_state.wait_strategy, "observe"):
            raise TypeError(_MISUSE)
        gap = None
        if retry_state.is_pending:
            execution_id: str = retry_state.args[0]
            group = self._group(retry_state.kind, execution_id)
            gap = group.gap(retry_state.execution_age, _dice(execution_id, retry_state.seen_at))
        if gap is None:
            gap = self._default(retry_state)
        return min(max(gap, self._terms.min_interval), self._terms.max_interval)

    def __add__(self, other: object) -> Never:
        """Refuse to be part of a sum: it would not hear of polls."""
        raise TypeError(_MISUSE)

    def __radd__(self, other: object) -> Never:
        """Refuse to be part of a sum, as `__add__` does."""
        raise TypeError(_MISUSE)

    def observe(self, observation: Observation) -> bool:
        """Learn from a poll, or from the end of a wait. Sessions call this.

        Args:
            observation: what happened.

        Returns:
            Whether there is a new plan, so that the session asks again how long sleeping waits should sleep.

        Raises:
            Exception: whatever ``key`` raised, or a TypeError or ValueError for what it returned.
        """
        execution_id, kind, age, pending_age, polls, what, age_at_start = observation
        return self._group(kind, execution_id).learn(what, pending_age, age, polls, age_at_start)

    def expected_delay(self, execution_id: str, kind: str, pending_age: float | None, age: float) -> float:
        """Return how long ago an execution ended, on average. Sessions call this to choose which one to poll first.

        Args:
            execution_id: the execution.
            kind: the kind of task, such as ``"function"``.
            pending_age: its age in seconds at the last poll that found it running; None if there was none.
            age: its age now, in seconds.

        Returns:
            Seconds, counting 0 for the case that it still runs. While nothing is known, executions are taken to end at
            the rate 1 / age.

        Raises:
            Exception: whatever ``key`` raised, or a TypeError or ValueError for what it returned.
        """
        return self._group(kind, execution_id).plan.curve.expected_delay(pending_age or 0.0, age)

    def describe(self) -> tuple[LearnedDurations, ...]:
        """Return what was learned of each group of executions, and what is planned, for people and for metrics.

        Returns:
            One description for each group of which 16 executions or more have ended, in the order of ``kind`` and
            ``key``.
        """
        return tuple(self._description(*name, group) for name, group in sorted(self._groups.items()) if group.is_known)

    def gain(self) -> Gain | None:
        """Return what it has gained against the default wait, for the executions that this instance has seen to end.

        What `load` has read does not count. It takes some milliseconds for each group.

        Returns:
            The gain; None before 16 executions have ended.
        """
        gains = [group.gain() for group in self._groups.values() if group.ends.count]
        if sum(gain.completed for gain in gains) < MIN_COMPLETED:
            return None
        return mean_gain(gains)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what was learned to a file, as JSON. The file takes the place of an older one in one step.

        The file holds neither execution IDs nor times of day, but it holds the texts that ``key`` has returned. Only
        its owner can read it. Writing blocks the event loop.

        Args:
            path: the file. `load` reads it.

        Raises:
            OSError: the file cannot be written.
        """
        saved.save(path, {name: group.saved() for name, group in self._groups.items()})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Replace what was learned by what a file holds. Effort, delay, intervals and ``key`` stay as they are.

        Args:
            path: a file that `save` has written.

        Raises:
            OSError: the file cannot be read, or is not there; nothing was replaced.
            ValueError: the file is broken, or from a version of this package that writes other files; nothing was
                replaced.
        """
        groups = saved.load(path)
        self._groups = {name: Group(self._terms, self._default, group) for name, group in groups.items()}

    def _group(self, kind: str, execution_id: str) -> Group:
        name = (kind, "" if self._key is None else self._key_of(self._key, execution_id))
        group = self._groups.get(name)
        if group is None:
            if len(self._groups) >= saved.MAX_GROUPS:
                del self._groups[next(iter(self._groups))]
            group = self._groups[name] = Group(self._terms, self._default)
        elif self._key is not None:
            self._groups[name] = self._groups.pop(name)  # to the end
        return group

    def _key_of(self, key: Callable[[str], str], execution_id: str) -> str:
        try:
            return _checked_key(key(execution_id))
        except Exception:  # no execution shall suffer from it, and least of all the others
            if not self._key_has_failed:
                self._key_has_failed = True
                with contextlib.suppress(Exception):  # a filter of the log may raise as well
                    _logger.exception(
                        "the function key of a LearnedWait failed for execution %r; such executions are in the group "
                        'with the key ""; this is logged once',
                        execution_id,
                    )
            return ""

    def _description(self, kind: str, key: str, group: Group) -> LearnedDurations:
        curve = group.durations.curve
        quantiles = {share: curve.quantile(share) for share in _QUANTILES}
        return LearnedDurations(
            kind, key, group.durations.completed, quantiles, *group.forecast(), *group.forecast_of_default()
        )


def _checked_key(key: object) -> str:
    """Return what the function ``key`` returned.

    Raises:
        TypeError: it is not a str.
        ValueError: it is too long.
    """
    if not isinstance(key, str):
        msg = f"the function key of LearnedWait must return a str, not {type(key).__name__}"
        raise TypeError(msg)
    if len(key) > saved.MAX_KEY_LENGTH:
        msg = f"the function key of LearnedWait must return at most {saved.MAX_KEY_LENGTH} characters, not {len(key)}"
        raise ValueError(msg)
    return key


def _dice(execution_id: str, seen_at: float) -> Dice:
    """Return random numbers that are the same for all waits that share a result, and when it is decided on again."""
    number = hash(f"{seen_at} {execution_id}")  # that of a tuple with a time would not be uniform
    return Dice((number & _MASK) * _UNIT, (number >> _BITS & _MASK) * _UNIT, (number >> 2 * _BITS & _MASK) * _UNIT)
