from __future__ import annotations

import math
import pickle
from decimal import Decimal
from typing import Any

import pytest
from tenacity import RetryCallState, wait_fixed, wait_random

from truebit_async import PollPolicy
from truebit_async.strategies import LearnedWait, ProportionalWait


def test_defaults() -> None:
    policy = PollPolicy()
    assert policy.deadline == 600
    assert policy.request_timeout == 30
    assert policy.max_consecutive_errors == 5
    assert policy.not_found_grace == 0
    assert policy.unknown_status == "raise"


def test_the_default_wait() -> None:
    assert isinstance(PollPolicy().wait, ProportionalWait)


@pytest.mark.parametrize("wait", [wait_fixed(2), wait_fixed(3) + wait_random(0, 2), lambda _: 1.5])
def test_any_strategy_or_function_will_do(wait: Any) -> None:
    assert PollPolicy(wait=wait).wait is wait


@pytest.mark.parametrize("name", ["deadline", "request_timeout", "max_consecutive_errors", "not_found_grace"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, -math.inf, "5", True, Decimal(1), [], 0])
def test_budgets_that_cannot_be(name: str, value: Any) -> None:
    if name == "not_found_grace" and value == 0 and value is not False:
        assert PollPolicy(not_found_grace=value).not_found_grace == 0
        return
    with pytest.raises((ValueError, TypeError), match=name) as caught:
        PollPolicy(**{name: value})
    is_number = isinstance(value, int if name == "max_consecutive_errors" else int | float)
    assert type(caught.value) is (ValueError if is_number and value is not True else TypeError)


def test_none_is_a_deadline_only() -> None:
    assert PollPolicy(deadline=None).deadline is None
    with pytest.raises(TypeError, match="request_timeout"):
        PollPolicy(request_timeout=None)  # type: ignore[arg-type]


def test_a_wait_that_cannot_be_called() -> None:
    with pytest.raises(TypeError, match=r"such as wait_fixed\(5\), or a function, not float"):
        PollPolicy(wait=2.0)  # type: ignore[arg-type]


def test_an_unknown_word_for_unknown_status() -> None:
    with pytest.raises(ValueError, match="unknown_status must be 'raise' or 'keep_waiting', not 'ignore'"):
        PollPolicy(unknown_status="ignore")  # type: ignore[arg-type]


def test_policies_compare_and_pickle() -> None:
    wait = wait_fixed(2)
    assert PollPolicy(wait=wait) == PollPolicy(wait=wait)
    assert pickle.loads(pickle.dumps(PollPolicy(deadline=7))).deadline == 7  # noqa: S301


def test_a_strategy_that_is_a_class() -> None:
    with pytest.raises(TypeError, match=r"^wait must be an instance: write LearnedWait\(\)$"):
        PollPolicy(wait=LearnedWait)  # type: ignore[arg-type]


async def observe(_: object) -> None: ...


@pytest.mark.parametrize("value", [True, observe])
def test_an_observe_that_cannot_be_called(value: Any) -> None:
    class Strategy:
        observe = value

        def __call__(self, _: RetryCallState) -> float:
            return 1.0

    with pytest.raises(TypeError, match="observe of the wait strategy must be a plain function"):
        PollPolicy(wait=Strategy())
