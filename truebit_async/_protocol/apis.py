"""Everything that is particular to API tasks: path, status field and shape of the reply.

Source: the dispatcher's API description, operations ``getApiExecutionStatus`` and ``executeApiTaskByName``, and the
payloads published with it.
"""

from __future__ import annotations

from truebit_async._protocol.ids import path_segment
from truebit_async._protocol.messages import Request, Response, TaskRules
from truebit_async._protocol.reply import StateReply, StatusField
from truebit_async._protocol.submission import submission_request
from truebit_async.models.apis import API, ApiExecution, ApiSolution, ApiStatus, ApiTask, TransferredBytes

STATUS_PATH = "/task/api/execution-status/"
SUBMIT_PATH = "/task/api/execute-by-name"

_STATUS_FIELD = StatusField("status", {status.value: status for status in ApiStatus}, running=ApiStatus.RUNNING)


def status_request(execution_id: str) -> Request:
    """Return the request for the status of an execution.

    Args:
        execution_id: a checked execution ID.
    """
    return Request("GET", STATUS_PATH + path_segment(execution_id), API, execution_id)


def submit_request(task: ApiTask, _: float) -> Request:
    """Return the request that submits a task.

    Args:
        task: the task.
    """
    call = {"path": task.path, "method": task.method, "params": task.params, "headers": task.headers}
    sent = {name: value for name, value in call.items() if value is not None}
    return submission_request(SUBMIT_PATH, API, task, {"input": sent})


def read_status(execution_id: str, response: Response, now: float) -> ApiExecution:
    """Return what a response says of an execution.

    Args:
        execution_id: the execution that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: the reply is not one that the API documents.
    """
    reply = StateReply(API, execution_id, response, now, _STATUS_FIELD)
    return ApiExecution(
        execution_id,
        reply.status,
        reply.part("clearTextSolution", ApiSolution, "execution.clear_text_solution"),
        reply.part("totalTransferredBytes", TransferredBytes, "execution.total_transferred_bytes"),
    )


APIS = TaskRules(API, ApiTask, submit_request, status_request, read_status, lambda execution: not execution.is_running)
"""API tasks."""
