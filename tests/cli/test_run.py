"""``truebit-async run``, in this process against a Simulator in another thread."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import Ran, Run
from truebit_async import TruebitSession
from truebit_async.testing import Reply, Simulator

KEY = "key-5eC4e7"
FUNCTION = ("run", "function", "ns/square", "--total-solutions", "3", "--required-solutions", "2", "--input")
API = ("run", "api", "ns/order")


@pytest.fixture(autouse=True)
def tasks(server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", KEY)
    server.deploy_function("ns", "square", lambda text: str(int(text) ** 2), polls=1)
    server.deploy_api("ns", "order", lambda call: call)


def bodies(server: Simulator) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests if request.method == "POST"]


def output(ran: Ran) -> Any:
    assert ran.code == 0, ran.err
    return json.loads(ran.out)["clearTextSolution"]["output"]


def test_a_function_task(run: Run, server: Simulator) -> None:
    ran = run(*FUNCTION, "7")
    assert output(ran) == "49"
    execution_id = json.loads(ran.out)["executionId"]
    assert ran.err == f"truebit-async: submitted; the execution ID is {execution_id}\n"
    assert bodies(server)[0].keys() == {
        "namespace", "taskName", "input", "totalSolutions", "requiredSolutions", "taskRequesterTimestamp", "async"
    }  # fmt: skip


def test_all_options_of_a_function_task(run: Run, server: Simulator) -> None:
    run(*FUNCTION, "7", "--gas-limit", "1000", "--execution-timeout", "1m", "--label", "new", "--task-version", "1.2")
    (body,) = bodies(server)
    assert body.pop("taskRequesterTimestamp") > 0
    assert body == {
        "namespace": "ns",
        "taskName": "square",
        "input": "7",
        "totalSolutions": 3,
        "requiredSolutions": 2,
        "gasLimit": "1000",
        "executionTimeout": 60_000,
        "label": "new",
        "version": "1.2",
        "async": True,
    }


def test_the_input_from_a_file_and_from_stdin(run: Run, server: Simulator, tmp_path: Path) -> None:
    (tmp_path / "input.txt").write_text("8\n")
    assert output(run(*FUNCTION, f"@{tmp_path}/input.txt")) == "64"
    assert output(run(*FUNCTION, "@-", stdin=b"9")) == "81"
    assert [body["input"] for body in bodies(server)] == ["8\n", "9"]


def test_an_api_task(run: Run, server: Simulator, tmp_path: Path) -> None:
    (tmp_path / "token.txt").write_text("s3cret\n")
    ran = run(
        *API, "--path", "/a/{b}", "--method", "POST", "--param", "text=1=2", "--param", "count:=[1, null]",
        "--param", f"token=@{tmp_path}/token.txt", "--header", "A:=b", "--execution-timeout", "5s", "-v",
    )  # fmt: skip
    sent = {
        "path": "/a/{b}",
        "method": "POST",
        "params": {"text": "1=2", "count": [1, None], "token": "s3cret"},
        "headers": {"A:": "b"},
    }
    assert output(ran) == sent
    assert bodies(server)[0]["input"] == sent
    assert bodies(server)[0]["executionTimeout"] == 5000
    assert "s3cret" not in ran.err
    assert json.loads(ran.out)["status"] == "Success"


def test_an_api_task_without_options(run: Run, server: Simulator) -> None:
    assert output(run(*API)) == {}
    assert bodies(server)[0]["executionTimeout"] == 30_000


def test_without_waiting(run: Run, server: Simulator) -> None:
    ran = run(*FUNCTION, "7", "--no-wait")
    execution_id = json.loads(ran.out)["executionId"]
    assert (ran.code, ran.err) == (0, f"truebit-async: submitted; the execution ID is {execution_id}\n")
    assert output(run("wait", execution_id)) == "49"
    assert sum(request.method == "POST" for request in server.requests) == 1


def test_a_run_that_fails(run: Run) -> None:
    ran = run(*FUNCTION, "no number")
    assert ran.code == 1
    assert json.loads(ran.out)["clearTextSolution"]["executionStatus"] == "failed"
    assert "truebit-async: execution" in ran.err.splitlines()[-1]


class Full(io.StringIO):
    """A stream to a full disk."""

    def write(self, _: str) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("option", [[], ["--no-wait"]])
def test_streams_that_cannot_be_written_do_not_lose_the_id(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    for stream, code in ("stderr", 0), ("stdout", 3):
        with monkeypatch.context() as patch:
            patch.setattr(sys, stream, Full())
            ran = run(*FUNCTION, "7", *option)
            assert ran.code == code
            assert ("executionId" in ran.out) or ("the execution ID is" in ran.err)
    assert len(bodies(server)) == 2


def test_nobody_reads_the_id(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Broken())
    ran = run(*FUNCTION, "7", "--no-wait")
    assert ran.code == 3
    assert ran.err.endswith("truebit-async: nobody reads stdout\n")


def test_what_the_dispatcher_refuses(run: Run, server: Simulator) -> None:
    ran = run("run", "function", "ns/other", *FUNCTION[3:], "7")
    assert (ran.code, ran.out) == (5, "")
    assert "400 ('there is no such task')" in ran.err
    assert "The task was not submitted." in ran.err
    server.script_submissions(Reply.reset())
    ran = run(*FUNCTION, "7")
    assert (ran.code, ran.out) == (4, "")
    assert "submit it again only if it may run twice" in ran.err
    assert "not submitted" not in ran.err
    assert len(bodies(server)) == 2


def test_a_deadline_names_the_execution(run: Run, server: Simulator) -> None:
    server.deploy_function("ns", "square", str, running_for=60)
    ran = run(*FUNCTION, "7", "--deadline", "1")
    assert ran.code == 3
    assert ran.err.splitlines()[0].split()[-1] in ran.err.splitlines()[1]


def test_without_a_key(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUEBIT_API_KEY")
    ran = run(*FUNCTION, "7")
    assert (ran.code, ran.out) == (2, "")
    assert "Set TRUEBIT_API_KEY, or give --api-key-file" in ran.err
    assert not server.requests


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["run", "function", "square", *FUNCTION[3:], "7"], "NAMESPACE/NAME"),
        (["run", "function", "/square", *FUNCTION[3:], "7"], "NAMESPACE/NAME"),
        ([*FUNCTION[:6], "4", "--input", "s3cret"], "--required-solutions must be at most --total-solutions"),
        ([*FUNCTION[:4], "0", *FUNCTION[5:], "s3cret"], "'--total-solutions': '0' is not a whole number above zero"),
        ([*FUNCTION, "7", "--gas-limit", "0"], "'--gas-limit': '0' is not a whole number above zero"),
        ([*FUNCTION, "7", "--label", ""], "--label must not be empty"),
        ([*FUNCTION, "@/nowhere/input.txt"], "--input: cannot read /nowhere/input.txt: No such file"),
        ([*FUNCTION, f"@{sys.executable}"], "is not UTF-8"),
        ([*API, "--param", "s3cret"], "--param number 1: write it as NAME=VALUE"),
        ([*API, "--param", "=s3cret"], "--param number 1: write it as NAME=VALUE"),
        ([*API, "--param", "a=1", "--param", "a=s3cret"], "--param number 2: 'a' was given before"),
        ([*API, "--param", "a:=s3cret"], "what follows := is not JSON"),
        ([*API, "--param", "a:=NaN"], "--param must be JSON"),
        ([*API, "--header", "a=@/nowhere"], "--header number 1: cannot read /nowhere"),
        (["run", "other", "ns/square"], "No such command"),
        (["run"], "function"),
    ],
)
def test_wrong_usage(run: Run, server: Simulator, arguments: list[str], text: str) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert text in ran.prose + ran.out
    assert "s3cret" not in ran.out + ran.err
    assert not server.requests


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        ("sent", "may have arrived"),
        ("running", "goes on, and can be waited for"),
        pytest.param("refused", "The task was not submitted.", marks=pytest.mark.full),  # it really waits
    ],
)
def test_ctrl_c(run: Run, server: Simulator, moment: str, text: str) -> None:
    server.deploy_function("ns", "square", str, running_for=60)
    if moment == "sent":
        server.script_submissions(Reply.hang())
    elif moment == "refused":
        server.script_submissions(Reply.error(429, retry_after=60))

    def interrupt() -> None:
        while len(server.requests) < (2 if moment == "running" else 1):
            time.sleep(0.01)
        if moment == "refused":
            time.sleep(1)  # for the response
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = run(*FUNCTION, "7")
    thread.join()
    assert (ran.code, ran.out) == (130, "")
    assert text in ran.err
    assert ran.err.endswith("truebit-async: interrupted\n")


def test_ctrl_c_after_the_result_does_not_say_that_nothing_was_submitted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_closing = threading.Event()

    really_close = TruebitSession.close

    async def close(session: TruebitSession) -> None:
        await really_close(session)
        is_closing.set()
        await asyncio.sleep(20)

    def interrupt() -> None:
        is_closing.wait(20)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TruebitSession, "close", close)
    thread = threading.Thread(target=interrupt)
    thread.start()
    ran = run(*FUNCTION, "7")
    thread.join()
    assert (ran.code, json.loads(ran.out)["verificationStatus"]) == (130, "Success")
    assert "not submitted" not in ran.err
