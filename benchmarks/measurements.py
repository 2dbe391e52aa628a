"""The measurements. Each function runs in a new process and returns numbers."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
from tenacity import wait_fixed, wait_random

from benchmarks.clients import (
    IN_FLIGHT,
    Client,
    GetStatus,
    batch_policy,
    gather_tenacity_batch,
    plain_aiohttp,
    plain_httpx,
    timed,
    truebit,
    truebit_batch,
)
from benchmarks.server import LOG_PATH
from truebit_async import LearnedWait, Polled, PollEvent, PollPolicy, TruebitSession, VerificationTimeoutError
from truebit_async._protocol import body
from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async._scheduler.waiter import Waiter, WaiterGroup
from truebit_async.events import Emitter
from truebit_async.models import Execution, VerificationStatus
from truebit_async.testing import VirtualTimeLoop

Numbers = dict[str, float]


async def send_concurrently(count: int, get_status: GetStatus) -> int:
    """Send GETs, `IN_FLIGHT` at a time; return their number."""
    ids = iter([f"done-{number}" for number in range(count)])

    async def worker() -> None:
        for execution_id in ids:
            await get_status(execution_id)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return count


def single_requests(url: str, rounds: int, *, speed: bool) -> Numbers:
    """Measure CPU time per GET in microseconds. The clients alternate in one process, with 64 requests in flight.

    Each round yields one ratio of truebit_async to plain aiohttp, because the speed of a machine varies between rounds.
    """

    async def run() -> Numbers:
        clients: dict[str, tuple[Client, int]] = {
            "plain aiohttp": (plain_aiohttp, 320),
            "truebit_async": (truebit, 320),
        }
        if not speed:
            clients["plain httpx"] = (plain_httpx, 64)  # fewer, because it is slow
        async with contextlib.AsyncExitStack() as stack:
            status_functions = {
                name: await stack.enter_async_context(enter(url)) for name, (enter, _) in clients.items()
            }
            costs: dict[str, list[float]] = {name: [] for name in status_functions}
            for number in range(rounds + 1):
                for name in list(status_functions)[:: 1 if number % 2 else -1]:
                    cost = await timed(send_concurrently(clients[name][1], status_functions[name]))
                    if number:  # the first round warms up
                        costs[name].append(cost.cpu_per_request)
        ratios = [ours / plain for ours, plain in zip(costs["truebit_async"], costs["plain aiohttp"], strict=True)]
        return {"ratio": statistics.median(ratios)} | {name: statistics.median(cost) for name, cost in costs.items()}

    if not speed:
        disable_orjson()
        return asyncio.run(run())
    import uvloop  # noqa: PLC0415  # only here

    return uvloop.run(run())


def disable_orjson() -> None:
    """Decode with the standard library in this process, as without the extra ``speed``."""
    vars(body)["orjson"] = None


def batch(url: str, kind: str, count: int, shortest: float, spread: float) -> Numbers:
    """Measure CPU time per poll of a batch, in microseconds.

    The executions run for ``shortest`` to ``shortest + spread`` seconds. Plain GETs are measured directly before and
    after the batch, because the speed of a machine varies over time.
    """
    disable_orjson()
    ids = [f"run-{shortest + spread * (number * 7919 % count) / count:.3f}-{kind}-{number}" for number in range(count)]
    run = {"truebit_async": truebit_batch, "gather": gather_tenacity_batch}[kind]

    async def measure() -> Numbers:
        async with plain_aiohttp(url) as get_status:
            before = await timed(send_concurrently(count // 4, get_status))
            cost = await timed(run(url, ids, batch_policy(shortest / 5, shortest / 5 * 9.5)))
            after = await timed(send_concurrently(count // 4, get_status))
        plain = (before.cpu_per_request + after.cpu_per_request) / 2
        return {"cpu per poll": cost.cpu_per_request, "plain cpu per GET": plain}

    return asyncio.run(measure())


def memory(url: str, kind: str, count: int) -> Numbers:
    """Measure resident memory in bytes after the first poll of each ID.

    It is given per pending ID, without the ID strings, and for the whole process, with them. The kind is ``gather``,
    ``truebit_async``, or ``LearnedWait`` for truebit_async with that strategy.
    """
    polled = 0

    def listener(event: PollEvent) -> None:
        nonlocal polled
        polled += isinstance(event, Polled)

    async def run() -> Numbers:
        ids = [f"run-9999-{number:027}" for number in range(count)]  # as long as UUIDs
        learned = LearnedWait(min_interval=1000, max_interval=2000)
        wait = learned if kind == "LearnedWait" else wait_fixed(1000) + wait_random(0, 1000)
        policy = PollPolicy(wait=wait, deadline=3600)
        pending: asyncio.Future[Any]
        async with TruebitSession(url, max_concurrency=IN_FLIGHT, listeners=[listener]) as session:
            await send_concurrently(500, session.get_execution_status)
            before = _resident()
            if kind != "gather":
                target = polled + count
                pending = asyncio.ensure_future(
                    anext(session.wait_for_verifications(ids, policy=policy, max_pending=count))
                )
                while polled < target:
                    await asyncio.sleep(0.05)
            else:
                await _reset_arrivals(url)
                pending = asyncio.ensure_future(gather_tenacity_batch(url, ids, policy))
                while await _arrivals(url) < count:
                    await asyncio.sleep(0.5)
            await asyncio.sleep(1)
            resident = _resident()
            pending.cancel()
            await asyncio.wait([pending])
        return {"bytes": (resident - before) / count, "whole process": resident}

    return asyncio.run(run())


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


_arrived = 0


async def _reset_arrivals(url: str) -> None:
    global _arrived  # noqa: PLW0603
    async with aiohttp.ClientSession() as http:
        await (await http.get(url + LOG_PATH)).json()
    _arrived = 0


async def _arrivals(url: str) -> int:
    global _arrived  # noqa: PLW0603
    async with aiohttp.ClientSession() as http:
        _arrived += len(await (await http.get(url + LOG_PATH)).json())
    return _arrived


def scheduler(_: str, pending: int, polls: int) -> Numbers:
    """Measure CPU time per poll of the scheduler alone, in microseconds, on virtual time and without sockets."""

    async def run() -> float:
        done = 0

        async def fetch(execution_id: str, request_timeout: float, *, on_new_connection: bool) -> Execution:
            nonlocal done
            done += 1
            return Execution(execution_id, VerificationStatus.RUNNING)

        poller = Poller(Pacer(IN_FLIGHT, None), Emitter())
        policy = PollPolicy(wait=wait_random(50, 150), deadline=None)
        source = Source("function", fetch, lambda execution: not execution.is_running)
        group = WaiterGroup(source, policy, lambda *_: None)
        for number in range(pending):
            poller.start(Waiter(group, str(number), poller.bind().time()))
        while done < pending:  # until each ID has been polled once
            await asyncio.sleep(1)
        gc.collect()
        gc.freeze()  # as recommended for a program with many long-lived objects
        already, cpu = done, time.process_time()
        while done < already + polls:
            await asyncio.sleep(0.01 if pending > polls else 1)
        return (time.process_time() - cpu) / (done - already) * 1e6

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return {"cpu per poll": runner.run(run())}


def rate(url: str, max_rate: float, seconds: float) -> Numbers:
    """Measure how well ``max_rate`` is kept under saturation: fullest second and average, as fractions of the cap.

    Requests are counted when the pacer starts them, because the network may bunch them.
    """

    async def run() -> Numbers:
        starts: list[float] = []
        async with TruebitSession(url, max_rate=max_rate) as session:
            started = session._poller._pacer.started

            def note(now: float) -> None:
                starts.append(now)
                started(now)

            session._poller._pacer.started = note  # type: ignore[method-assign]
            policy = PollPolicy(wait=wait_fixed(0), deadline=seconds)
            ids = [f"run-9999-{number}" for number in range(500)]
            async for _ in session.wait_for_verifications(ids, policy=policy):
                pass
        fullest, first = 0, 0
        for last, start in enumerate(starts):
            while starts[first] <= start - 1:
                first += 1
            fullest = max(fullest, last - first + 1)
        return {"fullest second": fullest / max_rate, "average": len(starts) / seconds / max_rate}

    return asyncio.run(run())


def overrun(url: str, waits: int, deadline: float) -> Numbers:
    """Measure by how many milliseconds waits on a server that hangs exceed their deadline; return the maximum."""

    async def run() -> float:
        async with TruebitSession(url) as session:

            async def wait(number: int) -> float:
                try:
                    await session.wait_for_verification(f"hang-{number}", deadline=deadline)
                except VerificationTimeoutError as error:
                    return time.monotonic() - started - error.deadline
                raise AssertionError

            started = time.monotonic()
            tasks = [asyncio.create_task(wait(number)) for number in range(waits)]
            return max(await asyncio.gather(*tasks)) * 1000

    return {"worst": asyncio.run(run())}


def single_flight(url: str, waiters: int) -> Numbers:
    """Count the requests of concurrent waits for one execution."""

    async def run() -> Numbers:
        polls: list[PollEvent] = []
        policy = PollPolicy(wait=wait_fixed(0.2))
        async with TruebitSession(url, policy=policy, listeners=[polls.append]) as session:
            await asyncio.gather(*(session.wait_for_verification("run-1-shared") for _ in range(waiters)))
        return {"requests": sum(isinstance(event, Polled) for event in polls)}

    return asyncio.run(run())


def import_time(_: str, rounds: int) -> Numbers:
    """Measure the time to import this package, and only its dependencies, in seconds; return the minimum of each."""
    statements = {
        "truebit_async": "from truebit_async import TruebitSession",  # the package alone loads nothing
        "its dependencies": "import aiohttp, tenacity, attrs, cattrs",
    }
    times: dict[str, list[float]] = {name: [] for name in statements}
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # allow bytecode files, as installed packages have them
    for number in range(rounds + 1):
        for name, statement in statements.items():
            script = f"import time; t = time.perf_counter(); {statement}; print(time.perf_counter() - t)"
            command = [sys.executable, "-c", script]
            ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
            if number:  # the first round writes bytecode files
                times[name].append(float(ran.stdout))
    return {name: min(seconds) for name, seconds in times.items()}
