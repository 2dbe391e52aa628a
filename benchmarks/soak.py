"""``python -m benchmarks.soak``: a soak test with many polls on a dispatcher that fails and is restarted.

About a tenth of the replies are faults, and the dispatcher is restarted twice on the same port. At the end, each
execution must have exactly one outcome, which must be the expected one. Memory must not have grown since half of the
polls, and no file or task may be left open. ``--short`` makes fewer polls.
"""

from __future__ import annotations

import argparse
import asyncio
import faulthandler
import gc
import logging
import multiprocessing
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

import aiohttp
import attrs
from tenacity import wait_random

from truebit_async import Polled, PollEvent, PollPolicy, TransportError, TruebitSession
from truebit_async.models import Execution, Outcome
from truebit_async.testing import Reply, Simulator

POLLS, SHORT_POLLS = 200_000, 20_000
SECONDS_PER_POLL, SPARE_SECONDS = 0.003, 60  # the time limit is ten times the usual duration
PENDING = 500
MAX_GROWTH = 0.05
RESTART_AT = (1 / 3, 2 / 3)  # fractions of the polls
DOWN_FOR = 0.2  # seconds, without the start of the process

POLICY = PollPolicy(
    wait=wait_random(0, 0.02),
    deadline=None,
    request_timeout=0.3,
    max_consecutive_errors=10_000,  # more errors than a restart can cause
)

FAULT_RATE = 0.1
FAULTS = (
    Reply.error(429, retry_after=0.001),
    Reply.error(500),
    Reply.error(503),
    Reply.raw(502, b"<h1>Bad Gateway</h1>", content_type="text/html"),
    Reply.reset(),
    Reply.garbage(),
    Reply.cut_off(),
    Reply.hang(),
)
"""Replies after which a wait continues."""

FINAL_REPLIES = {
    "success": Reply.success("42"),
    "failed": Reply.failed(),
    "indeterminate": Reply.execution("Indeterminate"),
    "error": Reply.execution("Error"),
    "ExecutionNotFoundError": Reply.error(404),
    "DecodeError": Reply.raw(200, b"<h1>Welcome</h1>", content_type="text/html"),
    "UnknownStatusError": Reply.raw(200, b'{"verificationStatus": "Done"}'),
    "ExecutionIdMismatchError": Reply.wrong_id(),
}
"""Replies that end a wait, by the name of the result."""

_WEIGHTS = (83, 5, 5, 3, 1, 1, 1, 1)


# The dispatcher


def _rng(execution_id: str) -> random.Random:
    """Return a random number generator that yields the same numbers in both processes and after a restart."""
    return random.Random(execution_id)  # noqa: S311


def _choose_result(rng: random.Random) -> str:
    """Return the name of a result. It must be the first choice that a generator makes for an execution."""
    return rng.choices(list(FINAL_REPLIES), _WEIGHTS)[0]


class _FailingSimulator(Simulator):
    """A Simulator that knows every ID. A script depends only on its ID, so a restart changes no outcome."""

    def _reply_for(self, kind: str, execution_id: str) -> Reply:
        if (kind, execution_id) not in self._executions:
            rng = _rng(execution_id)
            final = FINAL_REPLIES[_choose_result(rng)]
            replies = []
            for reply in [*([Reply.running()] * rng.randint(1, 6)), final]:
                while rng.random() < FAULT_RATE:
                    replies.append(rng.choice(FAULTS))
                replies.append(reply)
            self.script(execution_id, *replies)
        return super()._reply_for(kind, execution_id)


async def _serve(port: int, parent: Connection) -> None:
    async with _FailingSimulator(port=port) as simulator:
        parent.send(int(simulator.url.rpartition(":")[2]))
        await asyncio.get_running_loop().run_in_executor(None, parent.poll, None)


def _run(port: int, parent: Connection) -> None:
    logging.getLogger("aiohttp.server").disabled = True  # clients that disconnect are expected
    asyncio.run(_serve(port, parent))


class _Dispatcher:
    """A failing Simulator in a separate process, which can be restarted on the same port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._parent_end, child_end = context.Pipe()
        self._process = context.Process(target=_run, args=(self.port, child_end), daemon=True)
        self._process.start()
        child_end.close()
        self.port = self._parent_end.recv()

    def stop(self) -> None:
        self._parent_end.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._parent_end.close()

    def restart(self) -> None:
        self.stop()
        time.sleep(DOWN_FOR)
        self.start()


# The run


@attrs.frozen
class _OpenResources:
    """The resources that this process has open.

    Attributes:
        files: the number of open file descriptors, including sockets.
        tasks: the number of asyncio tasks.
    """

    files: int
    tasks: int

    @classmethod
    def now(cls) -> _OpenResources:
        return cls(sum(1 for _ in Path("/proc/self/fd").iterdir()), len(asyncio.all_tasks()))


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Soak:
    """One run and its counts. The counts use a fixed amount of memory, so that they do not look like a leak.

    Args:
        polls: the number of polls to make. New executions are started until then.
    """

    def __init__(self, polls: int) -> None:
        self.target = polls
        self.polls = 0
        self.refused = 0
        self.restarts = 0
        self.started = 0
        self.outcomes = bytearray(polls + PENDING)  # the number of outcomes of each ID
        self.failures: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.resident_at_half = 0

    def count_poll(self, event: PollEvent) -> None:
        """Count a poll. This is the listener of the session."""
        if not isinstance(event, Polled):
            return
        if isinstance(event.error, TransportError) and isinstance(event.error.__cause__, aiohttp.ClientConnectorError):
            self.refused += 1  # the dispatcher was down
            return
        self.polls += 1
        if event.error is not None:
            status = getattr(event.error, "status", "")
            self.failures[f"{type(event.error).__name__} {status}".rstrip()] += 1
        if self.polls == self.target // 2:
            self.resident_at_half = _resident()

    def ids(self) -> Iterator[str]:
        """Yield new IDs until enough polls were made."""
        while self.polls < self.target:
            yield f"execution-{self.started}"
            self.started += 1

    def check(self, outcome: Outcome[Execution]) -> None:
        """Count an outcome and compare it with the expected one."""
        number = int(outcome.execution_id.rpartition("-")[2])
        self.outcomes[number] = min(self.outcomes[number] + 1, 255)
        expected, result = _choose_result(_rng(outcome.execution_id)), _result_of(outcome)
        self.results[result] += 1
        if result != expected and len(self.wrong) < 5:  # noqa: PLR2004  # a few examples are enough
            self.wrong.append(f"{outcome.execution_id}: {result} instead of {expected}: {outcome.error!r}")

    async def run(self, dispatcher: _Dispatcher) -> None:
        """Poll until all executions have an outcome, and restart the dispatcher meanwhile."""
        url = f"http://127.0.0.1:{dispatcher.port}"
        # Keep a reference, so that the garbage collector does not close what the session leaves open.
        self.session = TruebitSession(url, policy=POLICY, listeners=[self.count_poll])
        async with self.session, asyncio.TaskGroup() as group:
            restarting = group.create_task(self._restart(dispatcher))
            async for outcome in self.session.wait_for_verifications(self.ids(), max_pending=PENDING):
                self.check(outcome)
            await restarting

    async def _restart(self, dispatcher: _Dispatcher) -> None:
        for share in RESTART_AT:
            while self.polls < share * self.target:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(dispatcher.restart)
            self.restarts += 1


def _result_of(outcome: Outcome[Execution]) -> str:
    if outcome.execution is None:
        return type(outcome.error).__name__
    if outcome.execution.is_verified:
        return "success" if outcome.execution.succeeded else "failed"
    return outcome.execution.verification_status.value.lower()


async def _settled(before: _OpenResources) -> _OpenResources:
    """Return the open resources as soon as they equal ``before``, or after two seconds."""
    stop_at = time.monotonic() + 2
    while (resources := _OpenResources.now()) != before and time.monotonic() < stop_at:
        await asyncio.sleep(0.01)
    return resources


async def soak(polls: int, limit: float) -> list[str]:
    """Run the soak test, print its figures, and return the problems found."""
    dispatcher = _Dispatcher()
    try:
        soak_run = _Soak(polls)
        before, started, cpu = _OpenResources.now(), time.monotonic(), time.process_time()
        try:
            async with asyncio.timeout(limit):
                await soak_run.run(dispatcher)
        except TimeoutError:
            ended = sum(soak_run.results.values())
            done = f"{soak_run.polls} of {polls} polls, {ended} of {soak_run.started} outcomes"
            return [f"the run did not finish within {limit:g} s: {done}"]
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        resident = _resident()
        after = await _settled(before)
    finally:
        dispatcher.stop()
    growth = resident / soak_run.resident_at_half - 1
    _print_figures(soak_run, seconds, cpu, growth, resident, before, after)
    return _problems(soak_run, growth, before, after)


def _print_figures(
    soak_run: _Soak,
    seconds: float,
    cpu: float,
    growth: float,
    resident: int,
    before: _OpenResources,
    after: _OpenResources,
) -> None:
    failures = sum(soak_run.failures.values())
    rows = {
        "polls": f"{soak_run.polls:,}, and {soak_run.refused:,} while the dispatcher was down",
        "time": f"{seconds:.1f} s, {cpu:.1f} s of it CPU; {soak_run.polls / seconds:,.0f} polls/s",
        "failed polls": f"{failures:,} ({failures / soak_run.polls:.1%})",
        **{f"  {kind}": f"{count:,}" for kind, count in sorted(soak_run.failures.items())},
        "restarts": f"{soak_run.restarts}",
        "executions": f"{soak_run.started:,}",
        **{f"  {result}": f"{count:,}" for result, count in sorted(soak_run.results.items())},
        "memory": f"{soak_run.resident_at_half / 2**20:.1f} MiB after half of the polls, "
        f"{resident / 2**20:.1f} MiB at the end ({growth:+.1%})",
        "open files": f"{before.files} before, {after.files} after",
        "tasks": f"{before.tasks} before, {after.tasks} after",
    }
    for what, figure in rows.items():
        print(f"{what:34} {figure}")


def _problems(soak_run: _Soak, growth: float, before: _OpenResources, after: _OpenResources) -> list[str]:
    problems = list(soak_run.wrong)
    counts = Counter(soak_run.outcomes[: soak_run.started])
    problems += [f"{many} executions have {count} outcomes" for count, many in sorted(counts.items()) if count != 1]
    if growth > MAX_GROWTH:
        problems.append(
            f"memory has grown by {growth:.1%} since half of the polls; at most {MAX_GROWTH:.0%} is allowed"
        )
    if after != before:
        problems.append(f"resources were left open: {before} before, {after} after")
    if soak_run.restarts != len(RESTART_AT) or not soak_run.refused:
        problems.append(
            f"the dispatcher was restarted {soak_run.restarts} times, and {soak_run.refused} polls were refused"
        )
    if not FAULT_RATE / 2 < sum(soak_run.failures.values()) / soak_run.polls < FAULT_RATE * 2:
        problems.append(
            f"{sum(soak_run.failures.values())} of {soak_run.polls} polls failed; about {FAULT_RATE:.0%} should"
        )
    return problems


def main() -> None:
    """Run the soak test."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--polls", type=int, default=POLLS, help="how many polls (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_POLLS} polls")
    arguments = parser.parse_args()
    polls = SHORT_POLLS if arguments.short else arguments.polls
    if polls < 1000:  # noqa: PLR2004
        parser.error("at least 1000 polls are needed")
    limit = SPARE_SECONDS + polls * SECONDS_PER_POLL
    faulthandler.dump_traceback_later(limit + 30, exit=True)  # if the loop itself hangs
    problems = asyncio.run(soak(polls, limit))
    faulthandler.cancel_dump_traceback_later()
    if problems:
        sys.exit("\n".join(f"soak: {problem}" for problem in problems))


if __name__ == "__main__":
    main()
