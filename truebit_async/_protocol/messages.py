"""What goes out, what comes back, and what a kind of task makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

import attrs

TaskT = TypeVar("TaskT")
ExecutionT = TypeVar("ExecutionT")


@attrs.define
class Request:
    """An HTTP request below the base URL.

    Attributes:
        method: the HTTP method.
        path: the encoded path, sent exactly so.
        kind: the kind of task that errors name; None if it is about no task.
        execution_id: the execution that errors name; None if it is about none.
        headers: headers beyond those of every request.
        body: the body; None sends none.
        is_repeatable: whether it may be sent again when nobody knows whether it has arrived.
        max_response_bytes: limit of the body of its response after decompression, in bytes; None takes the session's.
        has_private_response: whether its response may hold secrets of users, so that no error may quote it.
    """

    method: str
    path: str
    kind: str | None = None
    execution_id: str | None = None
    headers: Mapping[str, str] | None = None
    body: bytes | None = attrs.field(default=None, repr=False)
    is_repeatable: bool = True
    max_response_bytes: int | None = None
    has_private_response: bool = False


@attrs.define
class Response:
    """An HTTP response, read to its end.

    Attributes:
        status: the HTTP status code.
        headers: the headers; the mapping ignores the case of names, as HTTP does.
        body: the body, decompressed.
    """

    status: int
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes | bytearray = attrs.field(repr=False)


@attrs.frozen(eq=False)
class TaskRules(Generic[TaskT, ExecutionT]):
    """The rules of one kind of task.

    Attributes:
        name: its name in events, errors and checkpoints.
        task_class: the class of its tasks.
        submit_request: makes the request that submits a task, from the task and the wall clock in seconds since the
            epoch.
        status_request: makes the request for the status of an execution, from a checked execution ID.
        read_status: reads the response to it, from the execution ID, the response, and the wall clock in seconds since
            the epoch. It raises an `ApiError` or an `UnexpectedResponseError` if the response holds no state.
        is_final: whether a state can no longer change.
    """

    name: str
    task_class: type[TaskT]
    submit_request: Callable[[TaskT, float], Request]
    status_request: Callable[[str], Request]
    read_status: Callable[[str, Response, float], ExecutionT]
    is_final: Callable[[ExecutionT], bool]
