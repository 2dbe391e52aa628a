"""The study of when to poll: its simulation and its oracle are right, and the page shows its figures."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

np = pytest.importorskip("numpy")
laws = pytest.importorskip("benchmarks.study.laws")  # a source distribution has no benchmarks
experiments = pytest.importorskip("benchmarks.study.experiments")

from benchmarks.study import saturation, sessions, strategies, tables, targets  # noqa: E402
from benchmarks.study.figures import compared, geometric_mean, rounded  # noqa: E402
from benchmarks.study.oracle import Oracle  # noqa: E402
from benchmarks.study.simulation import Result, simulate  # noqa: E402
from benchmarks.study.sizes import SHORT  # noqa: E402
from truebit_async.strategies import Observation  # noqa: E402
from truebit_async.testing import VirtualTimeLoop  # noqa: E402

ROOT = Path(__file__).parents[2]


class Listening:
    """A fixed interval that keeps what it hears, and asks to decide again when `decides_again` says so."""

    def __init__(self, interval: float, decides_again: Callable[[Observation], bool] = lambda _: False) -> None:
        self.interval = interval
        self.heard: list[Observation] = []
        self.states: list[tuple[int, float, float, float]] = []
        self._decides_again = decides_again

    def __call__(self, state: Any) -> float:
        self.states.append((state.attempt_number, state.seconds_since_start, state.execution_age, state.seen_at))
        return self.interval

    def observe(self, observation: Observation) -> bool:
        self.heard.append(observation)
        return self._decides_again(observation)


def figures_of(result: Result) -> tuple[list[int], list[float]]:
    return result.requests.tolist(), [round(delay, 6) for delay in result.delays.tolist()]


def test_polls_are_counted_and_delays_end_with_the_poll_that_finds_the_end() -> None:
    assert figures_of(simulate([3.2, 0.5, 2.0], strategies.fixed(1))) == ([5, 2, 3], [0.8, 0.5, 0.0])


def test_a_wait_ends_at_its_deadline() -> None:
    strategy = Listening(250)
    result = simulate([math.inf], strategy)
    assert result.requests.tolist() == [3]
    assert math.isnan(result.delays[0])
    assert strategy.heard[-1][2:6] == (600, 500, 3, "left")


def test_a_request_takes_time_and_the_server_looks_half_way() -> None:
    strategy = Listening(1)
    assert figures_of(simulate([1.65], strategy, latency=lambda: 0.4)) == ([3], [1.55])
    heard = [(round(o.age, 6), o.pending_age and round(o.pending_age, 6), o.polls, o.what) for o in strategy.heard]
    assert heard == [(0.4, None, 1, "pending"), (1.8, 0.4, 2, "pending"), (3.2, 1.8, 3, "finished")]


def test_an_execution_may_be_older_than_its_wait() -> None:
    strategy = Listening(2)
    simulate([3.0], strategy, submitted=[10.0], starts=50)
    assert strategy.states == [(1, 0, 10, 50), (2, 2, 12, 52)]
    assert [observation.age for observation in strategy.heard] == [10, 12, 14]


def test_sleeping_waits_are_decided_again() -> None:
    def shorten(observation: Observation) -> bool:
        strategy.interval = 4 if observation.what == "finished" else strategy.interval
        return observation.what == "finished"

    strategy = Listening(10, shorten)
    # The first execution is found at 10 s. The second one sleeps until 10.5 s. It is now due at 4.5 s, so at once. The
    # third one sleeps until 11 s. It is now due at once too, and then every 4 s.
    assert figures_of(simulate([7.0, 8.0, 20.0], strategy)) == ([2, 2, 5], [3.0, 1.5, 1.0])


def test_all_may_begin_at_once() -> None:
    strategy = Listening(1)
    simulate([0.5, 0.5], strategy, interval=0, first_number=7)
    heard: list[tuple[object, float]] = [(o.execution_id, o.age) for o in strategy.heard]
    assert heard == [(7, 0), (8, 0), (7, 1), (8, 1)]


def test_executions_that_never_end_have_no_delay() -> None:
    result = Result(np.array([2, 3, 10]), np.array([1.0, 2.0, math.nan]))
    assert result.summary() == {"requests": 5.0, "delay": 1.5, "p95": 2.0}
    assert result.summary(0, 1) == {"requests": 2.0, "delay": 1.0, "p95": 1.0}


@pytest.mark.parametrize("law", [*laws.LAWS, *laws.HELD_OUT], ids=lambda law: law.name)
def test_a_law_draws_as_its_distribution_function_says(law: Any) -> None:
    durations = np.sort(law.durations(3000, seed=5))
    ages = durations[[300, 1000, 1500, 2000, 2700]]
    ages = np.where(np.isfinite(ages), ages, 1e6)
    measured = np.searchsorted(durations, ages, side="right") / len(durations)
    assert np.abs(law.cdf(ages) - measured).max() < 0.03


def test_the_oracle_polls_an_execution_without_memory_at_even_gaps() -> None:
    mean, price = 10.0, 0.5
    plan = Oracle(laws.exponential(mean)).plan(price)
    best = min(np.arange(0.5, 10, 0.001), key=lambda gap: abs(math.exp(gap / mean) - gap / mean - 1 - price / mean))
    share = 1 - math.exp(-best / mean)  # that ends within a gap
    assert np.abs(np.diff(plan.ages[:12]) - best).max() < 0.06
    assert plan.requests == pytest.approx(1 + 1 / share, rel=0.01)
    assert plan.delay == pytest.approx(best / share - mean, rel=0.01)


def test_the_gaps_of_the_oracle_shrink_by_the_price_if_all_durations_are_equally_probable() -> None:
    gaps = np.diff(Oracle(laws.uniform(0, 60)).plan(0.5).ages)
    assert np.abs(np.diff(gaps[: np.argmax(gaps < 1)]) + 0.5).max() < 0.11


def test_the_oracle_meets_what_is_asked_for() -> None:
    oracle = Oracle(laws.lognormal(8, 0.5))
    delay = oracle.delay_at(6.0)
    assert oracle.requests_at(delay) == pytest.approx(6.0, rel=0.01)
    assert 0.6 < delay < 0.75


def test_no_strategy_beats_the_oracle() -> None:
    law = laws.QUICK_OR_SLOW
    for strategy in (strategies.full_jitter(), strategies.default(), strategies.fixed(2), strategies.learned()):
        found = simulate(law.durations(2000, seed=4), strategy).summary()
        assert Oracle(law).delay_at(found["requests"]) < found["delay"]


def ended_together(at_once: bool = True) -> saturation.Case:
    return saturation.Case("constant", (laws.constant(1.0),), at_once=at_once)


@pytest.mark.parametrize("strategy", saturation.STRATEGIES)
def test_a_cap_is_kept(strategy: str) -> None:
    count, rate = 400, 10
    result = saturation.run(ended_together(), strategy, count, rate)
    # All but those of the first second are found to have ended at their first poll.
    assert result.requests.sum() == pytest.approx(count + rate, abs=2)
    assert result.delays.mean() == pytest.approx(count / (0.98 * rate) / 2, rel=0.05)
    assert result.delays.max() == pytest.approx(count / (0.98 * rate), rel=0.05)


def test_without_a_queue_the_order_does_not_matter() -> None:
    durations, starts = [30.2, 20.7, 3.9], [0.0, 40.0, 80.0]

    def found(strategy: Any) -> tuple[list[int], list[float]]:
        random.seed(1)  # the default draws from this generator
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            return figures_of(runner.run(saturation.Executions(durations, starts).wait_for_all(strategy, 1000)))

    assert found(strategies.fixed(2.0)) == ([17, 12, 3], [1.8, 1.3, 0.1])
    assert found(saturation.WithoutExpectedDelay(strategies.learned())) == found(strategies.learned())


def test_means_of_ratios() -> None:
    ours, reference = {"requests": 8.0, "delay": 1.0}, {"requests": 4.0, "delay": 3.0}
    assert compared(ours, reference) == {"requests": 2.0, "lower": 3.0, "at equal requests": 1.5}
    assert geometric_mean([2.0, 8.0]) == pytest.approx(4.0)
    assert rounded({"a": [1.23456, 2, None, "b"]}) == {"a": [1.235, 2, None, "b"]}


def test_a_session_polls_as_the_simulation_does() -> None:
    durations = laws.lognormal(4, 0.5).durations(20, seed=9)
    real = sessions.wait_for_all(durations, strategies.full_jitter())
    simulated = simulate(durations, strategies.full_jitter())
    assert real.requests.tolist() == simulated.requests.tolist()
    assert np.abs(real.delays - simulated.delays).max() < 0.01


def test_all_figures_are_the_same_in_each_process() -> None:
    names = ["drift", "saturation"]
    report = experiments.run(SHORT, names)["simulated"]
    for name in names:
        command = [sys.executable, "-m", "benchmarks.study", "--short", "--only", name]
        ran = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"PYTHONHASHSEED": "5"}, stdout=subprocess.PIPE, check=True
        )
        assert json.loads(ran.stdout)["simulated"][name] == report[name]


@pytest.fixture
def report() -> dict[str, Any]:
    report: dict[str, Any] = json.loads(tables.REPORT.read_text(encoding="utf-8"))
    return report


def test_the_tables_are_made_from_the_figures(report: dict[str, Any]) -> None:
    assert tables.TABLE.read_text(encoding="utf-8") == tables.table(report), "run: python -m benchmarks.study.tables"


def test_each_missed_target_is_explained(report: dict[str, Any]) -> None:
    assert {target.what for target in targets.targets(report) if not target.is_met} == set(targets.REASONS)


@pytest.mark.parametrize(("figure", "is_least", "is_met"), [(2, True, True), (1.9, True, False), (2.1, False, False)])
def test_a_target_is_met_or_missed(figure: float, is_least: bool, is_met: bool) -> None:
    assert targets.Target("what", 2, figure, is_least=is_least).is_met == is_met


def test_the_page_shows_every_part_of_its_tables(report: dict[str, Any]) -> None:
    marks = re.findall("<!-- .* -->", tables.table(report))
    page = (ROOT / "docs" / "explanation" / "when-to-ask.md").read_text(encoding="utf-8")
    shown = list(zip(re.findall(":start-after: (.*)", page), re.findall(":end-before: (.*)", page), strict=True))
    assert sorted(shown) == sorted(pairwise(marks))


def test_a_session_is_as_late_as_the_simulation_says(report: dict[str, Any]) -> None:
    for row in report["measured"]["sessions"]:
        assert row["requests"] == pytest.approx(1, abs=0.1), row["law"]
        assert row["delay"] == pytest.approx(1, abs=0.1), row["law"]


def test_even_gaps_detect_an_end_earlier() -> None:
    plots = pytest.importorskip("benchmarks.study.plots")
    assert len(plots.EVEN_GAPS) == len(plots.UNEVEN_GAPS)
    assert sum(plots.EVEN_GAPS) == sum(plots.UNEVEN_GAPS)
    assert plots.expected_delay(plots.EVEN_GAPS) == 2.5
    assert plots.expected_delay(plots.UNEVEN_GAPS) == pytest.approx(11 / 3)
