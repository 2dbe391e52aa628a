"""Whatever fails, whenever a batch of tasks is left or its process is killed: no task is submitted twice."""

from __future__ import annotations

import asyncio
import functools
import json
import random
import signal
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from tenacity import wait_fixed

from truebit_async import FunctionTask, PollPolicy, TruebitSession, errors
from truebit_async.checkpoint import Checkpoint, SubmissionState, read_checkpoint
from truebit_async.testing import Reply, Simulator, VirtualTimeLoop

POLICY = PollPolicy(wait=wait_fixed(1), deadline=20, request_timeout=2, max_consecutive_errors=3)
ACCEPTED = None
REFUSALS = {429: Reply.error(429), 400: Reply.error(400), 402: Reply.error(402)}
FAULTS = [
    Reply.reset(),
    Reply.hang(),
    Reply.cut_off(),
    Reply.garbage(),
    Reply.error(500),
    Reply.error(408),
    Reply.raw(200, b"{}"),
    Reply.redirect("https://elsewhere.example/"),
]


def square(number: int) -> FunctionTask:
    return FunctionTask("ns", "square", str(number), total_solutions=1, required_solutions=1)


async def run_once(
    simulator: Simulator, checkpoint: Checkpoint[Any], seconds: float | None, concurrency: int
) -> set[str | int | None]:
    """Run a batch of ten tasks, or a part of it. Return the indexes of the tasks whose submission is uncertain."""
    uncertain: set[str | int | None] = set()
    async with TruebitSession(simulator.url, api_key="key", policy=POLICY, max_concurrency=concurrency) as session:
        try:
            async with asyncio.timeout(seconds):
                async for outcome in session.functions.run_many(map(square, range(10)), checkpoint=checkpoint):
                    if outcome.error is not None and outcome.error.may_have_run:
                        uncertain.add(outcome.tag)
        except (TimeoutError, errors.PaymentRequiredError):
            pass
    return uncertain


@given(
    replies=st.lists(st.sampled_from([ACCEPTED, *REFUSALS.values(), *FAULTS]), max_size=25),
    stops=st.lists(st.floats(0, 6), max_size=4),
    concurrency=st.integers(1, 4),
)
def test_no_task_is_submitted_twice_whatever_fails_and_whenever_a_run_is_left(
    replies: list[Reply | None], stops: list[float], concurrency: int
) -> None:
    async def begin() -> Simulator:
        simulator = await Simulator().__aenter__()
        simulator.deploy_function("ns", "square", str, polls=1)
        number = iter(range(1000))
        for reply in replies:
            execution_id = f"accepted-{next(number)}"
            if reply is None:
                simulator.add(execution_id, polls=1)
                reply = Reply.raw(200, json.dumps({"executionId": execution_id}).encode())  # noqa: PLW2901
            simulator.script_submissions(reply)
        return simulator

    with tempfile.TemporaryDirectory() as folder, asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        path = Path(folder, "results.jsonl")
        simulator = runner.run(begin())
        for seconds in [*stops, *[None] * 30]:
            with Checkpoint(path, resume=True) as checkpoint:
                uncertain = runner.run(run_once(simulator, checkpoint, seconds, concurrency))
                seen = len(simulator.requests)
            with Checkpoint(path, resume=True) as checkpoint:
                final, submissions = checkpoint.final, checkpoint.submissions
            done = {tag for tag, submission in submissions.items() if submission.execution_id in final}
            if seconds is None and done | uncertain == set(range(10)):
                break
        else:
            pytest.fail(f"{seen} requests, and some tasks were never submitted")
        runner.run(simulator.__aexit__(None, None, None))
    arrived = Counter[int]()
    posts = [request for request in simulator.requests if request.method == "POST"]
    for index, request in enumerate(posts):
        reply = replies[index] if index < len(replies) else ACCEPTED
        if reply not in REFUSALS.values():
            arrived[int(json.loads(request.body)["input"])] += 1
    assert arrived == Counter(range(10))
    assert not done & uncertain


WORKER = """
import asyncio, sys
from tenacity import wait_fixed
from truebit_async import FunctionTask, PollPolicy, TruebitSession
from truebit_async.checkpoint import Checkpoint

async def main(checkpoint):
    tasks = (FunctionTask("ns", "t", str(n), total_solutions=1, required_solutions=1) for n in range(int(sys.argv[3])))
    policy = PollPolicy(wait=wait_fixed(0.05))
    async with TruebitSession(sys.argv[1], api_key="key", policy=policy, max_concurrency=8) as session:
        print("ready", flush=True)
        async for outcome in session.functions.run_many(tasks, checkpoint=checkpoint):
            print(outcome.tag, type(outcome.error).__name__, flush=True)

with Checkpoint(sys.argv[2], resume=True) as checkpoint:
    asyncio.run(main(checkpoint))
"""


class SlowDispatcher:
    """Takes its time, and counts how often each input arrives."""

    def __init__(self) -> None:
        self.arrived = Counter[str]()
        self.polled_early: list[str] = []
        self._finished_at: dict[str, float] = {}
        self._random = random.Random(1)

    async def submit(self, request: web.Request) -> web.Response:
        task_input = (await request.json())["input"]
        self.arrived[task_input] += 1
        await asyncio.sleep(self._random.uniform(0, 0.02))
        self._finished_at[task_input] = asyncio.get_running_loop().time() + 0.1
        return web.json_response({"executionId": task_input})

    async def status(self, request: web.Request) -> web.Response:
        execution_id = request.match_info["id"]
        body: dict[str, object] = {"executionId": execution_id, "verificationStatus": "Running"}
        if asyncio.get_running_loop().time() >= self._finished_at[execution_id]:
            body["verificationStatus"] = "Success"
            body["clearTextSolution"] = {"output": "1", "executionStatus": "succeed"}
        return web.json_response(body)


@pytest.mark.full
@pytest.mark.timeout(120)
async def test_a_process_that_is_killed_and_started_again(tmp_path: Path) -> None:
    path, count = tmp_path / "results.jsonl", 400
    dispatcher = SlowDispatcher()
    app = web.Application()
    app.router.add_post("/task/function/execute-by-name", dispatcher.submit)
    app.router.add_get("/task/function/execution-status/{id}", dispatcher.status)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    kills, said = 0, ""
    while True:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", WORKER, f"http://{host}:{port}", path, str(count), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        if kills < 6:
            target = (kills + 1) * count // 8
            while dispatcher.arrived.total() < target and process.returncode is None:
                await asyncio.sleep(0.001)
            process.send_signal(signal.SIGKILL)
            kills += 1
        said = (await process.stdout.read()).decode()
        await process.wait()
        if process.returncode == 0:
            break
    await runner.cleanup()
    assert kills == 6
    assert set(dispatcher.arrived.values()) == {1}
    with await asyncio.to_thread(functools.partial(Checkpoint, path, resume=True)) as checkpoint:
        uncertain = {tag for tag, s in checkpoint.submissions.items() if s.state is SubmissionState.SENT}
    # A process may be killed between the note that a task is about to be sent and the sending.
    assert {int(task_input) for task_input in dispatcher.arrived} | uncertain == set(range(count))
    assert {int(line.split()[0]) for line in said.splitlines() if line.endswith("UncertainError")} == uncertain
    assert 0 < len(uncertain) <= 6 * 8
    finished = Counter(record.tag for record in read_checkpoint(path) if record.execution is not None)
    assert finished == Counter(set(range(count)) - uncertain)
