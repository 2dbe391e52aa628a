from __future__ import annotations

import attrs
import pytest

from truebit_async import (
    ClearTextSolution,
    Execution,
    ExecutionFailedError,
    ExecutionStatus,
    IndeterminateError,
    Outcome,
    ServerError,
    StillRunningError,
    VerificationFailedError,
    VerificationStatus,
)

GOOD = ClearTextSolution("42", ExecutionStatus.SUCCEED)


def execution(status: VerificationStatus, solution: ClearTextSolution | None = None) -> Execution:
    return Execution("id", status, solution)


def test_a_verified_success_has_an_output() -> None:
    verified = execution(VerificationStatus.SUCCESS, GOOD)
    assert verified.is_verified
    assert verified.succeeded
    assert not verified.is_running
    assert verified.output == "42"
    assert verified.raise_for_verification() is verified


@pytest.mark.parametrize(
    ("status", "solution", "error", "message"),
    [
        (VerificationStatus.RUNNING, None, StillRunningError, "is still running"),
        (VerificationStatus.RUNNING, GOOD, StillRunningError, "is still running"),
        (VerificationStatus.INDETERMINATE, GOOD, IndeterminateError, "is indeterminate"),
        (VerificationStatus.ERROR, GOOD, ExecutionFailedError, "ended with an error"),
        (VerificationStatus.SUCCESS, None, ExecutionFailedError, "no solution"),
        (VerificationStatus.SUCCESS, ClearTextSolution(), ExecutionFailedError, "agree that it failed"),
        (
            VerificationStatus.SUCCESS,
            ClearTextSolution("boom" * 100, ExecutionStatus.FAILED),
            ExecutionFailedError,
            r"agree that it failed \(output 'boom.*…\)",
        ),
        (VerificationStatus.SUCCESS, ClearTextSolution("", ExecutionStatus.SUCCEED), ExecutionFailedError, "failed"),
        (VerificationStatus.SUCCESS, ClearTextSolution(None, ExecutionStatus.SUCCEED), ExecutionFailedError, "failed"),
        (VerificationStatus.SUCCESS, ClearTextSolution("42", None), ExecutionFailedError, "failed"),
    ],
)
def test_anything_else_has_none_and_says_why(
    status: VerificationStatus,
    solution: ClearTextSolution | None,
    error: type[VerificationFailedError],
    message: str,
) -> None:
    unverified = execution(status, solution)
    assert not unverified.succeeded
    with pytest.raises(error, match=message) as caught:
        _ = unverified.output
    assert caught.value.execution is unverified
    assert "'id'" in str(caught.value)
    with pytest.raises(error):
        unverified.raise_for_verification()


def test_only_running_is_not_final() -> None:
    assert [status for status in VerificationStatus if execution(status).is_running] == [VerificationStatus.RUNNING]


def test_models_cannot_be_changed() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        execution(VerificationStatus.RUNNING).execution_id = "other"  # type: ignore[misc]


def test_an_outcome_unwraps_to_its_execution_or_its_error() -> None:
    verified, error = execution(VerificationStatus.SUCCESS, GOOD), ServerError("id", 500)
    assert Outcome("id", verified, None, 3, 1.5).unwrap() is verified
    with pytest.raises(ServerError) as caught:
        Outcome("id", None, error, 3, 1.5).unwrap()
    assert caught.value is error


@pytest.mark.parametrize("both", [True, False])
def test_an_outcome_has_one_of_the_two(both: bool) -> None:
    verified, error = execution(VerificationStatus.SUCCESS, GOOD), ServerError("id", 500)
    with pytest.raises(ValueError, match="'id' needs either an execution or an error"):
        Outcome("id", verified if both else None, error if both else None, 1, 1.0)
