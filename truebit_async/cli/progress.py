"""How far a batch has come, on stderr: a live display on a terminal, plain lines from time to time elsewhere.

It is a listener of the session and learns all it shows from events.
"""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from truebit_async.cli.results import Verdict
from truebit_async.cli.statistics import Durations, Rate
from truebit_async.events import Finished, Paused, Polled, PollEvent

SECONDS_BETWEEN_LINES = 5.0
FRAMES_PER_SECOND = 10
_WINDOW = 10.0  # seconds over which rates are measured


class BatchProgress:
    """Shows counts, rates and an estimate while a batch runs, and a table at its end.

    Args:
        console: where to show it; a terminal gets a live display.

    Attributes:
        total: how many executions are waited for.
    """

    def __init__(self, console: Console) -> None:
        self.total = 0
        self._console = console
        self._counts: Counter[Verdict] = Counter()
        self._requests = 0
        self._durations = Durations()
        self._paused_until = 0.0
        self._request_rate, self._finish_rate = Rate(_WINDOW), Rate(_WINDOW)
        self._started = self._last_line = time.monotonic()
        self._live: Live | None = None
        if console.is_terminal:
            self._live = Live(
                get_renderable=self._render,
                console=console,
                refresh_per_second=FRAMES_PER_SECOND,
                transient=True,
                redirect_stdout=False,  # results go to the real stdout, which may be a pipe
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        self._console.print(self._summary())

    def __call__(self, event: PollEvent) -> None:
        """Take in an event of the session."""
        match event:
            case Polled():
                self._requests += 1
            case Paused():
                self._paused_until = time.monotonic() + event.seconds
            case Finished():
                self._counts[Verdict.of(event.outcome.execution)] += 1
                self._durations.add(event.outcome.elapsed)
        if self._live is None and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._say("; ".join([self._done(), *self._facts()]))

    def print_result(self, line: str) -> None:
        """Print a line to stdout; a live display makes way for it, since both may be the same terminal."""
        if self._live is not None:
            self._live.stop()
        print(line, flush=True)
        if self._live is not None:
            self._live.start()

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _done(self) -> str:
        done = self._counts.total()
        counts = ", ".join(f"{self._counts[verdict]} {verdict}" for verdict in Verdict if self._counts[verdict])
        return f"{done} of {self.total} finished{': ' if counts else ''}{counts}"

    def _facts(self) -> list[str]:
        now, done = time.monotonic(), self._counts.total()
        facts = [f"{self._request_rate.sample(now, self._requests):.1f} requests/s", *self._times()]
        finish_rate = self._finish_rate.sample(now, done)
        if finish_rate > 0 and done < self.total:
            facts.append(f"about {_clock((self.total - done) / finish_rate)} left")
        if self._paused_until > now:
            facts.append(f"PAUSED by the server for {_clock(self._paused_until - now)}")
        return facts

    def _times(self) -> list[str]:
        median, p95 = self._durations.quantile(0.5), self._durations.quantile(0.95)
        return [] if median is None or p95 is None else [f"median {median:.1f} s", f"p95 {p95:.1f} s"]

    def _render(self) -> Group:
        bar = ProgressBar(total=max(1, self.total), completed=self._counts.total(), width=40)
        return Group(bar, Text(self._done()), Text("; ".join(self._facts())))

    def _summary(self) -> Table:
        table = Table(title=f"{self._counts.total()} of {self.total} finished", title_justify="left")
        table.add_column("verdict")
        table.add_column("executions", justify="right")
        for verdict in Verdict:
            if self._counts[verdict]:
                table.add_row(verdict, str(self._counts[verdict]))
        elapsed = time.monotonic() - self._started
        table.caption = ", ".join([f"{self._requests} requests in {elapsed:.1f} s", *self._times()])
        table.caption_justify = "left"
        return table


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
