from __future__ import annotations

import asyncio
import contextlib
import json
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import uvicorn

from examples import fastapi_service
from examples.fastapi_service import app
from tests.policies import FAST
from truebit_async import PollPolicy
from truebit_async.testing import Reply, Simulator


@pytest.fixture(autouse=True)
def _configured(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
    monkeypatch.setattr(fastapi_service, "POLICY", FAST)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        yield client


def messages(stream: str) -> list[tuple[str, dict[str, Any]]]:
    """Return the name and the data of each server-sent event."""
    fields = [dict(line.split(": ", 1) for line in block.splitlines()) for block in stream.strip().split("\n\n")]
    return [(field["event"], json.loads(field["data"])) for field in fields]


async def until_nobody_asks(simulator: Simulator) -> None:
    """Wait until no request has come for a while. A wait that is left over would ask every 0.01 s."""
    async with asyncio.timeout(5):
        asked = -1
        while asked != len(simulator.requests):
            asked = len(simulator.requests)
            await asyncio.sleep(0.2)


ENDS = {
    "worked": (Reply.success("1764"), 200, "1764"),
    "failed": (Reply.failed("oops"), 424, "agree that it failed"),
    "error": (Reply.execution("Error"), 424, "ended with an error"),
    "indeterminate": (Reply.execution("Indeterminate"), 409, "no consensus|nodes disagreed"),
    "missing": (Reply.error(404), 404, "answered 404"),
    "%01": (Reply.success("never asked for"), 400, "not an execution ID"),
    "no-key": (Reply.error(401), 500, "Check the API key"),
    "busy": (Reply.error(429), 503, "too many requests|answered 429"),
    "down": (Reply.error(503), 502, "answered 503"),
    "moved": (Reply.redirect("http://127.0.0.1:1/"), 502, "redirect"),
    "reset": (Reply.reset(), 502, "no response"),
    "hangs": (Reply.hang(), 504, "no complete response"),
    "slow": (Reply.running(), 504, "not verified within the deadline of 0.1 s"),
}
OTHER_STATUSES = {422}  # FastAPI's own: see the test of the deadline


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = attrs.evolve(FAST, request_timeout=0.5, max_consecutive_errors=1)
    monkeypatch.setattr(fastapi_service, "POLICY", policy)


every_end = pytest.mark.parametrize(
    ("execution_id", "reply", "status", "text"), [(id_, *end) for id_, end in ENDS.items()]
)


@pytest.mark.usefixtures("impatient")
@every_end
async def test_each_end_has_a_status(
    client: httpx.AsyncClient, simulator: Simulator, execution_id: str, reply: Reply, status: int, text: str
) -> None:
    simulator.script(execution_id, reply)
    answer = await client.get(f"/executions/{execution_id}", params={"deadline": 0.1} if execution_id == "slow" else {})
    assert answer.status_code == status
    body = answer.json()
    if status == 200:
        assert body == {"execution_id": execution_id, "output": text}
    else:
        assert re.search(text, body.pop("detail"))
        assert body == {}


@pytest.mark.usefixtures("impatient")
@every_end
async def test_each_end_ends_the_progress(
    client: httpx.AsyncClient, simulator: Simulator, execution_id: str, reply: Reply, status: int, text: str
) -> None:
    simulator.script(execution_id, reply)
    answer = await client.get(
        f"/executions/{execution_id}/progress", params={"deadline": 0.1} if execution_id == "slow" else {}
    )
    if status == 400:  # no wait begins, so there is nothing to stream
        assert answer.status_code == 400
        assert re.search(text, answer.json()["detail"])
        return
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    *progress, (name, end) = messages(answer.text)
    assert {name for name, _ in progress} <= {"Polled", "BackedOff"}
    assert name == "end"
    assert end.pop("status") == status
    assert re.search(text, end.pop("output" if status == 200 else "detail"))
    assert end == {}


def test_each_documented_status_has_its_row() -> None:
    documented = app.openapi()["paths"]["/executions/{execution_id}"]["get"]["responses"]
    assert {int(status) for status in documented} == {status for _, status, _ in ENDS.values()} | OTHER_STATUSES


@pytest.mark.parametrize("path", ["/executions/one", "/executions/one/progress"])
@pytest.mark.parametrize("deadline", ["0", "-1", "301", "inf", "nan", "soon"])
async def test_a_deadline_that_cannot_be(
    client: httpx.AsyncClient, simulator: Simulator, path: str, deadline: str
) -> None:
    assert (await client.get(path, params={"deadline": deadline})).status_code == 422
    assert not simulator.requests


async def test_the_service_is_stopped(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.add("one", status="Running")
    simulator.add("two", status="Running")
    async with asyncio.TaskGroup() as group:
        answer = group.create_task(client.get("/executions/one"))
        progress = group.create_task(client.get("/executions/two/progress"))
        while {request.execution_id for request in simulator.requests} < {"one", "two"}:
            await asyncio.sleep(0.001)
        await app.state.session.close()
    assert answer.result().status_code == 503
    assert messages(progress.result().text)[-1][1]["status"] == 503


async def test_progress_as_it_happens(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.script("one", Reply.running(), Reply.error(500), Reply.success("42"))
    first, pause, second, another_pause, third, end = messages((await client.get("/executions/one/progress")).text)
    assert [name for name, _ in (first, second, third)] == ["Polled"] * 3
    assert [data["status"] for _, data in (first, second, third)] == ["Running", None, "Success"]
    assert [data["error"] is None for _, data in (first, second, third)] == [True, False, True]
    assert all(data["seconds"] > 0 for _, data in (first, second, third))
    assert pause == ("BackedOff", {"seconds": pytest.approx(0.01), "polls": 1})
    assert another_pause == ("BackedOff", {"seconds": pytest.approx(0.01), "polls": 2})
    assert end == ("end", {"status": 200, "output": "42"})


async def test_several_clients_follow_at_once(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.add("one", polls=3, output="1")
    simulator.add("two", polls=1, output="2")
    of_one, of_one_too, of_two, plain = await asyncio.gather(
        client.get("/executions/one/progress"),
        client.get("/executions/one/progress"),
        client.get("/executions/two/progress"),
        client.get("/executions/one"),
    )
    assert messages(of_one.text) == messages(of_one_too.text)
    # One back-off between two polls, however many wait.
    assert [name for name, _ in messages(of_one.text)] == [*["Polled", "BackedOff"] * 3, "Polled", "end"]
    assert [name for name, _ in messages(of_two.text)] == ["Polled", "BackedOff", "Polled", "end"]
    assert messages(of_two.text)[-1][1]["output"] == "2"
    assert plain.json()["output"] == "1"
    assert len(simulator.requests) == 4 + 2


async def test_a_pause_is_streamed(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.script("one", Reply.error(429, "slow down", retry_after=0.05), Reply.success("42"))
    seen = messages((await client.get("/executions/one/progress")).text)
    assert [name for name, _ in seen] == ["Polled", "Paused", "BackedOff", "Polled", "end"]
    assert [data for name, data in seen if name == "Paused"] == [{"seconds": 0.05}]


async def test_a_bug_ends_the_stream(
    client: httpx.AsyncClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> float:
        raise ZeroDivisionError

    simulator.add("one", status="Running")
    monkeypatch.setattr(app.state.session, "watch", partial(app.state.session.watch, policy=PollPolicy(wait=broken)))
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        await client.get("/executions/one/progress")


# Over real HTTP


@pytest.fixture
async def url() -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, timeout_graceful_shutdown=1))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.001)
    host, port = server.servers[0].sockets[0].getsockname()
    yield f"http://{host}:{port}"
    server.should_exit = True
    await serving


async def test_a_client_that_disconnects_leaves_nothing_behind(url: str, simulator: Simulator) -> None:
    simulator.add("never", status="Running")
    async with httpx.AsyncClient(base_url=url) as client:
        await client.get("/executions/missing")  # so that the tasks of connections that stay open are there
        tasks = asyncio.all_tasks()
        async with contextlib.AsyncExitStack() as streams:
            read = []  # what is dropped here would close its stream
            for _ in range(3):
                stream = await streams.enter_async_context(client.stream("GET", "/executions/never/progress"))
                read.append(lines := stream.aiter_lines())
                assert (await anext(lines)).startswith("event: ")  # now, not when all is over
        await until_nobody_asks(simulator)
        assert asyncio.all_tasks() <= tasks


async def test_one_leaves_and_the_other_stays(url: str, simulator: Simulator) -> None:
    simulator.add("one", status="Running")
    async with httpx.AsyncClient(base_url=url) as client:
        staying = asyncio.create_task(client.get("/executions/one/progress"))
        while not simulator.requests:
            await asyncio.sleep(0.001)
        async with client.stream("GET", "/executions/one/progress") as leaving:
            lines = leaving.aiter_lines()
            assert (await anext(lines)).startswith("event: ")
        await asyncio.sleep(0.05)
        assert not staying.done()
        simulator.add("one", output="1764")
        assert messages((await staying).text)[-1] == ("end", {"status": 200, "output": "1764"})


@pytest.mark.full
async def test_as_the_docstring_says(example: Path, simulator: Simulator, environment: dict[str, str]) -> None:
    simulator.add("success-18", output="324")
    simulator.add("never", status="Running")
    documented = re.search(r"uvicorn (.*) &", fastapi_service.__doc__ or "")
    assert documented is not None
    options = documented.group(1).replace("shutdown 5", "shutdown 1").split()  # to see it done, a second is enough
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "uvicorn", *options, "--port", "0"],
        cwd=example.parents[1],
        stderr=PIPE,
        env=environment,
    )
    try:
        assert process.stderr is not None
        while not (announced := re.search(rb"http://127\.0\.0\.1:\d+", await process.stderr.readline())):
            pass
        async with httpx.AsyncClient(base_url=announced.group().decode()) as client:
            assert (await client.get("/executions/success-18")).json()["output"] == "324"
            async with client.stream("GET", "/executions/never/progress") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: Polled"
                process.send_signal(signal.SIGTERM)  # which a stream does not hold up for longer than it says
                assert await asyncio.wait_for(process.wait(), 10) in {0, -signal.SIGTERM}
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
