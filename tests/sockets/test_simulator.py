"""The Simulator, asked by a plain HTTP client."""

from __future__ import annotations

import asyncio
import io
import json
import math
import socket
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import aiohttp
import pytest
from aiohttp import web

from truebit_async.testing import Reply, Simulator

PATH = "/task/function/execution-status/"


@pytest.fixture
async def http(simulator: Simulator) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(simulator.url) as http:
        http._retry_connection = False  # a reset must show
        yield http


async def ask(http: aiohttp.ClientSession, execution_id: str) -> tuple[int, Any]:
    async with http.get(PATH + execution_id, allow_redirects=False) as response:
        return response.status, await response.json()


async def statuses(http: aiohttp.ClientSession, execution_id: str, count: int) -> list[str]:
    return [(await ask(http, execution_id))[1]["verificationStatus"] for _ in range(count)]


async def test_an_execution_runs_for_so_many_polls(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.add("id", polls=2, output="7")
    assert await statuses(http, "id", 2) == ["Running", "Running"]
    for _ in range(2):
        status, body = await ask(http, "id")
        assert (status, body.pop("signature").keys()) == (200, {"v", "r", "s"})
        assert body.pop("clearTextSolution") == {
            "output": "7",
            "executionStatus": "succeed",
            "senderAddress": "0x" + "5a" * 20,
        }
        assert body == {"executionId": "id", "verificationStatus": "Success"}


@pytest.mark.virtual_time
async def test_an_execution_runs_for_so_long(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.add("id", running_for=60, status="Indeterminate")
    assert await statuses(http, "id", 1) == ["Running"]
    await asyncio.sleep(59.9)
    assert await statuses(http, "id", 1) == ["Running"]
    await asyncio.sleep(0.1)
    assert await statuses(http, "id", 1) == ["Indeterminate"]
    simulator.add("asked about late", running_for=60)
    await asyncio.sleep(60)
    assert await statuses(http, "asked about late", 1) == ["Success"]


@pytest.mark.virtual_time
async def test_an_execution_of_a_simulator_that_does_not_run_yet_begins_with_the_first_request() -> None:
    simulator = Simulator()
    simulator.add("id", running_for=60)
    await asyncio.sleep(100)
    async with simulator, aiohttp.ClientSession(simulator.url) as http:
        assert await statuses(http, "id", 1) == ["Running"]
        await asyncio.sleep(60)
        assert await statuses(http, "id", 1) == ["Success"]


@pytest.mark.virtual_time
async def test_an_execution_added_between_two_runs_begins_with_the_first_request() -> None:
    async with Simulator() as simulator:
        pass
    simulator.add("id", running_for=60)
    await asyncio.sleep(100)
    async with simulator, aiohttp.ClientSession(simulator.url) as http:
        assert await statuses(http, "id", 1) == ["Running"]


@pytest.mark.parametrize("status", ["Indeterminate", "Error", "Running"])
async def test_only_a_success_has_a_solution(
    simulator: Simulator, http: aiohttp.ClientSession, status: Literal["Indeterminate", "Error", "Running"]
) -> None:
    simulator.add("id", status=status)
    assert await ask(http, "id") == (200, {"executionId": "id", "verificationStatus": status})


@pytest.mark.parametrize(("execution_status", "output"), [("succeed", "42"), ("failed", "")])
async def test_default_outputs(
    simulator: Simulator, http: aiohttp.ClientSession, execution_status: Literal["succeed", "failed"], output: str
) -> None:
    simulator.add("id", execution_status=execution_status)
    _, body = await ask(http, "id")
    assert body["clearTextSolution"]["executionStatus"] == execution_status
    assert body["clearTextSolution"]["output"] == output


async def test_a_script_is_played_and_its_last_reply_repeated(
    simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    simulator.script("id", Reply.running(), Reply.error(503, "down", retry_after=1), Reply.failed("no"))
    assert (await ask(http, "id"))[1]["verificationStatus"] == "Running"
    async with http.get(PATH + "id") as response:
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert await response.json() == {"message": "down"}
    for _ in range(2):
        assert (await ask(http, "id"))[1]["clearTextSolution"]["output"] == "no"


def test_a_script_needs_a_reply() -> None:
    with pytest.raises(ValueError, match="at least one reply"):
        Simulator().script("id")


async def test_what_nobody_added_is_a_404(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    assert await ask(http, "id") == (404, {"message": "execution id was not found"})


@pytest.mark.parametrize("path", ["/", PATH, PATH + "a/b", "/task/api/execution-status/", "/other"])
async def test_there_is_no_other_endpoint(simulator: Simulator, http: aiohttp.ClientSession, path: str) -> None:
    simulator.add("id")
    async with http.get(path) as response:
        assert (response.status, await response.json()) == (404, {"message": "no such endpoint"})
    assert simulator.requests[0].execution_id is None
    assert simulator.requests[0].path == path


async def test_it_can_only_be_read(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.add("id")
    async with http.post(PATH + "id") as response:
        assert (response.status, response.headers["Allow"]) == (405, "GET")


async def test_an_id_may_have_line_breaks(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.add("a\nb")
    assert (await ask(http, "a%0Ab"))[0] == 200


async def test_a_client_that_has_gone_is_no_error(
    simulator: Simulator, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
        msg = "Cannot write to closing transport"
        raise aiohttp.ClientConnectionResetError(msg)

    simulator.script("id", Reply("gone", send))
    async with http.get(PATH + "id"):
        pass
    assert caplog.records == []


async def test_requests_are_recorded(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    clock = asyncio.get_running_loop().time
    before = clock()
    async with http.get(PATH + "a%2Fb", headers={"X-Api-Key": "secret"}):
        pass
    (request,) = simulator.requests
    assert before <= request.time <= clock()
    assert request.path == PATH + "a%2Fb"
    assert request.execution_id == "a/b"
    assert request.headers["x-api-key"] == "secret"
    assert "secret" not in repr(request)


@pytest.mark.virtual_time
async def test_a_limited_rate(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.add("id")
    simulator.limit_rate(2)
    answers = []
    for _ in range(3):
        async with http.get(PATH + "id") as response:
            answers.append((response.status, response.headers.get("Retry-After")))
    assert answers == [(200, None), (200, None), (429, "1")]
    await asyncio.sleep(1)
    assert (await ask(http, "id"))[0] == 200


# Faults


async def test_signatures_in_either_place(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.execution("Success", "1", signature="inside"), Reply.execution("Success", "1"))
    inside, beside = (await ask(http, "id"))[1], (await ask(http, "id"))[1]
    assert inside["clearTextSolution"].pop("signature") == beside.pop("signature")
    assert inside == beside


async def test_a_wrong_id(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.wrong_id("other"))
    assert (await ask(http, "id"))[1]["executionId"] == "other"


async def test_a_redirect(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.redirect("https://elsewhere.example/", 307))
    async with http.get(PATH + "id", allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (307, "https://elsewhere.example/")


async def test_raw_bytes(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.raw(299, b"\xff", {"X-Request-Id": "7"}, content_type="text/html"))
    async with http.get(PATH + "id") as response:
        assert (response.status, await response.read(), response.headers["X-Request-Id"]) == (299, b"\xff", "7")
        assert response.content_type == "text/html"


async def test_a_reset(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.reset())
    with pytest.raises(aiohttp.ClientOSError) as caught:
        await ask(http, "id")
    assert caught.value.errno == 104


async def test_garbage(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.garbage())
    with pytest.raises(aiohttp.ClientResponseError):
        await ask(http, "id")


async def test_a_cut_off_body(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.cut_off())
    with pytest.raises(aiohttp.ClientPayloadError):
        await ask(http, "id")


async def test_a_slow_body_arrives_in_the_end(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.script("id", Reply.slow(0.1, "late"))
    started = time.monotonic()
    assert (await ask(http, "id"))[1]["clearTextSolution"]["output"] == "late"
    assert time.monotonic() - started >= 0.1


async def test_a_hang_does_not_outlive_the_simulator() -> None:
    async with Simulator() as simulator, aiohttp.ClientSession() as http:
        simulator.script("id", Reply.hang())
        request = asyncio.create_task(http.get(simulator.url + PATH + "id"))
        while not simulator.requests:
            await asyncio.sleep(0.001)
        started = time.monotonic()
        await simulator.__aexit__(None, None, None)
        assert time.monotonic() - started < 1
        with pytest.raises(aiohttp.ClientError):
            await request


# Life cycle


async def test_it_takes_the_port_it_is_given() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    async with Simulator(port=port) as simulator:
        assert simulator.url == f"http://127.0.0.1:{port}"
        with pytest.raises(OSError, match="in use"):
            await Simulator(port=port).__aenter__()


async def test_without_running_it_has_no_url() -> None:
    simulator = Simulator()
    with pytest.raises(RuntimeError, match="async with Simulator"):
        _ = simulator.url
    async with simulator:
        assert simulator.url.startswith("http://127.0.0.1:")
    with pytest.raises(RuntimeError, match="async with Simulator"):
        _ = simulator.url


async def test_it_can_be_started_again() -> None:
    simulator = Simulator()
    simulator.add("id")
    for _ in range(2):
        async with simulator, aiohttp.ClientSession(simulator.url) as http:
            assert (await ask(http, "id"))[0] == 200


# Submissions


SUBMIT = "/task/{}/execute-by-name"
FUNCTION = {
    "namespace": "ns",
    "taskName": "task",
    "input": "7",
    "totalSolutions": 3,
    "requiredSolutions": 2,
    "taskRequesterTimestamp": 1_710_262_226,
    "async": True,
}
API = {
    "namespace": "ns",
    "taskName": "task",
    "input": {"path": "/", "params": {"a": 1}},
    "executionTimeout": 10_000,
    "async": True,
}


async def submit(http: aiohttp.ClientSession, kind: str, body: object, key: str = "key") -> tuple[int, Any]:
    data = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    async with http.post(SUBMIT.format(kind), data=data, headers={"x-api-key": key} if key else {}) as response:
        return response.status, await response.json()


async def test_a_submitted_function_runs(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.deploy_function("ns", "task", lambda text: text * 2, polls=1)
    full = FUNCTION | {"label": "latest", "version": 1, "gasLimit": "100", "executionTimeout": 1000, "async": False}
    for body in (FUNCTION, full):
        status, reply = await submit(http, "function", body)
        assert (status, reply.keys()) == (200, {"executionId"})
        assert await statuses(http, reply["executionId"], 1) == ["Running"]
        assert (await ask(http, reply["executionId"]))[1]["clearTextSolution"]["output"] == "77"
    assert simulator.requests[0].kind == "function"
    assert (simulator.requests[0].method, json.loads(simulator.requests[0].body)) == ("POST", FUNCTION)


@pytest.mark.parametrize("kind", ["function", "api"])
async def test_a_run_that_raises_has_failed(simulator: Simulator, http: aiohttp.ClientSession, kind: str) -> None:
    simulator.deploy_function("ns", "task", lambda _: str(1 // 0))
    simulator.deploy_api("ns", "task", lambda call: {"a": call["missing"]})
    _, reply = await submit(http, kind, FUNCTION if kind == "function" else API)
    async with http.get(f"/task/{kind}/execution-status/{reply['executionId']}") as response:
        solution = (await response.json())["clearTextSolution"]
    assert solution["executionStatus" if kind == "function" else "status"] == "failed"
    assert not solution["output"]


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("function", b"{", "the body is not JSON"),
        ("function", b"[]", "the body is not an object"),
        ("function", b"[" * 100_000, "the body is not JSON"),
        ("function", FUNCTION | {"version": True}, "version is not known"),
        ("function", FUNCTION | {"taskName": "other"}, "there is no such task"),
        ("api", API | {"namespace": "other"}, "there is no such task"),
        ("function", FUNCTION | {"namespace": ""}, "namespace is missing"),
        ("function", FUNCTION | {"async": 1}, "async is missing"),
        ("function", FUNCTION | {"input": {}}, "input is missing"),
        ("function", FUNCTION | {"totalSolutions": 2**32}, "totalSolutions is missing"),
        ("function", FUNCTION | {"requiredSolutions": 4}, "requiredSolutions must not exceed"),
        ("function", FUNCTION | {"gasLimit": 1}, "gasLimit is not known"),
        ("function", FUNCTION | {"version": None}, "version is not known"),
        ("api", API | {"gasLimit": "1"}, "gasLimit is not known"),
        ("api", API | {"executionTimeout": 0.5}, "executionTimeout is missing"),
        ("api", API | {"input": {"url": "/"}}, "input is missing"),
    ],
)
async def test_a_bad_submission_is_a_400(
    simulator: Simulator, http: aiohttp.ClientSession, kind: str, body: object, said: str
) -> None:
    simulator.deploy_function("ns", "task", str)
    simulator.deploy_api("ns", "task", dict)
    status, reply = await submit(http, kind, body)
    assert status == 400
    assert reply["message"].startswith(said)


@pytest.mark.parametrize("output", [None, 7, b"x", {"a": {1}}, {"a": math.nan}, [1]])
@pytest.mark.parametrize("kind", ["function", "api"])
async def test_what_is_no_output_makes_a_run_fail(
    simulator: Simulator, http: aiohttp.ClientSession, kind: str, output: Any
) -> None:
    simulator.deploy_function("ns", "task", lambda _: output)
    simulator.deploy_api("ns", "task", lambda _: output)
    _, reply = await submit(http, kind, FUNCTION if kind == "function" else API)
    async with http.get(f"/task/{kind}/execution-status/{reply['executionId']}") as response:
        solution = (await response.json())["clearTextSolution"]
    assert solution["executionStatus" if kind == "function" else "status"] == "failed"


def test_a_coroutine_function_cannot_be_deployed() -> None:
    async def run(_: Any) -> Any: ...

    with pytest.raises(TypeError, match="must be a plain function"):
        Simulator().deploy_function("ns", "task", run)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="must be a plain function"):
        Simulator().deploy_api("ns", "task", run)  # type: ignore[arg-type]


async def test_a_large_input_and_a_body_that_cannot_be_read(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.deploy_function("ns", "task", lambda text: str(len(text)))
    assert (await submit(http, "function", FUNCTION | {"input": "x" * 2**22}))[0] == 200
    async with http.post(SUBMIT.format("function"), data=b"no gzip", headers={"Content-Encoding": "gzip"}) as response:
        assert response.status == 400


async def test_other_refusals_of_submissions(simulator: Simulator, http: aiohttp.ClientSession) -> None:
    simulator.deploy_function("ns", "task", str)
    assert (await submit(http, "function", FUNCTION, key=""))[0] == 401
    async with http.get(SUBMIT.format("function")) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")
    simulator.script_submissions(Reply.error(402))
    assert [(await submit(http, "function", FUNCTION))[0] for _ in range(2)] == [402, 200]
    simulator.limit_rate(0)
    assert (await submit(http, "function", FUNCTION))[0] == 429
