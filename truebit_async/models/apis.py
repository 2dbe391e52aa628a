"""An API task, and the state of its execution, as frozen attrs classes.

The fields of the state mirror the reply of ``GET /task/api/execution-status/{executionId}`` of the dispatcher API in
snake_case. Its description marks none of them as required.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

import attrs

from truebit_async._arguments import check_positive, check_text, json_copy
from truebit_async.errors import ExecutionFailedError, StillRunningError, VerificationFailedError
from truebit_async.models.common import AnyExecution, ExecutionStatus, check_task

__all__ = ["API", "ApiExecution", "ApiSolution", "ApiStatus", "ApiTask", "TransferredBytes"]

API = "api"
"""The kind of these executions, in events, errors and checkpoints."""


@attrs.frozen
class ApiTask:
    """An API task to submit: see ``Tasks.submit``. Its repr shows neither the parameters nor the headers.

    The parameters are recorded in the transcript of the execution, secrets included. The fields mirror the body of
    ``POST /task/api/execute-by-name`` (operation ``executeApiTaskByName`` of the dispatcher API) in snake_case.

    Args:
        namespace: the namespace of the deployed task.
        task_name: its name.
        path: the path to call below that of the API, such as ``"/store/order/{orderId}"``.
        method: the HTTP method of the call, such as ``"GET"``.
        params: the parameters of the call, a JSON object. A copy is kept.
        headers: headers of the call. A copy is kept.
        execution_timeout: how long the call may take, in seconds.
        label: which deployment of the task to run; None leaves that to the dispatcher.
        version: likewise.
        tag: your own name for the task in a batch: see ``Tasks.run_many``. It is not sent.

    Raises:
        TypeError: a field has the wrong type; the message names it.
        ValueError: a field has a value that the API does not accept; the message names it.
    """

    namespace: str
    task_name: str
    path: str | None = attrs.field(default=None, kw_only=True)
    method: str | None = attrs.field(default=None, kw_only=True)
    params: Mapping[str, object] | None = attrs.field(default=None, kw_only=True, repr=False, hash=False)
    headers: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, repr=False, hash=False)
    execution_timeout: float = attrs.field(kw_only=True)
    label: str | None = attrs.field(default=None, kw_only=True)
    version: str | int | None = attrs.field(default=None, kw_only=True)
    tag: str | None = attrs.field(default=None, kw_only=True)

    def __attrs_post_init__(self) -> None:
        check_task(self.namespace, self.task_name, self.label, self.version, self.execution_timeout, self.tag)
        check_positive("execution_timeout", self.execution_timeout)
        for name in ("path", "method"):
            if getattr(self, name) is not None:
                check_text(name, getattr(self, name))
        for name in ("params", "headers"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, Mapping):
                    msg = f"{name} must be a mapping, not {type(value).__name__}"
                    raise TypeError(msg)
                object.__setattr__(self, name, json_copy(name, dict(value)))
        for value in (self.headers or {}).values():
            check_text("headers: each value", value, empty_allowed=True)


class ApiStatus(enum.StrEnum):
    """The state of the call (``status``)."""

    RUNNING = "Running"
    """Still being executed."""
    SUCCESS = "Success"
    """The call was made, which does not say that it worked."""
    ERROR = "Error"
    """An error during the execution."""


@attrs.frozen
class ApiSolution:
    """What the call gave (``clearTextSolution``). Absent while an execution is running.

    Attributes:
        output: the JSON object that the API returned. An empty one is an output like any other.
        status: whether the call worked.
        sender_address: address of the node that sent it.
    """

    output: dict[str, object] | None = attrs.field(default=None, hash=False)
    status: ExecutionStatus | None = None
    sender_address: str | None = None


@attrs.frozen
class TransferredBytes:
    """The traffic of the call (``totalTransferredBytes``), which is what an API task is billed by.

    Attributes:
        request: how many bytes were sent.
        response: how many bytes were received.
    """

    request: int
    response: int


@attrs.frozen
class ApiExecution(AnyExecution[dict[str, object]]):
    """The state of one execution of an API task.

    The call is made once. So a Success is the statement of one party, and no consensus of nodes.

    Attributes:
        kind: ``"api"``.
        execution_id: the ID that was asked for.
        status: the state of the call.
        clear_text_solution: what the call gave, once it was made.
        total_transferred_bytes: the traffic of the call.
    """

    kind: ClassVar[str] = API

    execution_id: str
    status: ApiStatus
    clear_text_solution: ApiSolution | None = None
    total_transferred_bytes: TransferredBytes | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is no final state yet; every other status is final."""
        return self.status is ApiStatus.RUNNING

    @property
    def _successful_output(self) -> dict[str, object] | None:
        solution = self.clear_text_solution
        if self.status is ApiStatus.SUCCESS and solution is not None and solution.status is ExecutionStatus.SUCCEED:
            return solution.output
        return None

    @property
    def _failure(self) -> VerificationFailedError:
        if self.is_running:
            return StillRunningError(self.execution_id, self, "is still running", kind=API)
        solution = self.clear_text_solution
        if self.status is ApiStatus.ERROR:
            detail = "ended with an error"
        elif solution is None or solution.output is None:
            detail = "has the status Success, but the reply holds no output"
        else:
            detail = "has the status Success, but the call failed"
        return ExecutionFailedError(self.execution_id, self, detail, kind=API)
