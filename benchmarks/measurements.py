"""What is measured. Each function runs in a fresh process and returns plain numbers."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
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

from benchmarks.contestants import (
    IN_FLIGHT,
    Ask,
    Contestant,
    batch_policy,
    gather_tenacity_batch,
    plain_aiohttp,
    plain_httpx,
    timed,
    truebit,
    truebit_batch,
)
from benchmarks.server import LOG_PATH
from truebit_async import Polled, PollEvent, PollPolicy, TruebitSession, VerificationTimeoutError, _wire
from truebit_async._pacing import Pacer
from truebit_async._poller import Poller
from truebit_async.events import Announcer
from truebit_async.models import Execution, VerificationStatus
from truebit_async.testing import VirtualTimeLoop

Numbers = dict[str, float]


async def _in_flight(count: int, ask: Ask) -> int:
    ids = iter([f"done-{number}" for number in range(count)])

    async def worker() -> None:
        for execution_id in ids:
            await ask(execution_id)

    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return count


def single_requests(url: str, rounds: int, *, speed: bool) -> Numbers:
    """CPU per GET, microseconds; the contestants take turns in one process, 64 requests in flight.

    The ratio of ours to plain aiohttp is taken within each round, because a machine changes its mood between them.
    """

    async def run() -> Numbers:
        turns: dict[str, tuple[Contestant, int]] = {
            "plain aiohttp": (plain_aiohttp, 320),
            "truebit_async": (truebit, 320),
        }
        if not speed:
            turns["plain httpx"] = (plain_httpx, 64)  # fewer, because it takes so long
        async with contextlib.AsyncExitStack() as stack:
            asks = {name: await stack.enter_async_context(enter(url)) for name, (enter, _) in turns.items()}
            costs: dict[str, list[float]] = {name: [] for name in asks}
            for number in range(rounds + 1):
                for name in list(asks)[:: 1 if number % 2 else -1]:
                    cost = await timed(_in_flight(turns[name][1], asks[name]))
                    if number:  # the first round warms up
                        costs[name].append(cost.cpu_per_request)
        ratios = [ours / plain for ours, plain in zip(costs["truebit_async"], costs["plain aiohttp"], strict=True)]
        return {"ratio": statistics.median(ratios)} | {name: statistics.median(cost) for name, cost in costs.items()}

    if not speed:
        _do_without_orjson()
        return asyncio.run(run())
    import uvloop  # noqa: PLC0415  # only here

    return uvloop.run(run())


def _do_without_orjson() -> None:
    vars(_wire)["orjson"] = None


def batch(url: str, kind: str, count: int, shortest: float, spread: float) -> Numbers:
    """CPU per poll, microseconds, of a batch whose executions run for between ``shortest`` and so much more seconds.

    The plain loop is measured right before and right after it: over a minute, a machine changes its mood.
    """
    _do_without_orjson()
    ids = [f"run-{shortest + spread * (number * 7919 % count) / count:.3f}-{kind}-{number}" for number in range(count)]
    run = {"truebit_async": truebit_batch, "gather": gather_tenacity_batch}[kind]

    async def measure() -> Numbers:
        async with plain_aiohttp(url) as ask:
            before = await timed(_in_flight(count // 4, ask))
            cost = await timed(run(url, ids, batch_policy(shortest / 5, shortest / 5 * 9.5)))
            after = await timed(_in_flight(count // 4, ask))
        plain = (before.cpu_per_request + after.cpu_per_request) / 2
        return {"cpu per poll": cost.cpu_per_request, "plain cpu per GET": plain}

    return asyncio.run(measure())


def memory(url: str, kind: str, count: int) -> Numbers:
    """Bytes of resident memory per pending ID, beyond the ID strings, once each was polled for the first time."""
    polled = 0

    def listener(event: PollEvent) -> None:
        nonlocal polled
        polled += isinstance(event, Polled)

    async def run() -> float:
        ids = [f"run-9999-{number}" for number in range(count)]
        policy = PollPolicy(wait=wait_fixed(1000) + wait_random(0, 1000), deadline=3600)
        pending: asyncio.Future[Any]
        async with TruebitSession(url, max_concurrency=IN_FLIGHT, listener=listener) as session:
            await _in_flight(500, session.get_execution_status)
            before = _resident()
            if kind == "truebit_async":
                target = polled + count
                pending = asyncio.ensure_future(anext(session.wait_for_verifications(ids, policy=policy)))
                while polled < target:
                    await asyncio.sleep(0.05)
            else:
                await _drain(url)
                pending = asyncio.ensure_future(gather_tenacity_batch(url, ids, policy))
                while await _arrivals(url) < count:
                    await asyncio.sleep(0.5)
            await asyncio.sleep(1)
            used = _resident() - before
            pending.cancel()
            await asyncio.wait([pending])
        return used / count

    return {"bytes": asyncio.run(run())}


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


_seen = 0


async def _drain(url: str) -> None:
    global _seen  # noqa: PLW0603
    async with aiohttp.ClientSession() as http:
        await (await http.get(url + LOG_PATH)).json()
    _seen = 0


async def _arrivals(url: str) -> int:
    global _seen  # noqa: PLW0603
    async with aiohttp.ClientSession() as http:
        _seen += len(await (await http.get(url + LOG_PATH)).json())
    return _seen


def scheduler(_: str, pending: int, polls: int) -> Numbers:
    """CPU per poll of the scheduler alone, microseconds: virtual time, no sockets, so many IDs pending."""

    async def run() -> float:
        done = 0

        async def fetch(execution_id: str, request_timeout: float) -> Execution:
            nonlocal done
            done += 1
            return Execution(execution_id, VerificationStatus.RUNNING)

        poller = Poller(fetch, Pacer(IN_FLIGHT, None), Announcer(None))
        policy = PollPolicy(wait=wait_random(50, 150), deadline=None)
        context = contextvars.copy_context()
        for number in range(pending):
            poller.start(str(number), policy, lambda *_: None, context)
        while done < pending:  # the first poll of each
            await asyncio.sleep(1)
        gc.collect()
        gc.freeze()  # as a program with so many objects would
        already, cpu = done, time.process_time()
        while done < already + polls:
            await asyncio.sleep(0.01 if pending > polls else 1)
        return (time.process_time() - cpu) / (done - already) * 1e6

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return {"cpu per poll": runner.run(run())}


def rate(url: str, max_rate: float, seconds: float) -> Numbers:
    """How well ``max_rate`` is kept under saturation: requests in the fullest second and on average, of the cap.

    Requests are counted when they start, as the pacer sees them; the network may bunch them on their way.
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
    """Milliseconds by which waits on a server that hangs outlive their deadline: the worst of them."""

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
    """Requests that so many waits for one execution cause, of those that one wait would cause."""

    async def run() -> Numbers:
        polls: list[PollEvent] = []
        policy = PollPolicy(wait=wait_fixed(0.2))
        async with TruebitSession(url, policy=policy, listener=polls.append) as session:
            await asyncio.gather(*(session.wait_for_verification("run-1-shared") for _ in range(waiters)))
        return {"requests": sum(isinstance(event, Polled) for event in polls)}

    return asyncio.run(run())


def import_time(_: str, rounds: int) -> Numbers:
    """Seconds to import this package and what it is built on; the best of fresh interpreters, taken in turns."""
    statements = {"truebit_async": "truebit_async", "what it is built on": "aiohttp, tenacity, attrs, cattrs"}
    times: dict[str, list[float]] = {name: [] for name in statements}
    environment = os.environ | {"PYTHONDONTWRITEBYTECODE": ""}  # as installed packages are, all of it is compiled
    for number in range(rounds + 1):
        for name, modules in statements.items():
            script = f"import time; t = time.perf_counter(); import {modules}; print(time.perf_counter() - t)"
            command = [sys.executable, "-c", script]
            ran = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)  # noqa: S603
            if number:  # the first round compiles
                times[name].append(float(ran.stdout))
    return {name: min(seconds) for name, seconds in times.items()}
