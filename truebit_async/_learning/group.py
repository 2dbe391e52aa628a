"""One group of executions: what is known of their durations, and the plan that keeps to the budget."""

from __future__ import annotations

import math
from array import array
from itertools import pairwise
from typing import Literal, NamedTuple

import attrs

from truebit_async._default_wait import ProportionalWait
from truebit_async._learning.ages import EDGES, FIRST, LAST, place
from truebit_async._learning.curve import Curve
from truebit_async._learning.durations import MEMORY, Durations
from truebit_async._learning.gain import Ends, Gain
from truebit_async._learning.plan import Plan, best_plan, forecast
from truebit_async._learning.saved import SavedGroup

MIN_COMPLETED = 16  # executions; before that, the default wait decides

_MIN_BETWEEN_PLANS = 8  # executions
_PLANS_PER_MEMORY = 6  # a plan is made anew when a sixth of the remembered executions is new
_ANSWERS_PER_EXECUTION = 16  # so many answers without an end count as one execution that has ended

_PRICE_STEPS = 3  # for each plan
_NEAR_ENOUGH = 0.03  # of the budget
_MAX_PRICE_STEP = 2.5  # by how many times polls or delay may change in one step
_MIN_PRICE, _MAX_PRICE = 1e-6, 1e3  # seconds; the lowest one polls executions of a day every half second
_MIN_REQUESTS = 2.5  # per execution; two are needed at least, and with little more an end would be seen very late
_MIN_REPAY, _MAX_REPAY = 0.7, 1.4  # how far the plan may differ from the budget, to make up for earlier executions

_LATE_FIRST_POLL = 1.0  # seconds
_MOST = 4  # of five executions

_MANY_POLLS = 100  # after so many, the gap of the default depends on the age alone
_FEW = 0.1  # of the executions; if fewer run longer than is known, the budget is known well enough

_JITTER = 0.3  # of the smaller gap next to a poll: waits that started together drift apart, and intervals differ
_PROBES = 0.05  # of the polls are early at random: otherwise it would never show that all have become faster


class Dice(NamedTuple):
    """Three random numbers from 0 to 1."""

    spread: float
    probe: float
    earlier: float


@attrs.frozen
class Terms:
    """The budget and the limits of a `LearnedWait`.

    Attributes:
        effort: requests per execution, as a multiple of what full jitter would send.
        mean_delay: the mean delay to reach, in seconds; None keeps to the effort.
        min_interval: the shortest gap, in seconds.
        max_interval: the longest gap.
    """

    effort: float
    mean_delay: float | None
    min_interval: float
    max_interval: float


class Group:
    """What is known of one group.

    Args:
        terms: the budget and limits.
        default: decides where nothing is known.
        saved: what was learned before; None begins anew.

    Attributes:
        durations: what is known of the durations.
        plan: when to poll.
        price: how many seconds of delay a request is worth.
        ends: the ends that were seen, without those of a file.
    """

    def __init__(self, terms: Terms, default: ProportionalWait, saved: SavedGroup | None = None) -> None:
        self._terms = terms
        self._default = default
        self.durations: Durations = Durations() if saved is None else Durations.from_saved(saved)
        self.price: float = 1.0 if saved is None else _limited_price(saved.price)
        self._spent = 0.0  # requests of executions that have ended, later ones counting for more
        self._allowed = 0.0
        self._begun = 0  # waits
        self._age_at_start = 0.0  # the mean age when a wait begins, in seconds
        self._running_at_start = 0  # executions
        self._ended_at_start = 0
        self.plan: Plan = self._best_plan()
        self.ends: Ends = Ends()

    @property
    def is_known(self) -> bool:
        """Whether enough executions have ended to decide by."""
        return self.durations.completed >= MIN_COMPLETED

    def learn(
        self,
        what: Literal["pending", "finished", "left"],
        pending_age: float | None,
        age: float,
        polls: int,
        age_at_start: float = 0.0,
    ) -> bool:
        """Take in the answer to a poll, or the end of a wait. Return whether the plan has changed.

        Args:
            what: what the answer says, or how the wait ended.
            pending_age: the age at the last poll before it that found the execution running; None if there was none.
            age: the age now, in seconds.
            polls: the polls of this wait so far.
            age_at_start: the age when the wait began, in seconds.
        """
        if not math.isfinite(age - (pending_age or 0.0) - age_at_start):  # a clock went wrong
            return False
        age_at_start = min(max(0.0, age_at_start), LAST)
        durations = self.durations
        is_first = pending_age is None
        if is_first and polls == 1 and age_at_start == 0:
            pending_age = self._age_of_running(what, age)
        if what == "pending":
            if is_first:
                self._begin(age_at_start)
            if pending_age is not None and pending_age < age:
                durations.add_pending(pending_age, age)
        elif pending_age is not None:  # an execution that had ended before the first poll tells nothing
            if not is_first:
                durations.leave()
            reached = pending_age
            if what == "finished" and pending_age < age:
                durations.add_end(pending_age, age)
                self.ends.add(pending_age, age, polls)
                reached = (pending_age + age) / 2
            self._spent += polls * durations.weight
            waited = max(0.0, reached - age_at_start)
            self._allowed += self._terms.effort * full_jitter_requests(waited) * durations.weight
        return self._plan_again()

    def gap(self, age: float, dice: Dice) -> float | None:
        """Return the gap after a poll that found an execution running, in seconds; None if too little is known.

        Args:
            age: the age of the execution, in seconds.
            dice: random numbers.
        """
        plan = self.plan
        if not self.is_known or not 0 <= age < plan.curve.known:
            return None
        next_poll = plan.next_poll(age)
        gap = next_poll - age
        gap += (dice.spread - 0.5) * _JITTER * min(gap, plan.next_poll(next_poll) - next_poll)
        if dice.probe < _PROBES:
            gap *= dice.earlier
        return gap

    def forecast(self) -> tuple[float, float]:
        """Return the mean number of requests for an execution and the mean delay in seconds, as planned."""
        return forecast(self.durations.curve, self.plan.gap, self._age_at_start)

    def forecast_of_default(self) -> tuple[float, float]:
        """Return what `forecast` does, for the default."""
        return forecast(self.durations.curve, self._default.mean_gap, self._age_at_start)

    def gain(self) -> Gain:
        """Return what was gained against the default. There must be an end."""
        return self.ends.gain(self._default, self._age_at_start)

    def saved(self) -> SavedGroup:
        """Take in what was learned since the last plan, and return what a file keeps of the group."""
        self._update()
        durations = self.durations
        return SavedGroup(durations.completed, durations.total, self.price, *durations.counts())

    def _begin(self, age_at_start: float) -> None:
        self.durations.begin()
        self._begun += 1
        self._age_at_start += (age_at_start - self._age_at_start) / min(self._begun, MEMORY)

    def _age_of_running(self, what: str, age: float) -> float | None:
        """Return the age at which an execution was running before its first poll; None if that is not known.

        A cap may hold the first poll up. Then the execution is taken to have been running when the wait began, if most
        executions were, as first polls tell that were not held up.
        """
        if age > _LATE_FIRST_POLL:
            return 0.0 if self._running_at_start > _MOST * self._ended_at_start else None
        self._running_at_start += what == "pending"
        self._ended_at_start += what == "finished"
        return None

    def _plan_again(self) -> bool:
        durations = self.durations
        has_changed = durations.have_changed()
        remembered = durations.total / durations.weight  # executions
        enough = max(_MIN_BETWEEN_PLANS, remembered / _PLANS_PER_MEMORY)
        is_due = durations.completed_since >= enough or durations.answers_since >= _ANSWERS_PER_EXECUTION * enough
        if not (has_changed or is_due):
            return False
        self._update(forget=has_changed)
        return self.is_known

    def _update(self, *, forget: bool = False) -> None:
        fading = self.durations.update(forget=forget)
        self._spent, self._allowed = (0.0, 0.0) if forget else (self._spent * fading, self._allowed * fading)
        self.plan = self._best_plan()

    def _best_plan(self) -> Plan:
        """Return the best plan at a price with which it keeps to the budget."""
        terms, curve = self._terms, self.durations.curve
        for _ in range(_PRICE_STEPS):
            plan = self._plan_at(self.price)
            polls, delay = forecast(curve, plan.gap, self._age_at_start)
            # Polls are about in proportion to price ** -0.5, and the delay to price ** 0.5.
            error = polls / self._allowance(curve) if terms.mean_delay is None else terms.mean_delay / max(delay, 1e-9)
            if abs(error - 1) < _NEAR_ENOUGH:
                break
            step = min(max(error, 1 / _MAX_PRICE_STEP), _MAX_PRICE_STEP) ** 2
            self.price = _limited_price(self.price * step)
        # While most executions run longer than any did that has ended, the budget of their whole durations is unknown.
        # Until then, the price is the one at which the default is the best plan for executions that end at the rate
        # 1 / age. (The best gap is the square root of 2 · price / rate.)
        unknown = curve.share_beyond
        if unknown < _FEW:
            return plan
        gap = self._default.longest(_MANY_POLLS, curve.known)
        usual_price = gap * gap / (2 * max(curve.known, FIRST))
        return self._plan_at(_limited_price(self.price ** (1 - unknown) * usual_price**unknown))

    def _plan_at(self, price: float) -> Plan:
        terms, curve = self._terms, self.durations.curve
        return best_plan(curve, price, terms.min_interval, terms.max_interval, self._gap_of_default(curve.end))

    def _gap_of_default(self, age: float) -> float:
        gap = self._default.mean_gap(_MANY_POLLS, age)
        return min(max(gap, self._terms.min_interval), self._terms.max_interval)

    def _allowance(self, curve: Curve) -> float:
        """Return how many polls an execution may have on average."""
        survival, top, start = curve.survival, len(curve.survival) - 1, self._age_at_start
        first = min(place(start)[0], top)
        usual_of = _FULL_JITTER_REQUESTS
        if first:
            usual_of = array("d", [full_jitter_requests(max(0.0, age - start)) for age in EDGES[: top + 1]])
        usual = survival[top] * usual_of[top]
        usual += sum((survival[k] - survival[k + 1]) * usual_of[k] for k in range(first, top))
        usual /= survival[first]
        repay = min(max(self._allowed / self._spent, _MIN_REPAY), _MAX_REPAY) if self._spent else 1.0
        return max(_MIN_REQUESTS, repay * self._terms.effort * usual)


def _limited_price(price: float) -> float:
    return min(max(price, _MIN_PRICE), _MAX_PRICE)


def full_jitter_requests(age: float) -> float:
    """Return how many requests full jitter sends for an execution that runs for a time, on average.

    Full jitter is the unit of ``effort``. After poll n it sleeps for 0.5 s and a random part of min(9.5, 0.5 · 2ⁿ⁻¹) s.

    Args:
        age: how long the execution runs, in seconds.
    """
    longest = 5.25  # seconds, on average
    polled_at, gap, polls = 0.0, 0.75, 0
    while gap < longest and age > polled_at + gap:
        polled_at += gap
        polls += 1
        gap = min(longest, 0.5 + 0.25 * 2.0**polls)
    # The first poll, those above, those at the longest gap, and the last one, which comes some part of a gap too late.
    return 1.64 + polls + (age - polled_at) / gap


_FULL_JITTER_REQUESTS: array[float] = array(
    "d", [full_jitter_requests((begin + end) / 2) for begin, end in pairwise(EDGES)]
)
