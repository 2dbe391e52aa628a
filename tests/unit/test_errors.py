from __future__ import annotations

import copy
import inspect
import pickle

import pytest

from truebit_async import CheckpointError, Execution, VerificationStatus, errors

RUNNING = Execution("id", VerificationStatus.RUNNING)

EXAMPLES: list[errors.TruebitError] = [
    errors.TruebitError("id"),
    errors.InvalidExecutionIdError("", "it is empty"),
    errors.ApiError("id", 418, "teapot", None, "request-1"),
    errors.BadRequestError("id", 400),
    errors.AuthenticationError("id", 403, "no"),
    errors.PaymentRequiredError("id", 402),
    errors.ExecutionNotFoundError("id", 404, "not found"),
    errors.RateLimitedError("id", 429, None, 1.5),
    errors.ServerError("id", 503, "down", 7.0, "request-2"),
    errors.UnexpectedResponseError("id", 204, "no content", ""),
    errors.DecodeError("id", 200, "it is not JSON", "<html>"),
    errors.UnknownStatusError("id", 200, "verificationStatus is 'Paused'", "{}", "Paused"),
    errors.ExecutionIdMismatchError("id", 200, "it is about execution 'other'", "{}", "other"),
    errors.ResponseTooLargeError("id", 200, "larger than 10 bytes", "aaa", 10),
    errors.RedirectError("id", 302, "it redirects", "", "https://elsewhere.example"),
    errors.TransportError("id", "ConnectionResetError"),
    errors.RequestTimeoutError("id", "timed out", 30.0),
    errors.VerificationTimeoutError("id", 600.0, RUNNING, errors.ServerError("id", 500), 7, 600.01),
    errors.VerificationFailedError("id", RUNNING, "is so"),
    errors.StillRunningError("id", RUNNING, "is so"),
    errors.IndeterminateError("id", RUNNING, "is so"),
    errors.ExecutionFailedError("id", RUNNING, "is so"),
    errors.SubmissionUncertainError("id", "ConnectionResetError", may_have_run=True),
    errors.MissingApiKeyError("id"),
    errors.SubmissionLimitError("id"),
    errors.SessionClosedError("id"),
    CheckpointError("id", "results.jsonl", "No space left on device"),
]


def attributes(error: errors.TruebitError) -> dict[str, object]:
    return {
        name: repr(value) if isinstance(value, Exception) else value
        for name, value in inspect.getmembers(error)
        if not name.startswith("__") and not callable(value)
    }


def test_there_is_an_example_of_every_class() -> None:
    public = {getattr(errors, name) for name in errors.__all__} | {CheckpointError}
    assert {type(error) for error in EXAMPLES} == public


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_pickle_and_copy_with_all_they_hold(error: errors.TruebitError) -> None:
    error.add_note("seen on the way")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):  # noqa: S301
        assert type(twin) is type(error)
        assert str(twin) == str(error)
        assert repr(twin) == repr(error)
        assert {**attributes(twin), "args": ()} == {**attributes(error), "args": ()}
        assert twin.__notes__ == ["seen on the way"] * len(twin.__notes__)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_errors_name_what_they_are_about(error: errors.TruebitError) -> None:
    about = error.path if isinstance(error, CheckpointError) else repr(error.execution_id)
    assert about in str(error)


def test_the_builtin_classes_that_callers_catch() -> None:
    assert issubclass(errors.InvalidExecutionIdError, ValueError)
    assert issubclass(errors.RequestTimeoutError, TimeoutError)
    assert issubclass(errors.VerificationTimeoutError, TimeoutError)
    assert not issubclass(errors.VerificationTimeoutError, errors.TransportError)


def test_what_is_transient() -> None:
    transient = {type(error).__name__ for error in EXAMPLES if error.is_transient}
    assert transient == {"RateLimitedError", "ServerError", "TransportError", "RequestTimeoutError"}
    assert errors.ApiError("id", 408).is_transient


def test_texts_say_what_to_do() -> None:
    text = {type(error).__name__: str(error) for error in EXAMPLES}
    assert text["InvalidExecutionIdError"] == (
        "'' is not an execution ID: it is empty. Pass the executionId that submit() or the API's execute call returned."
    )
    assert text["ServerError"] == (
        "execution 'id': the dispatcher answered 503 ('down'), retry after 7 s. The server may recover: try later, "
        "or allow more PollPolicy(max_consecutive_errors=...). Request ID: 'request-2'."
    )
    assert text["DecodeError"] == (
        "execution 'id': unexpected response with status 200: it is not JSON. "
        "Is the base URL that of a dispatcher? If so, report this to truebit_async. "
        "The body begins '<html>'."
    )
    assert (
        "polls: 7, last seen Running, last failure: execution 'id': the dispatcher answered 500"
        in (text["VerificationTimeoutError"])
    )


def test_a_timeout_without_any_answer_says_so() -> None:
    error = errors.VerificationTimeoutError("id", 2.5, None, None, 1, 2.5)
    assert "deadline of 2.5 s (polls: 1, its status was never seen)" in str(error)


def test_what_a_server_said_cannot_drive_a_terminal() -> None:
    evil = "\x1b[2J\r\n"
    for error in (
        errors.ServerError(evil, 500, evil, None, evil),
        errors.DecodeError("id", 200, "bad", evil),
        errors.ExecutionNotFoundError(evil, 404, evil),
    ):
        assert "\x1b" not in str(error)
        assert "\n" not in str(error)


def test_a_closed_session_may_concern_no_execution() -> None:
    assert str(errors.SessionClosedError(None)).startswith("request: the session is closed. Open a new")
