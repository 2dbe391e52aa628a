"""What the fields of a task may be. A bad one is refused when the task is made, by name and without its value."""

from __future__ import annotations

import math
import re
from typing import Any

import attrs
import pytest

from truebit_async import ApiTask, FunctionTask
from truebit_async._causes import with_causes

FUNCTION: dict[str, Any] = {
    "namespace": "ns",
    "task_name": "task",
    "input": "SECRET",
    "total_solutions": 3,
    "required_solutions": 2,
}
API: dict[str, Any] = {"namespace": "ns", "task_name": "task", "execution_timeout": 10}
CYCLE: list[object] = []
CYCLE.append(CYCLE)
DEEP: list[object] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("namespace", "", ValueError),
        ("namespace", None, TypeError),
        ("namespace", "\ud800", ValueError),
        ("task_name", "", ValueError),
        ("task_name", b"task", TypeError),
        ("input", b"SECRET", TypeError),
        ("input", {"a": 1}, TypeError),
        ("input", "SECRET\udfff", ValueError),
        ("total_solutions", 0, ValueError),
        ("total_solutions", 2**32, ValueError),
        ("total_solutions", True, TypeError),
        ("total_solutions", 1.0, TypeError),
        ("required_solutions", 0, ValueError),
        ("required_solutions", 4, ValueError),
        ("required_solutions", "1", TypeError),
        ("label", "", ValueError),
        ("label", 1, TypeError),
        ("version", "", ValueError),
        ("version", True, TypeError),
        ("version", 1.5, TypeError),
        ("gas_limit", 0, ValueError),
        ("gas_limit", "1", TypeError),
        ("execution_timeout", 0, ValueError),
        ("execution_timeout", -1, ValueError),
        ("execution_timeout", math.nan, ValueError),
        ("execution_timeout", "1", TypeError),
    ],
)
def test_a_bad_field_of_a_function_task(field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{field} ") as caught:
        FunctionTask(**{**FUNCTION, field: value})
    assert "SECRET" not in "".join(map(repr, with_causes(caught.value)))


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("namespace", "", ValueError),
        ("path", "", ValueError),
        ("path", 1, TypeError),
        ("method", "", ValueError),
        ("params", [], TypeError),
        ("params", {1: "SECRET"}, TypeError),
        ("params", {"a": [{2: "SECRET"}]}, TypeError),
        ("params", {"a": {"SECRET"}}, TypeError),
        ("params", {"a": b"SECRET"}, TypeError),
        ("params", {"a": math.inf}, ValueError),
        ("params", {"a": CYCLE}, ValueError),
        ("params", {"a": DEEP}, ValueError),
        ("headers", "SECRET", TypeError),
        ("headers", {"a": 1}, TypeError),
        ("execution_timeout", None, TypeError),
        ("execution_timeout", 0, ValueError),
    ],
)
def test_a_bad_field_of_an_api_task(field: str, value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=rf"^{field}\b") as caught:
        ApiTask(**{**API, field: value})
    assert "SECRET" not in "".join(map(repr, with_causes(caught.value)))


def test_no_repr_shows_what_a_task_gets() -> None:
    function = FunctionTask(**FUNCTION)
    api = ApiTask(**API, path="/a", params={"password": "SECRET"}, headers={"Authorization": "SECRET"})
    assert not re.search("SECRET|password|Authorization", f"{function!r} {function} {api!r} {api}")


def test_a_task_keeps_a_copy_of_what_it_gets() -> None:
    params: dict[str, Any] = {"a": [1, {"b": None}], "t": (1, 2)}
    task = ApiTask(**API, params=params, headers={})
    params["a"].append(2)
    assert task.params == {"a": [1, {"b": None}], "t": [1, 2]}
    assert task.headers == {}
    assert isinstance(hash(task), int)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        task.path = "/b"  # type: ignore[misc]


def test_the_smallest_tasks() -> None:
    assert FunctionTask("ns", "task", "", total_solutions=1, required_solutions=1).gas_limit is None
    assert ApiTask("ns", "task", execution_timeout=0.0001).params is None
