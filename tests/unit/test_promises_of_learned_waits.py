"""Waits that learn: the loop is not held up, whoever shares an execution, and a cold batch learns from itself."""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher, FakePoller
from tests.promises import stopwatch
from truebit_async import Execution, LearnedWait, PollPolicy, ProportionalWait
from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async.events import Emitter
from truebit_async.policy import WaitStrategy

pytestmark = pytest.mark.virtual_time


MAX_STEP = 0.02  # seconds; a step measured on a busy machine takes several times as long as on an idle one


class Executions:
    """A source of executions that end at known times, and what it takes to learn that."""

    def __init__(self, durations: dict[str, float]) -> None:
        self.durations = durations
        self.requests = 0
        self.source = Source("function", self._fetch, lambda execution: not execution.is_running)

    async def _fetch(self, execution_id: str, _: float, /, *, on_new_connection: bool) -> Execution:
        assert not on_new_connection
        self.requests += 1
        has_ended = asyncio.get_running_loop().time() >= self.durations[execution_id]
        return Execution(execution_id, SUCCESS if has_ended else RUNNING)

    async def mean_delay(self, strategy: WaitStrategy, max_rate: float | None = None) -> float:
        """Wait for all of them; return the mean delay in seconds."""
        poller = FakePoller(self.source, Poller(Pacer(10**9, max_rate), Emitter(())))
        now = asyncio.get_running_loop().time
        delays = [
            now() - self.durations[outcome.execution_id]
            async for outcome in poller.wait_for_all(self.durations, PollPolicy(wait=strategy), 10**9)
        ]
        return sum(delays) / len(delays)


def ending_at(durations: list[float]) -> Executions:
    return Executions({str(number): duration for number, duration in enumerate(durations)})


async def test_a_cold_batch_learns_from_itself() -> None:
    """Most of its waits are asleep when the first executions end; they are woken."""
    rng = random.Random(1)
    durations = [rng.gauss(12, 0.2) for _ in range(1000)]
    learned, default = ending_at(durations), ending_at(durations)
    loop = asyncio.get_running_loop()
    assert loop.time() == 0
    delay = await learned.mean_delay(LearnedWait())
    began = loop.time()
    default.durations = {name: began + duration for name, duration in default.durations.items()}
    assert delay < 0.75 * await default.mean_delay(ProportionalWait())
    assert learned.requests < 1.1 * default.requests


async def test_batches_that_end_are_no_change_of_durations() -> None:
    """The last executions of a batch are all longer than expected, and end while few are under way."""
    rng, learned = random.Random(1), LearnedWait()
    for _ in range(4):
        began = asyncio.get_running_loop().time()
        await ending_at([began + rng.uniform(20, 26) for _ in range(100)]).mean_delay(learned)
    (description,) = learned.describe()
    assert description.quantiles[0.1] == pytest.approx(20.6, abs=2)
    assert description.quantiles[0.9] == pytest.approx(25.4, abs=2)


async def test_100_waits_for_one_execution_ask_as_often_as_one() -> None:
    async def requests(count: int) -> int:
        began = asyncio.get_running_loop().time()
        executions = Executions({"id": began + 60.0})
        poller = FakePoller(executions.source, Poller(Pacer(10**9, None), Emitter(())))
        await asyncio.gather(*(poller.wait("id", PollPolicy(wait=learned)) for _ in range(count)))
        return executions.requests

    learned = LearnedWait()
    rng = random.Random(1)
    await ending_at([rng.gauss(60, 5) for _ in range(100)]).mean_delay(learned)
    alone = [await requests(1) for _ in range(10)]
    together = [await requests(100) for _ in range(10)]
    assert sum(together) < 1.5 * sum(alone)


@pytest.mark.no_cover  # measuring coverage makes each step several times as long
@pytest.mark.parametrize("count", [2000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_sleeping_waits_that_decide_again_hold_the_loop_for_no_long_time(
    monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    rng = random.Random(1)
    executions = ending_at([rng.uniform(5, 15) for _ in range(count)])
    with stopwatch(monkeypatch) as watch:
        await executions.mean_delay(LearnedWait())
    assert watch.longest_step < MAX_STEP


async def test_under_a_cap_executions_that_have_probably_ended_go_first() -> None:
    """Half of the executions take 15 s, the others 300 s; the IDs tell which."""
    rng = random.Random(1)
    durations = {f"{number % 2}-{number}": rng.gauss(300 if number % 2 else 15, 2) for number in range(2000)}
    learned = LearnedWait(key=lambda execution_id: execution_id[0])
    delay = await Executions(durations).mean_delay(learned, max_rate=20)
    began = asyncio.get_running_loop().time()
    later = {name: began + duration for name, duration in durations.items()}
    assert delay < 0.8 * await Executions(later).mean_delay(ProportionalWait(), max_rate=20)


async def test_a_session_closes_while_waits_decide_again() -> None:
    learned, dispatcher = LearnedWait(), FakeDispatcher()
    poller = dispatcher.poller()
    for number in range(40):
        dispatcher.script(str(number), RUNNING, SUCCESS)
    tasks = [asyncio.ensure_future(poller.wait(str(number), PollPolicy(wait=learned))) for number in range(2000)]
    await asyncio.sleep(1.0)
    await poller.close()
    outcomes = await asyncio.gather(*tasks)
    assert {type(outcome.error).__name__ for outcome in outcomes} <= {"NoneType", "SessionClosedError"}
