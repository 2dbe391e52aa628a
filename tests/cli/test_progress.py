"""The progress display and the summary, driven by events."""

from __future__ import annotations

import asyncio
import io
import json
import random
import sys

import pytest
from rich.console import Console, Group

from truebit_async import Execution, Finished, Outcome, Paused, Polled, PollEvent, VerificationStatus, errors
from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.progress import BatchProgress, _format_duration
from truebit_async.cli.statistics import Durations, Rate
from truebit_async.cli.summary import Summary


def polled() -> PollEvent:
    return Polled("id", "function", 0.1, Execution("id", VerificationStatus.RUNNING), None)


def finished(seconds: float = 2.0, status: VerificationStatus = VerificationStatus.ERROR) -> PollEvent:
    return Finished("id", "function", Outcome("id", Execution("id", status), None, 1, seconds), 1)


def unanswered() -> PollEvent:
    return Finished("id", "function", Outcome("id", None, errors.TransportError("id", "reset"), 1, 2.0), 1)


def printed_lines(summary: Summary) -> list[str]:
    file = io.StringIO()
    Console(file=file, width=80).print(summary.as_text())
    return file.getvalue().splitlines()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr("truebit_async.cli.progress.time.monotonic", lambda: clock[0])
    return clock


def test_without_a_terminal_a_line_is_printed_every_few_seconds(clock: list[float]) -> None:
    file = io.StringIO()
    progress = BatchProgress(Console(file=file, width=80), live=False)
    progress.summary.total, progress.summary.is_total_known = 100, True
    with progress:
        for _ in range(12):
            clock[0] += 1
            progress(polled())
            progress(finished())
        progress(Paused("id", "function", 30.0, errors.RateLimitedError("id", 429)))
        clock[0] += 5
        progress(unanswered())
    first, second, third = file.getvalue().splitlines()
    assert first == "4 of 100 finished: 4 error; 1.0 requests/s; median 2.0 s; p95 2.0 s; about 0:02:00 left"
    assert second.startswith("9 of 100 finished: 9 error; 1.0 requests/s; median 2.0 s; p95 2.0 s; about 0:01:41 left")
    assert third.startswith("13 of 100 finished: 12 error, 1 no final state")
    assert third.endswith("PAUSED by the server for 0:00:25")
    title, *table = printed_lines(progress.summary)
    assert title.strip() == "13 of 100 finished"
    assert "12 requests in 17.0 s" in " ".join(table)
    assert "median 2.0 s, p95 2.0 s" in " ".join(table)


def test_no_total_and_no_estimate_until_the_input_has_ended(clock: list[float]) -> None:
    file = io.StringIO()
    progress = BatchProgress(Console(file=file, width=80), live=False)
    progress.summary.total = 40
    for _ in range(12):
        clock[0] += 5
        progress(finished())
    progress.summary.is_total_known = True
    clock[0] += 5
    progress(finished())
    *_, before, after = file.getvalue().splitlines()
    assert before == "12 finished of 40 read so far: 12 error; 0.0 requests/s; median 2.0 s; p95 2.0 s"
    assert after.startswith("13 of 40 finished: 13 error")
    assert after.endswith("about 0:02:15 left")


@pytest.mark.parametrize("is_total_known", [True, False])
def test_the_bar_has_its_own_line_and_shows_the_total_if_it_is_known(is_total_known: bool) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=100)
    progress = BatchProgress(console, live=True)
    progress.summary.total, progress.summary.is_total_known = 4, is_total_known
    progress(finished())
    console.print(progress._render())
    bar, counts, facts = screen.getvalue().splitlines()
    assert bar.strip() == "━" * (10 if is_total_known else 40)
    assert counts == ("1 of 4 finished: 1 error" if is_total_known else "1 finished of 4 read so far: 1 error")
    assert facts.startswith("0.0 requests/s; median 2.0 s; p95 2.0 s")


def test_an_outcome_without_an_answer_does_not_count_in_the_durations() -> None:
    summary = Summary()
    summary.add(unanswered())
    assert summary.duration_figures() == []
    summary.add(finished(3.0))
    assert summary.duration_figures() == ["median 3.0 s", "p95 3.0 s"]


def test_the_json_summary_has_every_field(clock: list[float]) -> None:
    summary = Summary()
    assert json.loads(summary.as_json(ExitCode.USAGE)) == {
        "summary": {
            "outcomes": {"succeeded": 0, "failed": 0, "indeterminate": 0, "error": 0, "noFinalState": 0},
            "total": 0,
            "skipped": 0,
            "skippedOutcomes": {"succeeded": 0, "failed": 0, "indeterminate": 0, "error": 0, "noFinalState": 0},
            "malformed": 0,
            "causes": [],
            "requests": 0,
            "seconds": 0.0,
            "medianSeconds": None,
            "p95Seconds": None,
            "learned": None,
            "exitCode": 2,
        }
    }
    clock[0] += 2.5
    summary.total, summary.malformed = 7, 1
    summary.skipped[OutcomeCategory.FAILED] = 2
    for event in (polled(), finished(1.0), finished(1.0), unanswered()):
        summary.add(event)
    fields = json.loads(summary.as_json(ExitCode.NO_FINAL_STATE))["summary"]
    assert fields["outcomes"] == {"succeeded": 0, "failed": 0, "indeterminate": 0, "error": 2, "noFinalState": 1}
    assert [fields[name] for name in ("total", "skipped", "malformed", "requests", "seconds", "exitCode")] == [
        7, 2, 1, 1, 2.5, 3,
    ]  # fmt: skip
    assert fields["medianSeconds"] == pytest.approx(1.0, rel=0.015)
    assert fields["p95Seconds"] == pytest.approx(1.0, rel=0.015)


async def test_a_live_display_does_not_write_to_stdout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = io.StringIO()
    progress = BatchProgress(Console(file=screen, force_terminal=True, width=100), live=True)
    progress.summary.total, progress.summary.is_total_known = 2, True
    with progress:
        progress.print_result("a line")
        progress(finished(status=VerificationStatus.INDETERMINATE))
        monkeypatch.setattr("truebit_async.cli.progress.SECONDS_BETWEEN_LINES", 0)
        progress(unanswered())
        await asyncio.sleep(0.15)
    assert capsys.readouterr().out == "a line\n"
    assert "requests/s" in screen.getvalue()
    assert "; 0.0 requests/s" not in screen.getvalue()  # the format of a plain progress line
    assert "2 of 2 finished: 1 indeterminate, 1 no final state" in screen.getvalue()


@pytest.mark.full
async def test_ten_frames_a_second_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = []
    progress = BatchProgress(Console(file=io.StringIO(), force_terminal=True), live=True)
    render = progress._render

    def count() -> Group:
        frames.append(1)
        return render()

    monkeypatch.setattr(progress, "_render", count)
    with progress:
        for _ in range(1000):
            progress(polled())
        assert len(frames) == 1
        await asyncio.sleep(0.55)
        assert 3 <= len(frames) <= 6
    drawn = len(frames)
    await asyncio.sleep(0.15)
    assert len(frames) == drawn


def test_the_display_is_cleared_once_per_frame_and_only_if_stdout_is_a_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def print_results(*, is_terminal: bool) -> tuple[int, int]:
        screen = io.StringIO()
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal)
        with BatchProgress(Console(file=screen, force_terminal=True), live=True) as progress:
            drawn = screen.tell()
            progress.print_result("a line")
            erased = screen.tell()
            for _ in range(100):
                progress.print_result("a line")
            return erased - drawn, screen.tell() - erased

    first, rest = asyncio.run(print_results(is_terminal=True))
    assert first > 0
    assert rest == 0
    assert asyncio.run(print_results(is_terminal=False)) == (0, 0)


def test_nothing_to_wait_for() -> None:
    summary = Summary()
    summary.is_total_known = True
    assert printed_lines(summary) == ["0 of 0 finished", "0 requests in 0.0 s"]


def test_the_summary_counts_skipped_ids_and_malformed_lines() -> None:
    summary = Summary()
    summary.add(polled())
    summary.malformed = 2
    summary.skipped[OutcomeCategory.SUCCEEDED] = 3
    head, *table, costs = printed_lines(summary)
    assert head == "0 finished of 0 read so far"
    rows = [row.strip("│").split("│") for row in table if row.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["succeeded", "0", "3"],
        ["malformed lines", "2", ""],
    ]
    assert costs == "1 request in 0.0 s"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00:00"), (59.6, "0:01:00"), (3725, "1:02:05")])
def test_format_duration(seconds: float, text: str) -> None:
    assert _format_duration(seconds) == text


def test_quantiles_are_exact_to_one_percent() -> None:
    rng = random.Random(1)
    values = [rng.expovariate(0.2) for _ in range(5000)]
    durations = Durations()
    assert durations.quantile(0.5) is None
    for value in values:
        durations.add(value)
    values.sort()
    for fraction in (0.05, 0.5, 0.95, 1.0):
        exact = values[max(0, round(fraction * 5000) - 1)]
        assert durations.quantile(fraction) == pytest.approx(exact, rel=0.015)


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 1.0, 2.0, 2.01, 2.02, 2.03, 10.0])
def test_no_quantile_is_above_the_longest(seconds: float) -> None:
    durations = Durations()
    durations.add(seconds)
    for fraction in (0.5, 0.95, 1.0):
        assert durations.quantile(fraction) == pytest.approx(seconds, rel=0.01)
        assert (durations.quantile(fraction) or 0) <= seconds


def test_a_rate_covers_the_last_seconds() -> None:
    rate = Rate(window=10)
    assert rate.sample(0.0, 0) == 0.0
    assert rate.sample(2.0, 100) == 50.0
    assert rate.sample(20.0, 100) == 0.0
    assert rate.sample(25.0, 150) == 10.0
