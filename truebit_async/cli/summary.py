"""The summary of a batch. Its memory does not grow with the size of the batch."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.causes import Causes
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.statistics import Durations
from truebit_async.events import Finished, Polled, PollEvent

if TYPE_CHECKING:
    from truebit_async.strategies import Gain

_JSON_NAMES = {
    OutcomeCategory.SUCCEEDED: "succeeded",
    OutcomeCategory.FAILED: "failed",
    OutcomeCategory.INDETERMINATE: "indeterminate",
    OutcomeCategory.ERROR: "error",
    OutcomeCategory.NO_FINAL_STATE: "noFinalState",
}
_SHOWN_CAUSES = 10
_TIMES = "\N{MULTIPLICATION SIGN}"


class Summary:
    """Counts what happens in a batch.

    Attributes:
        total: the number of executions to wait for, as far as the input has been read.
        is_total_known: whether the whole input has been read.
        skipped: the executions that were skipped because the checkpoint has their final state, by category.
        malformed: the number of malformed lines in the input.
        requests: the number of requests that were answered or failed.
        by_category: the number of finished executions by the category of their outcome.
        causes: why executions have no final state.
        gain: what ``--interval learned`` has gained; None without that option, and if too little is known.
        watched: how many executions have ended while ``--interval learned`` watched them; None without that option.
    """

    def __init__(self) -> None:
        self.total = 0
        self.is_total_known = False
        self.skipped: Counter[OutcomeCategory] = Counter()
        self.malformed = 0
        self.requests: int = 0
        self.by_category: Counter[OutcomeCategory] = Counter()
        self.causes: Causes = Causes()
        self.gain: Gain | None = None
        self.watched: int | None = None
        self._durations = Durations()
        self._started_at = time.monotonic()

    def add(self, event: PollEvent) -> None:
        """Count an event of the session."""
        match event:
            case Polled():
                self.requests += 1
            case Finished():
                self.by_category[OutcomeCategory.of(event.outcome.execution)] += 1
                if event.outcome.error is None:
                    self._durations.add(event.outcome.elapsed)
                else:
                    self.causes.add(event.outcome.error)

    @property
    def finished(self) -> int:
        """The number of finished executions."""
        return self.by_category.total()

    @property
    def is_empty(self) -> bool:
        """Whether the input has contained neither an ID nor a malformed line so far."""
        return not (self.total or self.skipped or self.malformed)

    @property
    def headline(self) -> str:
        """The numbers of finished and of all executions, as text."""
        if self.is_total_known and self.skipped and not self.total:
            return "all were finished before"
        if self.is_total_known:
            return f"{self.finished:,} of {self.total:,} finished"
        return f"{self.finished:,} finished of {self.total:,} read so far"

    def duration_figures(self) -> list[str]:
        """Return the median and the 95th percentile of the time to verification, as text, if there is one."""
        median, p95 = self._durations.quantile(0.5), self._durations.quantile(0.95)
        return [] if median is None or p95 is None else [f"median {median:.1f} s", f"p95 {p95:.1f} s"]

    def as_text(self) -> Group:
        """Return the summary for people to read."""
        requests = "1 request" if self.requests == 1 else f"{self.requests:,} requests"
        costs = ", ".join([f"{requests} in {self._elapsed():.1f} s", *self.duration_figures()])
        table = self._table()
        # Rich would wrap a title or a caption of the table to the table's width, which is narrow.
        shown_table = [table] if table.row_count else []
        return Group(Text(self.headline), *shown_table, *self._cause_lines(), Text(costs), *self._gain_lines())

    def _table(self) -> Table:
        table = outcome_table(
            {"executions": self.by_category} | ({"on file before": self.skipped} if self.skipped else {})
        )
        if self.malformed:
            table.add_row("malformed lines", f"{self.malformed:,}")
        return table

    def _cause_lines(self) -> list[Text]:
        causes = self.causes.most_common()
        lines = [Text(f"{count:,} {_TIMES} {cause}") for cause, count in causes[:_SHOWN_CAUSES]]
        rest = sum(count for _, count in causes[_SHOWN_CAUSES:])
        return [*lines, Text(f"{rest:,} {_TIMES} other causes")] if rest else lines

    def _gain_lines(self) -> list[Text]:
        gain = self.gain
        if self.watched is None:
            return []
        if gain is None:
            from truebit_async._learning.group import MIN_COMPLETED  # noqa: PLC0415  # it takes some milliseconds

            few = f"({self.watched} of {MIN_COMPLETED})"
            text = f"too few executions have ended while it watched to say what it gains {few}"
        else:
            learned = f"about {gain.mean_delay:.1f} s late on average, with {gain.mean_requests:.1f} requests"
            default = f"about {gain.default_delay:.1f} s and {gain.default_requests:.1f}"
            text = f"ends were seen {learned} per execution; the default would have taken {default}"
        return [Text(f"--interval learned: {text}")]

    def as_json(self, exit_code: ExitCode) -> str:
        """Return the summary for programs, as one line of JSON with every field.

        Args:
            exit_code: the exit code of the command.
        """
        summary = {
            "outcomes": {name: self.by_category[category] for category, name in _JSON_NAMES.items()},
            "total": self.total,
            "skipped": self.skipped.total(),
            "skippedOutcomes": {name: self.skipped[category] for category, name in _JSON_NAMES.items()},
            "malformed": self.malformed,
            "causes": [
                {"count": count, "type": cause.type, "status": cause.status, "message": cause.message}
                for cause, count in self.causes.most_common()
            ],
            "requests": self.requests,
            "seconds": round(self._elapsed(), 3),
            "medianSeconds": _rounded(self._durations.quantile(0.5)),
            "p95Seconds": _rounded(self._durations.quantile(0.95)),
            "learned": None if self.gain is None else _gain_as_json(self.gain),
            "exitCode": exit_code,
        }
        return json.dumps({"summary": summary})

    def _elapsed(self) -> float:
        return time.monotonic() - self._started_at


def outcome_table(columns: Mapping[str, Counter[OutcomeCategory]]) -> Table:
    """Return a table with a row for each category that has executions.

    Args:
        columns: the numbers of executions by category, by the title of their column.
    """
    table = Table()
    table.add_column("outcome")
    for title in columns:
        table.add_column(title, justify="right")
    for category in OutcomeCategory:
        counts = [column[category] for column in columns.values()]
        if any(counts):
            table.add_row(category, *(f"{count:,}" for count in counts))
    return table


def _gain_as_json(gain: Gain) -> dict[str, float]:
    return {
        "executions": gain.completed,
        "meanDelaySeconds": round(gain.mean_delay, 3),
        "meanRequests": round(gain.mean_requests, 3),
        "defaultDelaySeconds": round(gain.default_delay, 3),
        "defaultRequests": round(gain.default_requests, 3),
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
