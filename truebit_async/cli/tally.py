"""What became of a batch, in numbers that stay small however large it is."""

from __future__ import annotations

import json
import time
from collections import Counter

from rich.console import Group
from rich.table import Table
from rich.text import Text

from truebit_async.cli.results import ExitCode, Verdict
from truebit_async.cli.statistics import Durations
from truebit_async.events import Finished, Polled, PollEvent

_JSON_NAMES = {
    Verdict.SUCCEEDED: "succeeded",
    Verdict.FAILED: "failed",
    Verdict.INDETERMINATE: "indeterminate",
    Verdict.ERROR: "error",
    Verdict.NO_ANSWER: "noAnswer",
}


class Tally:
    """Counts as it is told of events.

    Attributes:
        total: how many executions are waited for, as far as they were read.
        is_total_known: whether all were read.
        skipped: how many IDs were not waited for because their answer was on file.
        malformed: how many lines were no IDs.
        requests: how many requests were answered or failed.
        verdicts: how many executions have finished, by verdict.
    """

    def __init__(self) -> None:
        self.total = 0
        self.is_total_known = False
        self.skipped = 0
        self.malformed = 0
        self.requests: int = 0
        self.verdicts: Counter[Verdict] = Counter()
        self._durations = Durations()
        self._started = time.monotonic()

    def take(self, event: PollEvent) -> None:
        """Count an event of the session."""
        match event:
            case Polled():
                self.requests += 1
            case Finished():
                self.verdicts[Verdict.of(event.outcome.execution)] += 1
                if event.outcome.execution is not None:
                    self._durations.add(event.outcome.elapsed)

    @property
    def finished(self) -> int:
        """How many executions have finished."""
        return self.verdicts.total()

    @property
    def is_empty(self) -> bool:
        """Whether there was neither an ID nor a malformed line so far."""
        return not (self.total or self.skipped or self.malformed)

    @property
    def headline(self) -> str:
        """How many of how many have finished, in words."""
        if self.is_total_known:
            return f"{self.finished} of {self.total} finished"
        return f"{self.finished} finished of {self.total} read so far"

    def times(self) -> list[str]:
        """Return median and 95th percentile of the time to verification, in words; nothing before the first."""
        median, p95 = self._durations.quantile(0.5), self._durations.quantile(0.95)
        return [] if median is None or p95 is None else [f"median {median:.1f} s", f"p95 {p95:.1f} s"]

    def as_text(self) -> Group:
        """Return the summary for people."""
        table = Table()
        table.add_column("verdict")
        table.add_column("executions", justify="right")
        for name, count in [
            *((verdict, self.verdicts[verdict]) for verdict in Verdict),
            ("skipped (answer on file)", self.skipped),
            ("malformed lines", self.malformed),
        ]:
            if count:
                table.add_row(name, str(count))
        requests = "1 request" if self.requests == 1 else f"{self.requests} requests"
        costs = ", ".join([f"{requests} in {self._elapsed():.1f} s", *self.times()])
        # Title and caption of the table would be as narrow as it is.
        return Group(Text(self.headline), *([table] if table.row_count else []), Text(costs))

    def as_json(self, exit_code: ExitCode) -> str:
        """Return the summary for programs, on one line. Every field is always there.

        Args:
            exit_code: what the command exits with.
        """
        summary = {
            "verdicts": {name: self.verdicts[verdict] for verdict, name in _JSON_NAMES.items()},
            "total": self.total,
            "skipped": self.skipped,
            "malformed": self.malformed,
            "requests": self.requests,
            "seconds": round(self._elapsed(), 3),
            "medianSeconds": _rounded(self._durations.quantile(0.5)),
            "p95Seconds": _rounded(self._durations.quantile(0.95)),
            "exitCode": exit_code,
        }
        return json.dumps({"summary": summary})

    def _elapsed(self) -> float:
        return time.monotonic() - self._started


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
