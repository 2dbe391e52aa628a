"""Asyncio SDK for Truebit Verify: wait for the verified result of an execution, or of a million.

async with TruebitSession() as session:
    execution = await session.wait_for_verification(execution_id)
print(execution.output)
"""

from truebit_async._version import __version__
from truebit_async.errors import (
    ApiError,
    AuthenticationError,
    BadRequestError,
    CheckpointError,
    DecodeError,
    ExecutionFailedError,
    ExecutionIdMismatchError,
    ExecutionNotFoundError,
    IndeterminateError,
    InvalidExecutionIdError,
    PaymentRequiredError,
    RateLimitedError,
    RedirectError,
    RequestTimeoutError,
    ResponseTooLargeError,
    ServerError,
    SessionClosedError,
    StillRunningError,
    TransportError,
    TruebitError,
    UnexpectedResponseError,
    UnknownStatusError,
    VerificationFailedError,
    VerificationTimeoutError,
)
from truebit_async.events import BackedOff, Finished, Listener, Paused, Polled, PollEvent
from truebit_async.models import (
    ClearTextSolution,
    Execution,
    ExecutionStatus,
    Outcome,
    Signature,
    VerificationStatus,
)
from truebit_async.policy import PollPolicy
from truebit_async.session import TruebitSession, wait_for_verification

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BackedOff",
    "BadRequestError",
    "CheckpointError",
    "ClearTextSolution",
    "DecodeError",
    "Execution",
    "ExecutionFailedError",
    "ExecutionIdMismatchError",
    "ExecutionNotFoundError",
    "ExecutionStatus",
    "Finished",
    "IndeterminateError",
    "InvalidExecutionIdError",
    "Listener",
    "Outcome",
    "Paused",
    "PaymentRequiredError",
    "PollEvent",
    "PollPolicy",
    "Polled",
    "RateLimitedError",
    "RedirectError",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "ServerError",
    "SessionClosedError",
    "Signature",
    "StillRunningError",
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
