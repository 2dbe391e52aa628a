"""Everything that is particular to function tasks: path, status field and shape of the reply.

Source: the dispatcher's API description, operations ``getFunctionExecutionStatus`` and ``executeTaskByName``, and the
payloads published with it.
"""

from __future__ import annotations

from truebit_async._protocol.ids import path_segment
from truebit_async._protocol.messages import Request, Response, TaskRules
from truebit_async._protocol.reply import StateReply, StatusField
from truebit_async._protocol.submission import submission_request
from truebit_async.models.functions import FUNCTION, ClearTextSolution, Execution, FunctionTask, VerificationStatus

STATUS_PATH = "/task/function/execution-status/"
SUBMIT_PATH = "/task/function/execute-by-name"

_STATUS_FIELD = StatusField(
    "verificationStatus", {status.value: status for status in VerificationStatus}, running=VerificationStatus.RUNNING
)


def status_request(execution_id: str) -> Request:
    """Return the request for the status of an execution.

    Args:
        execution_id: a checked execution ID.
    """
    return Request("GET", STATUS_PATH + path_segment(execution_id), FUNCTION, execution_id)


def submit_request(task: FunctionTask, now: float) -> Request:
    """Return the request that submits a task.

    Args:
        task: the task.
        now: the wall clock, in seconds since the epoch. The dispatcher selects the nodes by it.
    """
    fields = {
        "input": task.input,
        "totalSolutions": task.total_solutions,
        "requiredSolutions": task.required_solutions,
        "taskRequesterTimestamp": int(now),
        "gasLimit": None if task.gas_limit is None else str(task.gas_limit),
    }
    return submission_request(SUBMIT_PATH, FUNCTION, task, fields)


def read_status(execution_id: str, response: Response, now: float) -> Execution:
    """Return what a response says of an execution.

    Args:
        execution_id: the execution that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: the reply is not one that the API documents.
    """
    reply = StateReply(FUNCTION, execution_id, response, now, _STATUS_FIELD)
    solution, signature = reply.fields.get("clearTextSolution"), reply.fields.get("signature")
    if signature is not None and isinstance(solution, dict) and solution.get("signature") is None:
        # A published example has the signature beside the solution, the schema has it inside.
        solution["signature"] = signature
    path = "execution.clear_text_solution"
    return Execution(execution_id, reply.status, reply.part("clearTextSolution", ClearTextSolution, path))


FUNCTIONS = TaskRules(
    FUNCTION, FunctionTask, submit_request, status_request, read_status, lambda execution: not execution.is_running
)
"""Function tasks."""
