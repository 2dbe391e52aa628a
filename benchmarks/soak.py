"""``python -m benchmarks.soak``: polls without end, on a dispatcher that fails, is stopped and comes back.

About a tenth of the replies are faults, and the dispatcher is stopped twice and started again on its port. In the end,
each execution must have exactly one outcome, and the right one; memory must not have grown since half time; and nothing
must be left open. ``--short`` does the same with fewer polls.
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
from truebit_async.models import Outcome
from truebit_async.testing import Reply, Simulator

POLLS, SHORT_POLLS = 200_000, 20_000
SECONDS_PER_POLL, SPARE_SECONDS = 0.003, 60  # the limit is ten times what it takes
PENDING = 500
MAX_GROWTH = 0.05
RESTART_AT = (1 / 3, 2 / 3)  # of the polls
DOWN_FOR = 0.2  # seconds, and what a process takes to start

POLICY = PollPolicy(
    wait=wait_random(0, 0.02),
    deadline=None,
    request_timeout=0.3,
    max_consecutive_errors=10_000,  # more than fit into the time in which nothing listens
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
"""What a wait gets over."""

FATES = {
    "success": Reply.success("42"),
    "failed": Reply.failed(),
    "indeterminate": Reply.execution("Indeterminate"),
    "error": Reply.execution("Error"),
    "ExecutionNotFoundError": Reply.error(404),
    "DecodeError": Reply.raw(200, b"<h1>Welcome</h1>", content_type="text/html"),
    "UnknownStatusError": Reply.raw(200, b'{"verificationStatus": "Done"}'),
    "ExecutionIdMismatchError": Reply.wrong_id(),
}
"""What ends a wait."""

_FATE_WEIGHTS = (83, 5, 5, 3, 1, 1, 1, 1)


# The dispatcher


def _chance(execution_id: str) -> random.Random:
    return random.Random(execution_id)  # noqa: S311  # the same on both sides and after a restart


def _fate(chance: random.Random) -> str:
    return chance.choices(list(FATES), _FATE_WEIGHTS)[0]


class _FailingSimulator(Simulator):
    """Knows every ID: its script follows from the ID alone, so a restart begins it again and changes no outcome."""

    def _reply_about(self, execution_id: str) -> Reply:
        if execution_id not in self._executions:
            chance = _chance(execution_id)
            final = FATES[_fate(chance)]
            replies = []
            for reply in [*([Reply.running()] * chance.randint(1, 6)), final]:
                while chance.random() < FAULT_RATE:
                    replies.append(chance.choice(FAULTS))
                replies.append(reply)
            self.script(execution_id, *replies)
        return super()._reply_about(execution_id)


async def _serve(port: int, parent: Connection) -> None:
    async with _FailingSimulator(port=port) as simulator:
        parent.send(int(simulator.url.rpartition(":")[2]))
        await asyncio.get_running_loop().run_in_executor(None, parent.poll, None)


def _run(port: int, parent: Connection) -> None:
    logging.getLogger("aiohttp.server").disabled = True  # a client that is gone by now is part of it
    asyncio.run(_serve(port, parent))


class _Dispatcher:
    """A failing Simulator in a process of its own, which can be stopped and started again on its port."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    def start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_run, args=(self.port, there), daemon=True)
        self._process.start()
        there.close()
        self.port = self._here.recv()

    def stop(self) -> None:
        self._here.send(None)
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._process.close()
        self._here.close()

    def restart(self) -> None:
        self.stop()
        time.sleep(DOWN_FOR)
        self.start()


# What is watched


@attrs.frozen
class _Held:
    """What this process holds.

    Attributes:
        files: open file descriptors, sockets among them.
        tasks: asyncio tasks.
    """

    files: int
    tasks: int

    @classmethod
    def now(cls) -> _Held:
        return cls(sum(1 for _ in Path("/proc/self/fd").iterdir()), len(asyncio.all_tasks()))


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class _Soak:
    """The run and its accounts, none of which grows with it: else it would be its own leak.

    Args:
        polls: how many polls the dispatcher is asked for. New executions are begun until then.
    """

    def __init__(self, polls: int) -> None:
        self.target = polls
        self.polls = 0
        self.refused = 0
        self.restarts = 0
        self.asked = 0
        self.outcomes = bytearray(polls + PENDING)  # how many came for each ID
        self.failures: Counter[str] = Counter()
        self.fates: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.resident_at_half = 0

    def hear(self, event: PollEvent) -> None:
        """Count a poll; the session's listener."""
        if not isinstance(event, Polled):
            return
        if isinstance(event.error, TransportError) and isinstance(event.error.__cause__, aiohttp.ClientConnectorError):
            self.refused += 1  # nobody was there to be asked
            return
        self.polls += 1
        if event.error is not None:
            status = getattr(event.error, "status", "")
            self.failures[f"{type(event.error).__name__} {status}".rstrip()] += 1
        if self.polls == self.target // 2:
            self.resident_at_half = _resident()

    def ids(self) -> Iterator[str]:
        """Yield new IDs until there were enough polls."""
        while self.polls < self.target:
            yield f"execution-{self.asked}"
            self.asked += 1

    def take(self, outcome: Outcome) -> None:
        """Enter an outcome into the accounts."""
        number = int(outcome.execution_id.rpartition("-")[2])
        self.outcomes[number] = min(self.outcomes[number] + 1, 255)
        expected, fate = _fate(_chance(outcome.execution_id)), _fate_of(outcome)
        self.fates[fate] += 1
        if fate != expected and len(self.wrong) < 5:  # noqa: PLR2004  # a few tell enough
            self.wrong.append(f"{outcome.execution_id}: {fate} in place of {expected}: {outcome.error!r}")

    async def run(self, dispatcher: _Dispatcher) -> None:
        """Poll until all is done, while the dispatcher is restarted."""
        url = f"http://127.0.0.1:{dispatcher.port}"
        # It is kept, so that what is open in the end was not closed by the garbage collector.
        self.session = TruebitSession(url, policy=POLICY, listener=self.hear)
        async with self.session, asyncio.TaskGroup() as group:
            restarting = group.create_task(self._restart(dispatcher))
            async for outcome in self.session.wait_for_verifications(self.ids(), max_pending=PENDING):
                self.take(outcome)
            await restarting

    async def _restart(self, dispatcher: _Dispatcher) -> None:
        for share in RESTART_AT:
            while self.polls < share * self.target:
                await asyncio.sleep(0.01)
            await asyncio.to_thread(dispatcher.restart)
            self.restarts += 1


def _fate_of(outcome: Outcome) -> str:
    if outcome.execution is None:
        return type(outcome.error).__name__
    if outcome.execution.is_verified:
        return "success" if outcome.execution.succeeded else "failed"
    return outcome.execution.verification_status.value.lower()


async def _settled(before: _Held) -> _Held:
    """Return what is held once it is no more than before, or after two seconds all the same."""
    give_up_at = time.monotonic() + 2
    while (held := _Held.now()) != before and time.monotonic() < give_up_at:
        await asyncio.sleep(0.01)
    return held


async def soak(polls: int, limit: float) -> list[str]:
    """Run the soak, print its figures, and return what is wrong."""
    dispatcher = _Dispatcher()
    try:
        this = _Soak(polls)
        before, started, cpu = _Held.now(), time.monotonic(), time.process_time()
        try:
            async with asyncio.timeout(limit):
                await this.run(dispatcher)
        except TimeoutError:
            ended = sum(this.fates.values())
            done = f"{this.polls} of {polls} polls, {ended} of {this.asked} outcomes"
            return [f"it was not done within {limit:g} s: {done}"]
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        resident = _resident()
        after = await _settled(before)
    finally:
        dispatcher.stop()
    growth = resident / this.resident_at_half - 1
    _print_figures(this, seconds, cpu, growth, resident, before, after)
    return _problems(this, growth, before, after)


def _print_figures(
    this: _Soak, seconds: float, cpu: float, growth: float, resident: int, before: _Held, after: _Held
) -> None:
    failures = sum(this.failures.values())
    rows = {
        "polls": f"{this.polls:,}, and {this.refused:,} while the dispatcher was down",
        "time": f"{seconds:.1f} s, {cpu:.1f} s of it CPU; {this.polls / seconds:,.0f} polls/s",
        "failed polls": f"{failures:,} ({failures / this.polls:.1%})",
        **{f"  {kind}": f"{count:,}" for kind, count in sorted(this.failures.items())},
        "restarts": f"{this.restarts}",
        "executions": f"{this.asked:,}",
        **{f"  {fate}": f"{count:,}" for fate, count in sorted(this.fates.items())},
        "memory": f"{this.resident_at_half / 2**20:.1f} MiB at half time, {resident / 2**20:.1f} MiB in the end "
        f"({growth:+.1%})",
        "open files": f"{before.files} before, {after.files} after",
        "tasks": f"{before.tasks} before, {after.tasks} after",
    }
    for what, figure in rows.items():
        print(f"{what:34} {figure}")


def _problems(this: _Soak, growth: float, before: _Held, after: _Held) -> list[str]:
    problems = list(this.wrong)
    counts = Counter(this.outcomes[: this.asked])
    problems += [f"{many} executions have {count} outcomes" for count, many in sorted(counts.items()) if count != 1]
    if growth > MAX_GROWTH:
        problems.append(f"memory has grown by {growth:.1%} since half time; at most {MAX_GROWTH:.0%} is allowed")
    if after != before:
        problems.append(f"something was left open: {before} before, {after} after")
    if this.restarts != len(RESTART_AT) or not this.refused:
        problems.append(f"the dispatcher was away {this.restarts} times, and {this.refused} polls were refused")
    if not FAULT_RATE / 2 < sum(this.failures.values()) / this.polls < FAULT_RATE * 2:
        problems.append(f"{sum(this.failures.values())} of {this.polls} polls have failed, which is no soak")
    return problems


def main() -> None:
    """Run the soak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--polls", type=int, default=POLLS, help="how many polls (default: %(default)s)")
    parser.add_argument("--short", action="store_true", help=f"{SHORT_POLLS} polls")
    arguments = parser.parse_args()
    polls = SHORT_POLLS if arguments.short else arguments.polls
    if polls < 1000:  # noqa: PLR2004
        parser.error("fewer than 1000 polls show nothing")
    limit = SPARE_SECONDS + polls * SECONDS_PER_POLL
    faulthandler.dump_traceback_later(limit + 30, exit=True)  # should the loop itself hang
    problems = asyncio.run(soak(polls, limit))
    faulthandler.cancel_dump_traceback_later()
    if problems:
        sys.exit("\n".join(f"soak: {problem}" for problem in problems))


if __name__ == "__main__":
    main()
