"""docs/openapi.yaml, the Simulator, the models and the decoder: none of them may drift away from the others."""

from __future__ import annotations

import enum
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.simulator_thread import simulator_thread
from truebit_async._protocol import apis, converter, evidence, functions, ids
from truebit_async._protocol.messages import Response
from truebit_async.errors import ExecutionIdMismatchError, UnexpectedResponseError
from truebit_async.models import (
    ApiExecution,
    ApiSolution,
    ApiStatus,
    ApiTask,
    ClearTextSolution,
    Execution,
    ExecutionStatus,
    FunctionTask,
    Invoice,
    LineItem,
    Signature,
    Transcript,
    TranscriptMessage,
    TransferredBytes,
    VerificationStatus,
)
from truebit_async.session import DEFAULT_BASE_URL
from truebit_async.testing import Reply, Simulator

DESCRIPTION = schemathesis.openapi.from_path(Path(__file__).parents[2] / "docs" / "openapi.yaml")
PAYLOADS = Path(__file__).parents[1] / "unit" / "protocol" / "payloads"
PATH = functions.STATUS_PATH + "{executionId}"
API_PATH = apis.STATUS_PATH + "{executionId}"
TRANSCRIPT_PATH = "/task/{executionId}/transcript"
HASH_PATH = "/task/hash/{transcriptHash}/transcript"
INVOICE_PATH = "/task/{executionId}/transcriptInvoice"
OPERATIONS = {
    (PATH, "get"): "getFunctionExecutionStatus",
    (API_PATH, "get"): "getApiExecutionStatus",
    (functions.SUBMIT_PATH, "post"): "executeTaskByName",
    (apis.SUBMIT_PATH, "post"): "executeApiTaskByName",
    (TRANSCRIPT_PATH, "get"): "getTranscriptByExecutionId",
    (HASH_PATH, "get"): "getTranscriptByHash",
    (INVOICE_PATH, "get"): "getTranscriptInvoiceByExecutionId",
}
OPERATION = DESCRIPTION[PATH]["GET"]
FUNCTION_TASK = FunctionTask(
    "ns", "square", "7", total_solutions=2, required_solutions=1, label="a", version=1, gas_limit=5, execution_timeout=9
)
API_TASK = ApiTask(
    "ns", "order", path="/a", method="GET", params={"b": [1]}, headers={"C": "d"}, execution_timeout=9, version="1.0"
)
SUBMISSIONS = {
    functions.SUBMIT_PATH: functions.submit_request(FUNCTION_TASK, 1_700_000_000),
    apis.SUBMIT_PATH: apis.submit_request(API_TASK, 1_700_000_000),
}
SCHEMAS = DESCRIPTION.raw_schema["components"]["schemas"]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
FATES = {  # ID → status of the HTTP reply, verificationStatus, executionStatus
    "running": (200, "Running", None),
    "success": (200, "Success", "succeed"),
    "failed": (200, "Success", "failed"),
    "indeterminate": (200, "Indeterminate", None),
    "error": (200, "Error", None),
    "unknown": (404, None, None),
}
REPLIES = [
    *(Reply.execution(status) for status in ("Success", "Running", "Indeterminate", "Error")),
    Reply.execution("Success", "42", "succeed"),
    Reply.execution("Success", "", "failed"),
    Reply.execution("Success", "42 ü \x00", signature="inside"),
    Reply.execution("Indeterminate", "41", signature="beside"),
    Reply.running(),
    Reply.success("42"),
    Reply.failed(),
    Reply.failed("Traceback"),
    Reply.slow(0.01),
    Reply.error(404),
    Reply.error(404, "no such execution"),
    Reply.error(429, retry_after=1),
    Reply.error(500, "ü"),
    Reply.error(500, retry_after="3"),
]


@pytest.fixture(scope="module")
def server() -> Iterator[Simulator]:
    """A Simulator in a thread of its own, which knows executions that end in every way."""
    with simulator_thread() as simulator:
        simulator.add("running", status="Running")
        simulator.add("success", polls=2)
        simulator.add("failed", execution_status="failed")
        simulator.add("indeterminate", polls=1, status="Indeterminate")
        simulator.add("error", status="Error")
        simulator.add("call", kind="api")
        simulator.deploy_function("ns", "square", str)
        simulator.deploy_api("ns", "order", dict)
        yield simulator


def ask(server: Simulator, case: schemathesis.Case[Any]) -> tuple[int, Any]:
    response = case.call_and_validate(base_url=server.url, checks=CHECKS)
    return response.status_code, json.loads(response.content)


def case_of(execution_id: str, method: Method = "GET") -> schemathesis.Case[Any]:
    return OPERATION.Case(method=method, path_parameters={"executionId": execution_id})


def case_at(path: str, wanted: str) -> schemathesis.Case[Any]:
    name = path[path.index("{") + 1 : path.index("}")]
    return DESCRIPTION[path]["GET"].Case(method="GET", path_parameters={name: wanted})


def submission_at(path: str, key: str | None = "key", **changes: object) -> schemathesis.Case[Any]:
    body = json.loads(SUBMISSIONS[path].body or b"") | changes
    headers = {} if key is None else {"x-api-key": key}
    return DESCRIPTION[path]["POST"].Case(method="POST", body=body, headers=headers, media_type="application/json")


def errors_in(schema: str, body: object) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(
        {"$ref": f"#/components/schemas/{schema}", "components": {"schemas": SCHEMAS}}
    )
    return [error.message for error in validator.iter_errors(body)]


def decode(body: dict[str, Any]) -> Execution:
    return functions.read_status("id", Response(200, {}, json.dumps(body).encode()), now=0)


# The Simulator


@pytest.mark.parametrize("execution_id", FATES)
def test_every_fate_conforms(server: Simulator, execution_id: str) -> None:
    status, verification_status, execution_status = FATES[execution_id]
    for _ in range(2):
        ask(server, case_of(execution_id))  # those that run at first conform then, too
    answered, body = ask(server, case_of(execution_id))
    assert answered == status
    assert body.get("verificationStatus") == verification_status
    assert body.get("clearTextSolution", {}).get("executionStatus") == execution_status
    assert body.get("executionId") == (execution_id if status == 200 else None)


@pytest.mark.parametrize("status", ["Running", "Success", "Error"])
def test_every_fate_of_an_api_task_conforms(server: Simulator, status: Literal["Running", "Success", "Error"]) -> None:
    server.add("fate", status=status, kind="api")
    answered, body = ask(server, case_at(API_PATH, "fate"))
    assert (answered, body["status"]) == (200, status)
    assert ("clearTextSolution" in body) is (status == "Success")


@pytest.mark.parametrize("path", [PATH, API_PATH, TRANSCRIPT_PATH, HASH_PATH, INVOICE_PATH])
def test_what_is_not_known_is_a_404_at_every_endpoint(server: Simulator, path: str) -> None:
    assert ask(server, case_at(path, "ab"))[0] == 404


@pytest.mark.parametrize("path", SUBMISSIONS)
def test_what_the_package_submits_conforms_and_is_taken(server: Simulator, path: str) -> None:
    schema = "ExecuteTaskRequest" if path == functions.SUBMIT_PATH else "ExecuteApiTaskRequest"
    sent = json.loads(SUBMISSIONS[path].body or b"")
    assert errors_in(schema, sent) == []
    assert sent.keys() >= set(SCHEMAS[schema]["required"])
    status, body = ask(server, submission_at(path))
    assert (status, body.keys()) == (200, {"executionId"})
    status_path = PATH if path == functions.SUBMIT_PATH else API_PATH
    for read_path in (status_path, TRANSCRIPT_PATH, INVOICE_PATH):
        assert ask(server, case_at(read_path, body["executionId"]))[0] == 200


@pytest.mark.parametrize("path", SUBMISSIONS)
def test_what_is_refused_conforms(server: Simulator, path: str) -> None:
    kind: Literal["function", "api"] = "function" if path == functions.SUBMIT_PATH else "api"
    assert ask(server, submission_at(path, key=None))[0] == 401
    assert ask(server, submission_at(path, taskName="other"))[0] == 400
    assert ask(server, submission_at(path, input=7))[0] == 400
    for status in (402, 500):
        server.script_submissions(Reply.error(status), kind=kind)
        assert ask(server, submission_at(path))[0] == status


@pytest.mark.parametrize("execution_id", ["success", "call", "running"])
def test_evidence_conforms(server: Simulator, execution_id: str) -> None:
    status, transcript = ask(server, case_at(TRANSCRIPT_PATH, execution_id))
    assert (status, transcript["executionId"]) == (200, execution_id)
    status, invoice = ask(server, case_at(INVOICE_PATH, execution_id))
    assert status == (404 if execution_id == "running" else 200)
    if status == 200:
        assert invoice["executionId"] == execution_id
        by_hash = case_at(HASH_PATH, transcript["transcript"][-1]["transcriptHash"])
        assert ask(server, by_hash) == (200, transcript)


@pytest.mark.parametrize("path", [TRANSCRIPT_PATH, INVOICE_PATH])
@pytest.mark.parametrize(
    "body", [b"[]", b'{"transcript": 1, "lineItem": 1}', b'{"executionId": 1}', b'{"transcript": [1], "lineItem": [1]}']
)
def test_evidence_that_does_not_conform_is_noticed(server: Simulator, path: str, body: bytes) -> None:
    document: Literal["transcript", "invoice"] = "transcript" if path == TRANSCRIPT_PATH else "invoice"
    server.script_evidence("scripted", Reply.raw(200, body), document=document)
    with pytest.raises(schemathesis.errors.FailureGroup):
        ask(server, case_at(path, "scripted"))


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=OPERATIONS.values())
def test_generated_requests_conform_at_every_endpoint(server: Simulator, path: str, method: str) -> None:
    @settings(suppress_health_check=list(HealthCheck))
    @given(case=DESCRIPTION[path][method.upper()].as_strategy())
    def check(case: schemathesis.Case[Any]) -> None:
        ask(server, case)

    check()


@pytest.mark.full
@settings(max_examples=100, deadline=None)
@given(case=OPERATION.as_strategy() | st.sampled_from(sorted(FATES)).map(case_of))
def test_generated_requests_get_conforming_replies(server: Simulator, case: schemathesis.Case[Any]) -> None:
    status, _ = ask(server, case)
    assert status == FATES.get(server.requests[-1].execution_id or "", (404,))[0]


@pytest.mark.parametrize("reply", REPLIES, ids=str)
def test_every_documented_reply_conforms(server: Simulator, reply: Reply) -> None:
    server.script("scripted", reply)
    ask(server, case_of("scripted"))


@pytest.mark.parametrize("status", [400, 401, 402, 403, 408, 503, 599])
def test_other_errors_have_the_documented_body(server: Simulator, status: int) -> None:
    server.script("scripted", Reply.error(status))
    response = case_of("scripted").call(base_url=server.url)
    assert response.status_code == status
    assert errors_in("Error", json.loads(response.content)) == []


def test_a_limited_rate_conforms(server: Simulator) -> None:
    server.limit_rate(0)
    try:
        assert ask(server, case_of("success"))[0] == 429
    finally:
        server.limit_rate(math.inf)


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_other_methods_get_an_error_body(server: Simulator, method: Method) -> None:
    response = case_of("success", method).call(base_url=server.url)
    assert response.status_code == 405
    assert errors_in("Error", json.loads(response.content)) == []


def test_an_unknown_path_gets_an_error_body(server: Simulator) -> None:
    response = case_of("a/b").call(base_url=server.url)
    assert server.requests[-1].execution_id is None
    assert response.status_code == 404
    assert errors_in("Error", json.loads(response.content)) == []


@pytest.mark.parametrize(
    "reply",
    [
        Reply.error(503),
        Reply.raw(200, b"{}", content_type="text/html"),
        Reply.raw(200, b'{"verificationStatus": "Done"}'),
        Reply.raw(200, b'{"executionId": 1}'),
        Reply.raw(200, b'{"signature": {"v": "28"}}'),
        Reply.raw(200, b"not JSON"),
        Reply.raw(404, b'{"error": "no message"}'),
        Reply.raw(429, b'{"message": "no Retry-After"}'),
    ],
    ids=str,
)
def test_what_does_not_conform_is_noticed(server: Simulator, reply: Reply) -> None:
    server.script("scripted", reply)
    with pytest.raises(schemathesis.errors.FailureGroup):
        ask(server, case_of("scripted"))


# The package


def test_these_are_the_endpoints() -> None:
    paths = DESCRIPTION.raw_schema["paths"]
    found = {
        (path, method): operation["operationId"] for path, item in paths.items() for method, operation in item.items()
    }
    assert found == OPERATIONS
    assert DESCRIPTION.raw_schema["servers"][0]["url"] == DEFAULT_BASE_URL


def test_they_are_those_that_the_package_asks() -> None:
    made = {
        PATH: functions.status_request("a b"),
        API_PATH: apis.status_request("a b"),
        **SUBMISSIONS,
        TRANSCRIPT_PATH: evidence.transcript_request("a b"),
        HASH_PATH: evidence.transcript_by_hash_request("ab"),
        INVOICE_PATH: evidence.invoice_request("a b"),
    }
    for (path, method), request in zip(OPERATIONS, made.values(), strict=True):
        assert list(made).index(path) == list(OPERATIONS).index((path, method))
        expected = path.replace("{executionId}", "a%20b").replace("{transcriptHash}", "ab")
        assert (request.path, request.method) == (expected, method.upper())


def test_the_longest_id_is_the_one_that_is_sent() -> None:
    parameter = DESCRIPTION.raw_schema["components"]["parameters"]["ExecutionId"]
    assert parameter["schema"]["maxLength"] == ids.MAX_EXECUTION_ID_LENGTH
    ids.check_execution_id(parameter["example"])


@pytest.mark.parametrize(
    ("schema", "field", "status"),
    [
        ("ExecuteTaskSyncResponse", "verificationStatus", VerificationStatus),
        ("ClearTextSolution", "executionStatus", ExecutionStatus),
        ("ExecuteApiTaskResponse", "status", ApiStatus),
        ("ApiSolution", "status", ExecutionStatus),
    ],
)
def test_enums_are_those_of_the_models(schema: str, field: str, status: type[enum.StrEnum]) -> None:
    assert SCHEMAS[schema]["properties"][field]["enum"] == [member.value for member in status]


@pytest.mark.parametrize(
    ("schema", "model", "beside"),
    [
        ("ExecuteTaskSyncResponse", Execution, {"signature"}),  # the decoder moves it into the solution
        ("ClearTextSolution", ClearTextSolution, set()),
        ("Signature", Signature, set()),
        ("ExecuteApiTaskResponse", ApiExecution, set()),
        ("ApiSolution", ApiSolution, set()),
        ("TransferredBytes", TransferredBytes, set()),
    ],
)
def test_fields_are_those_of_the_models(schema: str, model: type, beside: set[str]) -> None:
    fields = {converter.json_name(field.name) for field in attrs.fields(model)}
    assert SCHEMAS[schema]["properties"].keys() == fields | beside


@pytest.mark.parametrize(
    ("schema", "model", "made_of"),
    [
        ("Transcript", Transcript, {"messages": "transcript", "raw": None}),
        ("TranscriptMessage", TranscriptMessage, {"fields": None}),
        (
            "Invoice",
            Invoice,
            {
                "accounting_signature": "accounting_signature",
                "line_items": "lineItem",
                "raw": None,
                "task_created_time_stamp": "taskCreated_timeStamp",
            },
        ),
        (
            "LineItem",
            LineItem,
            {"peak_memory_used": "peak_memory_used", "total_steps_computed": "total_steps_computed"},
        ),
    ],
)
def test_fields_of_evidence_are_those_of_the_models(schema: str, model: type, made_of: dict[str, str | None]) -> None:
    names = {made_of.get(field.name, converter.json_name(field.name)) for field in attrs.fields(model)}
    assert SCHEMAS[schema]["properties"].keys() == names - {None}


def test_the_published_evidence_conforms() -> None:
    published = sorted(path for path in PAYLOADS.glob("*.json") if not path.name.startswith("status"))
    assert len(published) == 5
    for path in published:
        schema = path.name.partition("_")[0].capitalize()
        assert errors_in(schema, json.loads(path.read_bytes())) == [], path.name


SIGNATURE = {"v": 27, "r": "1b" * 32, "s": "2c" * 32}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"unknown": [None]},
        {"clearTextSolution": {}},
        {"clearTextSolution": {"output": "", "executionStatus": "failed", "senderAddress": "0x5a", "unknown": 1}},
        {"clearTextSolution": {"output": "42"}, "signature": SIGNATURE},
        {"clearTextSolution": {"output": "42", "signature": SIGNATURE}},
        {"clearTextSolution": {"signature": SIGNATURE | {"v": 2**63 - 1}}},
        {"clearTextSolution": {"signature": SIGNATURE | {"v": -(2**63)}}},
    ],
)
@pytest.mark.parametrize("status", VerificationStatus)
def test_what_the_description_allows_is_decoded(status: VerificationStatus, fields: dict[str, Any]) -> None:
    body = {"executionId": "id", "verificationStatus": status.value, **fields}
    assert errors_in("ExecuteTaskSyncResponse", body) == []
    assert decode(body).verification_status is status


@pytest.mark.parametrize(
    "fields",
    [
        {"verificationStatus": "success"},
        {"verificationStatus": 1},
        {"executionId": 7},
        {"clearTextSolution": "42"},
        {"clearTextSolution": {"output": {"a": 1}}},
        {"clearTextSolution": {"executionStatus": "Success"}},
        {"clearTextSolution": {"senderAddress": 0x5A}},
        {"clearTextSolution": {"signature": "0x"}},
        {"clearTextSolution": {"signature": SIGNATURE | {"v": "27"}}},
        {"clearTextSolution": {"signature": SIGNATURE | {"v": 27.5}}},
        {"clearTextSolution": {"signature": SIGNATURE | {"v": 2**63}}},
        {"clearTextSolution": {}, "signature": SIGNATURE | {"r": 1}},
    ],
)
def test_what_the_description_forbids_is_refused(fields: dict[str, Any]) -> None:
    body = {"executionId": "id", "verificationStatus": "Success", **fields}
    assert errors_in("ExecuteTaskSyncResponse", body) != []
    with pytest.raises(UnexpectedResponseError):
        decode(body)


def test_a_status_and_the_id_of_a_final_state_are_needed_beyond_the_description() -> None:
    assert {name for name, schema in SCHEMAS.items() if "required" in schema} == {
        "Error",
        "ExecuteTaskRequest",
        "ExecuteApiTaskRequest",
    }
    with pytest.raises(UnexpectedResponseError, match="verificationStatus is missing"):
        decode({})
    with pytest.raises(ExecutionIdMismatchError):
        decode({"verificationStatus": "Success"})
    assert decode({"verificationStatus": "Running"}).verification_status is VerificationStatus.RUNNING
