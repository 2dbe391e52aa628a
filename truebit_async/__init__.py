"""Asyncio SDK for Truebit Verify: wait for the verified result of an execution, or of a million.

async with TruebitSession() as session:
    execution = await session.wait_for_verification(execution_id)
print(execution.output)
"""

import importlib

from truebit_async._version import __version__

TYPE_CHECKING = False  # `typing` is slow to import
if TYPE_CHECKING:
    from truebit_async._checkpoint_errors import CheckpointError
    from truebit_async.errors import (
        ApiError,
        AuthenticationError,
        BadRequestError,
        DecodeError,
        ExecutionFailedError,
        ExecutionIdMismatchError,
        ExecutionNotFoundError,
        IndeterminateError,
        InvalidExecutionIdError,
        MissingApiKeyError,
        PaymentRequiredError,
        RateLimitedError,
        RedirectError,
        RequestTimeoutError,
        ResponseTooLargeError,
        ServerError,
        SessionClosedError,
        StillRunningError,
        SubmissionLimitError,
        SubmissionUncertainError,
        TransportError,
        TruebitError,
        UnexpectedResponseError,
        UnknownStatusError,
        VerificationFailedError,
        VerificationTimeoutError,
    )
    from truebit_async.events import (
        BackedOff,
        Dropped,
        Finished,
        Left,
        Listener,
        Paused,
        Polled,
        PollEvent,
        Requested,
        Started,
        Submitted,
    )
    from truebit_async.models import (
        AnyExecution,
        ApiExecution,
        ApiSolution,
        ApiStatus,
        ApiTask,
        ClearTextSolution,
        Execution,
        ExecutionStatus,
        FunctionTask,
        Invoice,
        LineItem,
        Outcome,
        Signature,
        Transcript,
        TranscriptMessage,
        TransferredBytes,
        VerificationStatus,
    )
    from truebit_async.policy import PollPolicy
    from truebit_async.session import TruebitSession, wait_for_verification
    from truebit_async.strategies import LearnedWait, ProportionalWait
    from truebit_async.tasks import Tasks

__all__ = [
    "AnyExecution",
    "ApiError",
    "ApiExecution",
    "ApiSolution",
    "ApiStatus",
    "ApiTask",
    "AuthenticationError",
    "BackedOff",
    "BadRequestError",
    "CheckpointError",
    "ClearTextSolution",
    "DecodeError",
    "Dropped",
    "Execution",
    "ExecutionFailedError",
    "ExecutionIdMismatchError",
    "ExecutionNotFoundError",
    "ExecutionStatus",
    "Finished",
    "FunctionTask",
    "IndeterminateError",
    "InvalidExecutionIdError",
    "Invoice",
    "LearnedWait",
    "Left",
    "LineItem",
    "Listener",
    "MissingApiKeyError",
    "Outcome",
    "Paused",
    "PaymentRequiredError",
    "PollEvent",
    "PollPolicy",
    "Polled",
    "ProportionalWait",
    "RateLimitedError",
    "RedirectError",
    "RequestTimeoutError",
    "Requested",
    "ResponseTooLargeError",
    "ServerError",
    "SessionClosedError",
    "Signature",
    "Started",
    "StillRunningError",
    "SubmissionLimitError",
    "SubmissionUncertainError",
    "Submitted",
    "Tasks",
    "Transcript",
    "TranscriptMessage",
    "TransferredBytes",
    "TransportError",
    "TruebitError",
    "TruebitSession",
    "UnexpectedResponseError",
    "UnknownStatusError",
    "VerificationFailedError",
    "VerificationStatus",
    "VerificationTimeoutError",
    "__version__",
    "wait_for_verification",
]

if not TYPE_CHECKING:  # with `__getattr__`, a type checker would accept any name
    # Names are loaded when they are first used, so that the command starts without aiohttp.
    _MODULES = ("errors", "_checkpoint_errors", "models", "policy", "events", "tasks", "session", "strategies")

    def __getattr__(name: str) -> object:
        if name not in __all__:
            msg = f"module {__name__!r} has no attribute {name!r}"
            raise AttributeError(msg)
        modules = (importlib.import_module(f"truebit_async.{module}") for module in _MODULES)
        globals()[name] = value = next(vars(module)[name] for module in modules if name in vars(module))
        return value

    def __dir__() -> list[str]:
        return __all__
