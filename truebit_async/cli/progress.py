"""The progress of a batch on stderr: a live display on a terminal, and a plain line every few seconds elsewhere.

The display is a listener of the session, and takes everything it shows from events.
"""

from __future__ import annotations

import asyncio
import sys
import time
from types import TracebackType
from typing import Self

from rich.align import Align
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from truebit_async._text import one_line
from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.connection_state import ConnectionState
from truebit_async.cli.output import print_to_stdout
from truebit_async.cli.statistics import Rate
from truebit_async.cli.summary import Summary
from truebit_async.events import Paused, Polled, PollEvent

SECONDS_BETWEEN_LINES = 5.0
FRAMES_PER_SECOND = 10
_RATE_WINDOW = 10.0  # seconds


class BatchProgress:
    """Shows counts, rates and an estimate of the remaining time while a batch runs.

    Args:
        console: where to show the progress.
        live: whether to use a live display. It needs a terminal that nothing else reads from or writes to.
        quiet: whether to print messages only.

    Attributes:
        summary: the counts.
        has_answer: whether a request was answered with the state of an execution.
    """

    def __init__(self, console: Console, *, live: bool, quiet: bool = False) -> None:
        self.summary: Summary = Summary()
        self.has_answer: bool = False
        self._console = console
        self._is_quiet = quiet
        self._connection_state = ConnectionState()
        self._paused_until = 0.0
        self._request_rate, self._finish_rate = Rate(_RATE_WINDOW), Rate(_RATE_WINDOW)
        self._last_line_at = time.monotonic()
        self._request_rate.sample(self._last_line_at, 0)
        self._finish_rate.sample(self._last_line_at, 0)
        self._live: Live | None = None
        self._is_drawn = False
        self._next_frame: asyncio.TimerHandle | None = None
        if live:
            self._live = Live(
                console=console,
                auto_refresh=False,  # the event loop draws the frames, so that no frame interrupts a result
                transient=True,
                redirect_stdout=False,  # results go to the real stdout, which may be a file
                redirect_stderr=False,
            )

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
            self._draw(self._live)
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._next_frame is not None:
            self._next_frame.cancel()
        if self._live is not None:
            self._live.stop()

    def __call__(self, event: PollEvent) -> None:
        """Count an event of the session, and print a progress line if one is due."""
        self.summary.add(event)
        if isinstance(event, Paused):
            self._paused_until = time.monotonic() + event.seconds
        if isinstance(event, Polled):
            self.has_answer = self.has_answer or event.execution is not None
            message = self._connection_state.take(event.error, time.monotonic())
            if message is not None:
                self.print_message(message)
        if self._live is None and not self._is_quiet and time.monotonic() - self._last_line_at >= SECONDS_BETWEEN_LINES:
            self._last_line_at = time.monotonic()
            self.print_message("; ".join([self._counts(), *self._figures()]))

    def print_message(self, message: str) -> None:
        """Print a message to the console, on one line and with control characters escaped."""
        self._clear_display()
        self._console.print(one_line(message), highlight=False, markup=False, soft_wrap=True)

    def print_result(self, line: str) -> None:
        """Print a line to stdout.

        Raises:
            OutputError: the line cannot be written, for example because the disk is full.
            BrokenPipeError: the reader has closed the pipe.
        """
        if sys.stdout.isatty():  # stdout may be the terminal that shows the live display
            self._clear_display()
        print_to_stdout(line)

    def _draw(self, live: Live) -> None:
        live.update(self._render(), refresh=True)
        self._is_drawn = True
        self._next_frame = asyncio.get_running_loop().call_later(1 / FRAMES_PER_SECOND, self._draw, live)

    def _clear_display(self) -> None:
        """Clear the live display until its next frame."""
        if self._live is not None and self._is_drawn:
            self._live.update("", refresh=True)
            self._is_drawn = False

    def _counts(self) -> str:
        by_category = self.summary.by_category
        counts = [f"{by_category[category]:,} {category}" for category in OutcomeCategory if by_category[category]]
        return f"{self.summary.headline}: {', '.join(counts)}" if counts else self.summary.headline

    def _figures(self) -> list[str]:
        now, summary = time.monotonic(), self.summary
        figures = [f"{self._request_rate.sample(now, summary.requests):.1f} requests/s", *summary.duration_figures()]
        finish_rate = self._finish_rate.sample(now, summary.finished)
        if summary.is_total_known and finish_rate > 0 and summary.finished < summary.total:
            figures.append(f"about {_format_duration((summary.total - summary.finished) / finish_rate)} left")
        if self._paused_until > now:
            figures.append(f"PAUSED by the server for {_format_duration(self._paused_until - now)}")
        lost_at = self._connection_state.lost_at
        if lost_at is not None:
            figures.append(f"NO CONNECTION for {_format_duration(now - lost_at)}")
        return figures

    def _render(self) -> Group:
        total = max(1, self.summary.total) if self.summary.is_total_known else None  # without a total, the bar pulses
        bar = ProgressBar(total=total, completed=self.summary.finished, width=40)
        return Group(Align.left(bar), Text(self._counts()), Text("; ".join(self._figures())))


def _format_duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
