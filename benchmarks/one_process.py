"""How far one process goes: how many polls it sends, and what an outcome costs on disk and in memory."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
import uuid
from pathlib import Path

import attrs
from tenacity import wait_fixed

from benchmarks.clients import plain_aiohttp, timed, truebit, truebit_batch
from benchmarks.measurements import Numbers, disable_orjson, send_concurrently
from benchmarks.start_up import COMMAND, Child
from truebit_async import PollPolicy
from truebit_async.checkpoint import Checkpoint
from truebit_async.models import Execution, Outcome


def polls_per_second(url: str, rounds: int, count: int, seconds: float, *, speed: bool) -> Numbers:
    """Measure how many polls per second a batch sends that is always due, beside plain GETs in the same process.

    The executions of one batch run for ``seconds`` and are polled all the time. Those of another have ended, and are
    polled once. Seconds are those of CPU, so that other processes do not count: the batch keeps a core busy.
    """
    policy = PollPolicy(wait=wait_fixed(0), deadline=3600)

    async def run() -> Numbers:
        rounds_made: list[tuple[float, ...]] = []
        async with plain_aiohttp(url) as get_status:
            for number in range(rounds + 1):
                running = [f"run-{seconds}-{number}-{execution:024}" for execution in range(count)]
                ended = [f"done-{number}-{execution:028}" for execution in range(count)]
                costs = [
                    await timed(send_concurrently(count, get_status)),
                    await timed(truebit_batch(url, running, policy)),
                    await timed(truebit_batch(url, ended, policy)),
                ]
                plain, polls, once = (cost.requests / cost.cpu for cost in costs)
                if number:  # the first round warms up
                    rounds_made.append((polls, once, polls / plain))
        return dict(
            zip(("polls", "once", "ratio"), map(statistics.median, zip(*rounds_made, strict=True)), strict=True)
        )

    if not speed:
        disable_orjson()
        return asyncio.run(run())
    import uvloop  # noqa: PLC0415  # only here

    return uvloop.run(run())


def command(url: str, count: int) -> Numbers:
    """Measure the lines of a checkpoint, and what the command ``wait`` needs for each ID that it need not wait for.

    Runs with ``count`` IDs and with a quarter of them tell what an ID costs and what a run costs without any: after a
    factor of four, hash tables are as full as before. Memory is the peak of the process in bytes, CPU times are in
    microseconds, and IDs are UUIDs.
    """

    async def fetch() -> Execution:
        async with truebit(url) as get_status:
            execution = await get_status("done-1")
        assert isinstance(execution, Execution)
        return execution

    execution = asyncio.run(fetch())
    wait = [COMMAND, "wait", "--base-url", url, "--from", "-"]
    resumed, skipped = [], []
    for number in (count // 4, count):
        with tempfile.TemporaryDirectory() as folder:
            ids, done, other = (Path(folder, name) for name in ("ids.txt", "done.jsonl", "other.jsonl"))
            line = _write_checkpoint(done, ids, execution, number)
            resumed.append(Child([*wait, "--out", str(done), "--resume"], stdin=ids).run())
            skipped.append(Child([*wait, "--out", str(other), "--shard", "0/100000000"], stdin=ids).run())
    more = count - count // 4
    kept = (resumed[1].memory - resumed[0].memory) / more
    return line | {
        "memory per ID": kept,
        "memory without IDs": resumed[1].memory - kept * count,
        "cpu to resume": (resumed[1].cpu - resumed[0].cpu) / more * 1e6,
        "cpu to skip": (skipped[1].cpu - skipped[0].cpu) / more * 1e6,
    }


def _write_checkpoint(path: Path, ids_path: Path, execution: Execution, count: int) -> Numbers:
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))) for number in range(count)]
    ids_path.write_text("\n".join(ids))
    outcomes = [Outcome(each, attrs.evolve(execution, execution_id=each), None, 10, 60.123) for each in ids]
    with Checkpoint(path) as file:
        cpu = time.process_time()
        for outcome in outcomes:
            file.write(outcome)
        cpu = time.process_time() - cpu
    return {"bytes per line": path.stat().st_size / count, "cpu to write": cpu / count * 1e6}
