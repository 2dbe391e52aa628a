"""What a dispatcher says of executions."""

from truebit_async.models.apis import ApiExecution, ApiSolution, ApiStatus, ApiTask, TransferredBytes
from truebit_async.models.common import AnyExecution, ExecutionStatus, Outcome, Signature
from truebit_async.models.evidence import Invoice, LineItem, Transcript, TranscriptMessage
from truebit_async.models.functions import ClearTextSolution, Execution, FunctionTask, VerificationStatus

__all__ = [
    "AnyExecution",
    "ApiExecution",
    "ApiSolution",
    "ApiStatus",
    "ApiTask",
    "ClearTextSolution",
    "Execution",
    "ExecutionStatus",
    "FunctionTask",
    "Invoice",
    "LineItem",
    "Outcome",
    "Signature",
    "Transcript",
    "TranscriptMessage",
    "TransferredBytes",
    "VerificationStatus",
]
