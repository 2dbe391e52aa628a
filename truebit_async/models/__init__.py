"""What a dispatcher says of executions."""

from truebit_async.models.common import Outcome, Signature
from truebit_async.models.functions import ClearTextSolution, Execution, ExecutionStatus, VerificationStatus

__all__ = ["ClearTextSolution", "Execution", "ExecutionStatus", "Outcome", "Signature", "VerificationStatus"]
