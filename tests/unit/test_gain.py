"""What `LearnedWait.gain` tells, against executions whose ends are known."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from tests.fake_dispatcher import RUNNING, SUCCESS, FakeDispatcher
from truebit_async import Execution, PollPolicy, strategies
from truebit_async._learning.gain import Ends
from truebit_async._learning.group import Dice
from truebit_async.policy import WaitStrategy
from truebit_async.strategies import Gain, LearnedWait, Observation, ProportionalWait
from truebit_async.testing.virtual_time import VirtualTimeLoop


class Executions(FakeDispatcher):
    """Executions whose durations are known."""

    def __init__(self, durations: dict[str, float]) -> None:
        super().__init__()
        self.durations = durations
        self.begun: dict[str, float] = {}
        self.polls: Counter[str] = Counter()
        self.delays: dict[str, float] = {}

    async def fetch(self, execution_id: str, *_: object, **__: object) -> Execution:
        now = asyncio.get_running_loop().time()
        self.polls[execution_id] += 1
        age = now - self.begun.setdefault(execution_id, now)
        if age < self.durations[execution_id]:
            return Execution(execution_id, RUNNING)
        self.delays[execution_id] = age - self.durations[execution_id]
        return Execution(execution_id, SUCCESS)


def wait_for(durations: dict[str, float], wait: WaitStrategy, at_a_time: int) -> tuple[float, float]:
    """Wait for executions; return their mean number of requests and their mean delay."""

    async def run() -> Executions:
        executions = Executions(durations)
        poller = executions.poller()
        async for _ in poller.wait_for_all(list(durations), PollPolicy(wait=wait, deadline=None), at_a_time):
            pass
        await poller.close()
        return executions

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        executions = runner.run(run())
    return mean(executions.polls.values()), mean(executions.delays.values())


DRAWS: dict[str, Callable[[random.Random], float]] = {
    "even": lambda draw: draw.uniform(5, 35),
    "skewed": lambda draw: draw.lognormvariate(3, 0.5),
    "alike": lambda draw: draw.gauss(20, 0.3),
}


@pytest.fixture
def _same_dice_in_every_run(monkeypatch: pytest.MonkeyPatch) -> None:
    random.seed(1)
    draw = random.Random(2)
    monkeypatch.setattr(strategies, "_dice", lambda *_: Dice(draw.random(), draw.random(), draw.random()))


@pytest.mark.usefixtures("_same_dice_in_every_run")
@pytest.mark.parametrize(
    ("name", "at_a_time", "tolerance"),
    [
        ("even", 40, 0.15),
        ("even", 400, 0.15),
        ("skewed", 40, 0.15),
        ("skewed", 400, 0.15),
        ("alike", 40, 0.15),
        ("alike", 400, 0.3),  # all end between the same two polls; half of the gap would be 2.7 times the truth
    ],
)
def test_the_estimates_are_near_the_truth(name: str, at_a_time: int, tolerance: float) -> None:
    """They come from a sample, so each differs a little from the truth by chance. The mean of a few does not."""
    delays, default_delays = [], []
    for seed in range(2):
        draw = random.Random(seed)
        durations = {f"id-{number}": DRAWS[name](draw) for number in range(400)}
        learned = LearnedWait()
        requests, delay = wait_for(durations, learned, at_a_time)
        default_requests, default_delay = wait_for(durations, ProportionalWait(), at_a_time)
        gain = learned.gain()
        assert gain is not None
        assert gain.completed == 400
        assert gain.mean_requests == pytest.approx(requests)
        assert gain.default_requests == pytest.approx(default_requests, rel=0.05)
        delays.append(gain.mean_delay / delay)
        default_delays.append(gain.default_delay / default_delay)
    assert mean(delays) == pytest.approx(1, rel=tolerance)
    assert mean(default_delays) == pytest.approx(1, rel=tolerance)


def tell(wait: LearnedWait, execution_id: str, *ages: float) -> None:
    """Tell of polls at these ages, the last of which finds the execution ended."""
    before = None
    for polls, age in enumerate(ages, start=1):
        what = "finished" if age == ages[-1] else "pending"
        wait.observe(Observation(execution_id, "function", age, before, polls, what))  # type: ignore[arg-type]
        before = age


def test_too_little_is_known_before_16_ends() -> None:
    wait = LearnedWait()
    for number in range(15):
        tell(wait, f"id-{number}", 0.0, 1.0)
    tell(wait, "ended-before", 0.0)
    assert wait.gain() is None
    tell(wait, "id-15", 0.0, 1.0)
    gain = wait.gain()
    assert gain is not None
    assert (gain.completed, gain.mean_requests) == (16, 2.0)
    assert gain.mean_delay == pytest.approx(0.5)


def test_what_a_file_holds_does_not_count(tmp_path: Path) -> None:
    before = LearnedWait()
    for number in range(20):
        tell(before, f"id-{number}", 0.0, 1.0)
    before.save(tmp_path / "learned.json")
    wait = LearnedWait()
    wait.load(tmp_path / "learned.json")
    assert wait.describe()[0].completed == 20
    assert wait.gain() is None


def test_several_groups_count_by_their_executions() -> None:
    wait = LearnedWait(key=lambda execution_id: execution_id.split("-")[0])
    for number in range(30):
        tell(wait, f"a-{number}", 0.0, 1.0)
    for number in range(10):
        tell(wait, f"b-{number}", 0.0, 1.0, 2.0, 6.0)
    gain = wait.gain()
    assert gain is not None
    assert (gain.completed, gain.mean_requests) == (40, (30 * 2 + 10 * 4) / 40)
    assert gain.mean_delay == pytest.approx((30 * 0.5 + 10 * 2) / 40)


def test_executions_of_a_day_are_estimated_quickly() -> None:
    ends = Ends()
    for number in range(1000):
        ends.add(86_000.0 + number, 86_008.0 + number, 10_800)
    started = time.perf_counter()
    gain = ends.gain(ProportionalWait())
    assert time.perf_counter() - started < 1
    assert isinstance(gain, Gain)
    assert gain.default_requests == pytest.approx(86_500 / 7.2, rel=0.02)
    assert 3 < gain.mean_delay < 5
