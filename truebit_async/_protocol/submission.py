"""What the submissions of tasks of all kinds have in common.

Source: the dispatcher's API description, operations ``executeTaskByName`` and ``executeApiTaskByName``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Protocol

from truebit_async._protocol.body import explain, parse_json
from truebit_async._protocol.failures import failure
from truebit_async._protocol.ids import check_execution_id
from truebit_async._protocol.messages import Request, Response
from truebit_async.errors import DecodeError, InvalidExecutionIdError, TruebitError

# Any other 4xx refuses the task. 408 says that the request did not arrive in time, and 425 that it was not processed
# yet. Neither says that the task will not run.
_NO_REFUSALS = {408, 425}


class SubmittedTask(Protocol):
    """What tasks of all kinds have."""

    @property
    def namespace(self) -> str:
        """The namespace of the deployed task."""

    @property
    def task_name(self) -> str:
        """Its name."""

    @property
    def label(self) -> str | None:
        """Which deployment of the task to run."""

    @property
    def version(self) -> str | int | None:
        """Likewise."""

    @property
    def execution_timeout(self) -> float | None:
        """How long it may run, in seconds."""


def submission_request(path: str, kind: str, task: SubmittedTask, fields: Mapping[str, object]) -> Request:
    """Return the request that submits a task.

    Args:
        path: the path of the endpoint.
        kind: the kind of task.
        task: the task.
        fields: the JSON fields that tasks of this kind have and others do not have. What is None is left out.
    """
    timeout = task.execution_timeout
    all_fields = {
        "namespace": task.namespace,
        "taskName": task.task_name,
        **fields,
        "executionTimeout": None if timeout is None else max(1, round(timeout * 1000)),  # milliseconds
        "label": task.label,
        "version": task.version,
        "async": True,
    }
    sent = {name: value for name, value in all_fields.items() if value is not None}
    body = json.dumps(sent, allow_nan=False).encode()
    headers = {"Content-Type": "application/json"}
    return Request("POST", path, kind, headers=headers, body=body, is_repeatable=False, has_private_response=True)


def read_submission(kind: str, response: Response, now: float) -> str:
    """Return the execution ID that a response to a submission holds.

    Args:
        kind: the kind of task.
        response: the response. One that already holds a result has the ID as well.
        now: the wall clock, in seconds since the epoch, to read dates by.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: the status is not documented, or there is no execution ID. As for a 5xx, the task may
            have run.
    """
    error: TruebitError
    if response.status != 200:
        error = failure(kind, None, response, now, is_private=True)
        is_refusal = 400 <= response.status <= 499 and response.status not in _NO_REFUSALS
        error.may_have_run = not is_refusal
        raise error
    try:
        reply = parse_json(response.body)
    except (ValueError, RecursionError) as problem:
        detail = explain(problem)
    else:
        execution_id = reply.get("executionId") if isinstance(reply, dict) else None
        try:
            return check_execution_id(execution_id, kind)
        except InvalidExecutionIdError as problem:
            detail = f"executionId is missing or cannot be one: {problem.reason}"
    # Not in a block above: a JSONDecodeError holds the whole body, and would be kept as the context.
    error = DecodeError(None, 200, detail, "", kind=kind)
    error.may_have_run = True
    raise error
