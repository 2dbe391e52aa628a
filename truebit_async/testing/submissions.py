"""What a `Simulator` does with a submission: the checks of the documented request, and the deployed tasks.

This module does not share code with the modules that make requests, so that a mistake in one of them does not hide in
the other.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

import attrs

Output = str | Mapping[str, object]

_OUTPUT_CLASSES: dict[str, type] = {"function": str, "api": dict}


@attrs.frozen
class DeployedTask:
    """A task that can be submitted to a `Simulator`.

    Attributes:
        kind: the kind of task.
        run: makes the output from the input. What it raises makes the run fail.
        polls: how many times to answer Running first.
        running_for: for how many seconds to answer Running at least.

    Raises:
        TypeError: ``run`` is a coroutine function.
    """

    kind: Literal["function", "api"]
    run: Callable[[Any], Output]
    polls: int
    running_for: float

    def __attrs_post_init__(self) -> None:
        if inspect.iscoroutinefunction(self.run):
            msg = "run must be a plain function, not a coroutine function"
            raise TypeError(msg)

    def output_of(self, task_input: object) -> tuple[Output, Literal["succeed", "failed"]]:
        """Return the output of a run, and whether it succeeded. What is no output of this kind makes it fail."""
        try:
            output = self.run(task_input)
            json.dumps(output, allow_nan=False)
        except Exception:  # noqa: BLE001  # the run of a task may fail in any way
            return "", "failed"
        return (output, "succeed") if isinstance(output, _OUTPUT_CLASSES[self.kind]) else ("", "failed")


def problem_with(kind: str, body: bytes) -> str | None:
    """Return what a dispatcher does not accept about the body of a submission; None if there is nothing.

    Args:
        kind: the kind of task.
        body: the body.
    """
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        return "the body is not JSON"
    if not isinstance(fields, dict):
        return "the body is not an object"
    required, optional = _FIELDS[kind]
    for name, is_right in required.items():
        if not is_right(fields.get(name)):
            return f"{name} is missing, or not what it should be"
    for name, value in fields.items():
        if name not in required and not (name in optional and optional[name](value)):
            return f"{name} is not known, or not what it should be"
    if kind == "function" and fields["requiredSolutions"] > fields["totalSolutions"]:
        return "requiredSolutions must not exceed totalSolutions"
    return None


def _is_name(value: object) -> bool:
    return isinstance(value, str) and value != ""


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


def _is_whole(value: object, maximum: int = 2**53) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= maximum


def _is_uint32(value: object) -> bool:
    return _is_whole(value, 2**32 - 1)


def _is_version(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool)


def _is_call(value: object) -> bool:
    return isinstance(value, dict) and value.keys() <= {"path", "method", "params", "headers"}


_Checks = dict[str, Callable[[object], bool]]
_REQUIRED: _Checks = {"namespace": _is_name, "taskName": _is_name, "async": _is_flag}
_OPTIONAL: _Checks = {"label": _is_text, "version": _is_version}
_FIELDS: dict[str, tuple[_Checks, _Checks]] = {
    "function": (
        {
            **_REQUIRED,
            "input": _is_text,
            "totalSolutions": _is_uint32,
            "requiredSolutions": _is_uint32,
            "taskRequesterTimestamp": _is_whole,
        },
        {**_OPTIONAL, "gasLimit": _is_text, "executionTimeout": _is_whole},
    ),
    "api": ({**_REQUIRED, "input": _is_call, "executionTimeout": _is_whole}, _OPTIONAL),
}
