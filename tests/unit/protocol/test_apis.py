"""The replies about API tasks, one by one. What they have in common with function tasks is tested there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from tests.unit.protocol.reading import NOW
from truebit_async import errors
from truebit_async._protocol.apis import APIS, read_status
from truebit_async._protocol.messages import Request, Response
from truebit_async.models import ApiExecution, ApiSolution, ApiStatus, ExecutionStatus, TransferredBytes

PAYLOADS = Path(__file__).parent / "payloads"


def read(reply: dict[str, Any]) -> ApiExecution:
    body = json.dumps({"executionId": "id", **reply}).encode()
    return read_status("id", Response(200, CIMultiDict(), body), NOW)


def test_the_request() -> None:
    assert APIS.status_request("a/b") == Request(
        "GET", "/task/api/execution-status/a%2Fb", kind="api", execution_id="a/b"
    )


@pytest.mark.parametrize("status", list(ApiStatus))
def test_all_but_running_are_final(status: ApiStatus) -> None:
    execution = read({"status": status.value})
    assert execution == ApiExecution("id", status)
    assert APIS.is_final(execution) is (status is not ApiStatus.RUNNING)


@pytest.mark.usefixtures("parser")
def test_the_published_example() -> None:
    body = (PAYLOADS / "status_api_old.json").read_bytes()
    execution = read_status("eced5793-8634-4489-a589-2f1978367496", Response(200, {}, body), NOW)
    sender = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert execution == ApiExecution(
        "eced5793-8634-4489-a589-2f1978367496",
        ApiStatus.SUCCESS,
        ApiSolution({}, ExecutionStatus.SUCCEED, sender),
        TransferredBytes(194, 438),
    )
    assert execution.succeeded
    assert execution.output == {}  # an empty object is an output
    assert isinstance(hash(execution), int)


@pytest.mark.usefixtures("parser")
def test_an_output_of_any_shape_is_kept_as_it_is() -> None:
    output = {"a": {"b": [1, None, "x", 1.5, True]}, "long": 2**70, "longer": -(10**30), "text": "1" * 40}
    execution = read({"status": "Success", "clearTextSolution": {"output": output, "status": "succeed"}})
    assert execution.output == output
    assert isinstance(execution.output["long"], int)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ({"status": "Running"}, "is still running"),
        ({"status": "Error"}, "ended with an error"),
        ({"status": "Error", "clearTextSolution": {"output": {}, "status": "succeed"}}, "ended with an error"),
        ({"status": "Success"}, "holds no output"),
        ({"status": "Success", "clearTextSolution": {"status": "succeed"}}, "holds no output"),
        ({"status": "Success", "clearTextSolution": {"output": {}, "status": "failed"}}, "the call failed"),
        ({"status": "Success", "clearTextSolution": {"output": {}}}, "the call failed"),
    ],
)
def test_without_a_success_there_is_no_output(reply: dict[str, Any], said: str) -> None:
    execution = read(reply)
    assert not execution.succeeded
    for find_out in (lambda: execution.output, execution.raise_for_verification):
        with pytest.raises(errors.VerificationFailedError, match=said) as caught:
            find_out()
        assert isinstance(caught.value, errors.StillRunningError) is execution.is_running
        assert (caught.value.execution, caught.value.kind) == (execution, "api")


@pytest.mark.usefixtures("parser")
@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        ({"status": "Success", "clearTextSolution": {"output": "text"}}, r"clear_text_solution\.output"),
        ({"status": "Success", "clearTextSolution": {"output": [1]}}, r"clear_text_solution\.output"),
        ({"status": "Success", "clearTextSolution": {"status": "Succeed"}}, r"clear_text_solution\.status"),
        ({"status": "Success", "clearTextSolution": []}, "clear_text_solution"),
        ({"status": "Success", "totalTransferredBytes": 0}, "total_transferred_bytes"),
        ({"status": "Success", "totalTransferredBytes": {"request": 1}}, "total_transferred_bytes"),
        ({"status": "Success", "totalTransferredBytes": {"request": 1.5, "response": 1}}, r"bytes\.request"),
    ],
)
def test_what_is_not_of_the_documented_shape_is_refused(reply: dict[str, Any], detail: str) -> None:
    with pytest.raises(errors.DecodeError, match=detail) as caught:
        read(reply)
    assert caught.value.kind == "api"


@pytest.mark.parametrize("status", ["Indeterminate", "succeed", "", None])
def test_an_unknown_status_is_never_taken_for_success(status: str | None) -> None:
    with pytest.raises(errors.UnknownStatusError, match="status is") as caught:
        read({"status": status, "verificationStatus": "Success"})
    assert caught.value.received_status == status


def test_the_reply_about_a_function_task_is_not_taken_for_one_about_an_api_task() -> None:
    body = (PAYLOADS / "status_function_old.json").read_bytes()
    with pytest.raises(errors.UnknownStatusError, match="status is missing"):
        read_status("abf5e6d2-f72d-4324-a046-bc6e9f27b303", Response(200, {}, body), NOW)
