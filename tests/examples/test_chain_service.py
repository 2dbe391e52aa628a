from __future__ import annotations

import asyncio
import json
import re
import signal
import sqlite3
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import pytest

from examples import chain_service
from examples.chain_service import app
from tests.policies import FAST
from truebit_async import TruebitSession
from truebit_async.cli.scenarios import add_scenarios
from truebit_async.testing import Reply, Simulator

NAME = {"Idempotency-Key": "one"}
CHECK = "/orders/2/check"


@pytest.fixture(autouse=True)
def _configured(simulator: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
    monkeypatch.setenv("TRUEBIT_API_KEY", "any")
    monkeypatch.setattr(chain_service, "TruebitSession", partial(TruebitSession, policy=FAST))
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.sqlite"))
    add_scenarios(simulator)


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://it") as client:
        yield client


def submitted(simulator: Simulator) -> list[str]:
    return [json.loads(request.body)["taskName"] for request in simulator.requests if request.method == "POST"]


def fail(_: object) -> dict[str, object]:
    raise LookupError


async def test_the_output_of_one_is_the_input_of_the_other(client: httpx.AsyncClient, simulator: Simulator) -> None:
    response = await client.post(CHECK, headers=NAME)
    assert response.status_code == 200
    answer = response.json()
    assert answer["is_shipped"] is True
    assert len(set(answer["executions"].values())) == 2
    assert submitted(simulator) == ["order", "shipped"]
    (body,) = (
        json.loads(request.body) for request in simulator.requests if request.kind == "function" and request.body
    )
    assert json.loads(body["input"]) == {"id": 2, "state": "shipped"}


async def test_a_text_that_says_false_is_false(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.deploy_api("demo", "order", lambda _: {"state": "open"})
    assert (await client.post(CHECK, headers=NAME)).json()["is_shipped"] is False


async def test_a_request_that_is_repeated_is_paid_once(client: httpx.AsyncClient, simulator: Simulator) -> None:
    answers = await asyncio.gather(*(client.post(CHECK, headers=NAME) for _ in range(5)))
    answers.append(await client.post(CHECK, headers=NAME))
    assert {json.dumps(answer.json()) for answer in answers} == {json.dumps(answers[0].json())}
    assert submitted(simulator) == ["order", "shipped"]
    other = await client.post("/orders/3/check", headers=NAME)
    assert other.json()["executions"] != answers[0].json()["executions"]


async def test_what_nobody_knows_of_is_not_repeated(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.script_submissions(Reply.reset(), kind="api")
    for _ in range(2):
        response = await client.post(CHECK, headers=NAME)
        assert (response.status_code, response.json()["may_have_run"]) == (409, True)
    assert submitted(simulator) == ["order"]


async def test_what_was_refused_may_be_repeated(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.script_submissions(Reply.error(402), kind="api")
    response = await client.post(CHECK, headers=NAME)
    assert (response.status_code, response.json()["may_have_run"]) == (502, False)
    assert (await client.post(CHECK, headers=NAME)).status_code == 200
    assert submitted(simulator) == ["order", "order", "shipped"]


async def test_a_call_that_failed_goes_no_further(client: httpx.AsyncClient, simulator: Simulator) -> None:
    simulator.deploy_api("demo", "order", fail)
    response = await client.post(CHECK, headers=NAME)
    assert response.status_code == 424
    assert submitted(simulator) == ["order"]


async def test_a_result_that_is_long_in_coming(
    client: httpx.AsyncClient, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain_service, "DEADLINE", 0.2)
    simulator.deploy_api("demo", "order", lambda _: {"state": "shipped"}, running_for=0.4)
    assert (await client.post(CHECK, headers=NAME)).status_code == 504
    monkeypatch.setattr(chain_service, "DEADLINE", 10)
    assert (await client.post(CHECK, headers=NAME)).json()["is_shipped"] is True
    assert submitted(simulator) == ["order", "shipped"]


async def test_a_request_needs_a_name(client: httpx.AsyncClient, simulator: Simulator) -> None:
    assert (await client.post(CHECK)).status_code == 422
    assert not simulator.requests


@pytest.mark.full
async def test_as_the_docstring_says_and_killed_meanwhile(
    example: Path, simulator: Simulator, environment: dict[str, str], tmp_path: Path
) -> None:
    documented = re.search(r"uvicorn (\S+) &", chain_service.__doc__ or "")
    assert documented is not None

    async def serve() -> tuple[asyncio.subprocess.Process, str]:
        command = [sys.executable, "-m", "uvicorn", documented.group(1), "--port", "0"]
        process = await asyncio.create_subprocess_exec(*command, cwd=example.parents[1], stderr=PIPE, env=environment)
        assert process.stderr is not None
        while not (announced := re.search(rb"http://127\.0\.0\.1:\d+", await process.stderr.readline())):
            pass
        return process, announced.group().decode()

    simulator.deploy_api("demo", "order", lambda _: {"state": "shipped"}, running_for=2)
    process, url = await serve()
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        lost = asyncio.create_task(client.post(CHECK, headers=NAME))
        while len(simulator.requests) < 2:
            await asyncio.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            await lost
    await process.wait()
    process, url = await serve()
    async with httpx.AsyncClient(base_url=url, timeout=30) as client:
        assert (await client.post(CHECK, headers=NAME)).json()["is_shipped"] is True
    process.terminate()
    await process.wait()
    assert submitted(simulator) == ["order", "shipped"]
    with closing(sqlite3.connect(tmp_path / "ledger.sqlite")) as database:
        rows = database.execute("SELECT step FROM steps ORDER BY step").fetchall()
    assert rows == [("one/2/check",), ("one/2/order",)]
