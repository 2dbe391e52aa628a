"""How far a batch has come, on stderr: a live display on a terminal, plain lines from time to time elsewhere.

It is a listener of the session and learns all it shows from events.
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

from truebit_async.cli.output import print_out
from truebit_async.cli.results import Verdict
from truebit_async.cli.statistics import Rate
from truebit_async.cli.tally import Tally
from truebit_async.events import Paused, PollEvent

SECONDS_BETWEEN_LINES = 5.0
FRAMES_PER_SECOND = 10
_WINDOW = 10.0  # seconds over which rates are measured


class BatchProgress:
    """Shows counts, rates and an estimate while a batch runs.

    Args:
        console: where to show it.
        live: whether as a live display, which needs a terminal on which nobody types.

    Attributes:
        tally: the counts.
    """

    def __init__(self, console: Console, *, live: bool) -> None:
        self.tally: Tally = Tally()
        self._console = console
        self._paused_until = 0.0
        self._request_rate, self._finish_rate = Rate(_WINDOW), Rate(_WINDOW)
        self._last_line = time.monotonic()
        self._live: Live | None = None
        self._is_drawn = False
        self._next_frame: asyncio.TimerHandle | None = None
        if live:
            self._live = Live(
                console=console,
                auto_refresh=False,  # frames come from the event loop, so that none falls into the middle of a result
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
        """Take in an event of the session."""
        self.tally.take(event)
        if isinstance(event, Paused):
            self._paused_until = time.monotonic() + event.seconds
        if self._live is None and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self.say("; ".join([self._done(), *self._facts()]))

    def say(self, line: str) -> None:
        """Print a line to the console; a live display makes way for it."""
        self._make_way()
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def print_result(self, line: str) -> None:
        """Print a line to stdout; a live display makes way for it if that is a terminal, perhaps the same.

        Raises:
            OutputError: it could not be written, for example because the disk is full.
            BrokenPipeError: nobody reads it any more.
        """
        if sys.stdout.isatty():
            self._make_way()
        print_out(line)

    def _draw(self, live: Live) -> None:
        live.update(self._render(), refresh=True)
        self._is_drawn = True
        self._next_frame = asyncio.get_running_loop().call_later(1 / FRAMES_PER_SECOND, self._draw, live)

    def _make_way(self) -> None:
        """Leave an empty line of the display, until the next frame."""
        if self._live is not None and self._is_drawn:
            self._live.update("", refresh=True)
            self._is_drawn = False

    def _done(self) -> str:
        verdicts = self.tally.verdicts
        counts = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in Verdict if verdicts[verdict])
        return f"{self.tally.headline}{': ' if counts else ''}{counts}"

    def _facts(self) -> list[str]:
        now, tally = time.monotonic(), self.tally
        facts = [f"{self._request_rate.sample(now, tally.requests):.1f} requests/s", *tally.times()]
        finish_rate = self._finish_rate.sample(now, tally.finished)
        if tally.is_total_known and finish_rate > 0 and tally.finished < tally.total:
            facts.append(f"about {_clock((tally.total - tally.finished) / finish_rate)} left")
        if self._paused_until > now:
            facts.append(f"PAUSED by the server for {_clock(self._paused_until - now)}")
        return facts

    def _render(self) -> Group:
        total = max(1, self.tally.total) if self.tally.is_total_known else None  # without one, the bar pulses
        bar = ProgressBar(total=total, completed=self.tally.finished, width=40)
        return Group(Align.left(bar), Text(self._done()), Text("; ".join(self._facts())))


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
