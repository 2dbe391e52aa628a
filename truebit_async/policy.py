"""Every budget of a wait, under its own name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal, Self

import attrs
from tenacity import RetryCallState
from tenacity.wait import wait_base

from truebit_async._arguments import check_count, check_positive
from truebit_async._default_wait import ProportionalWait
from truebit_async.errors import ExecutionNotFoundError, TruebitError, UnknownStatusError

__all__ = ["PollPolicy", "WaitStrategy"]

WaitStrategy = wait_base | Callable[[RetryCallState], float]
"""What decides how long to sleep before the next poll, a tenacity wait strategy or a function like one."""


@attrs.frozen
class PollPolicy:
    """The budgets of a wait. None of them is called "timeout": each name says what it bounds.

    Attributes:
        wait: seconds to sleep before the next poll, decided by any tenacity wait strategy (``wait_fixed(2)``,
            ``wait_chain(...)``, sums of them) or a function of a `tenacity.RetryCallState`, which in a session is a
            `PollState`. The default, `ProportionalWait`, sees an end late by at most a fifth of how long the execution
            ran, or 2 s if it ran for less than 10 s, and never by more than 8 s; the time that requests take and the
            caps add to this. `LearnedWait` learns when to poll.
        deadline: seconds for the whole wait: sleeps, requests, bodies and retries. None waits for ever.
        request_timeout: seconds for one exchange, from connect to the last byte.
        max_consecutive_errors: how many transient failures in a row end the wait; any good answer resets the count.
        not_found_grace: seconds from the start of the wait in which a 404 still counts as "not there yet".
        unknown_status: what to do with a verificationStatus that the API does not document: ``"raise"`` an
            `UnknownStatusError` or ``"keep_waiting"`` until the deadline.

    Raises:
        TypeError: a budget is not a number, ``wait`` cannot be called or is a class, or its ``observe`` is no plain
            function.
        ValueError: a budget is negative, zero, infinite or NaN, or ``unknown_status`` is none of the two words.
    """

    wait: WaitStrategy = attrs.field(factory=ProportionalWait)
    deadline: float | None = 600.0
    request_timeout: float = 30.0
    max_consecutive_errors: int = 5
    not_found_grace: float = 0.0
    unknown_status: Literal["raise", "keep_waiting"] = "raise"

    def __attrs_post_init__(self) -> None:
        if isinstance(self.wait, type):
            msg = f"wait must be an instance: write {self.wait.__name__}()"
            raise TypeError(msg)
        if not callable(self.wait):
            type_name = type(self.wait).__name__
            msg = f"wait must be a tenacity wait strategy, such as wait_fixed(5), or a function, not {type_name}"
            raise TypeError(msg)
        observe = getattr(self.wait, "observe", None)
        if observe is not None and (not callable(observe) or inspect.iscoroutinefunction(observe)):
            msg = "observe of the wait strategy must be a plain function of an observation, not an async one"
            raise TypeError(msg)
        if self.deadline is not None:
            check_positive("deadline", self.deadline)
        check_positive("request_timeout", self.request_timeout)
        check_count("max_consecutive_errors", self.max_consecutive_errors)
        check_positive("not_found_grace", self.not_found_grace, zero_allowed=True)
        if self.unknown_status not in ("raise", "keep_waiting"):
            msg = f"unknown_status must be 'raise' or 'keep_waiting', not {self.unknown_status!r}"
            raise ValueError(msg)

    def tolerates(self, error: TruebitError, elapsed: float) -> bool:
        """Return whether a wait goes on after an error that is not transient.

        Args:
            error: the error.
            elapsed: seconds since the wait began.
        """
        if isinstance(error, ExecutionNotFoundError):
            return elapsed < self.not_found_grace
        return isinstance(error, UnknownStatusError) and self.unknown_status == "keep_waiting"

    def without_tolerance(self) -> Self:
        """Return these budgets for a request that wants an answer now: every error that is not transient ends it."""
        return attrs.evolve(self, not_found_grace=0.0, unknown_status="raise")


def check_policy(policy: PollPolicy) -> PollPolicy:
    """Return a policy that a user gave.

    Raises:
        TypeError: it is not a PollPolicy.
    """
    if not isinstance(policy, PollPolicy):
        msg = f"policy must be a PollPolicy, not {type(policy).__name__}"
        raise TypeError(msg)
    return policy
