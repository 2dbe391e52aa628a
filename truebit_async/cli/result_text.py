"""Results for people: one line for each."""

from __future__ import annotations

import json
import shutil
import sys

import click

from truebit_async._text import one_line
from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.output import has_colours
from truebit_async.models import AnyExecution

_MARKS = {
    OutcomeCategory.SUCCEEDED: ("✓", "green"),
    OutcomeCategory.FAILED: ("✗", "red"),
    OutcomeCategory.INDETERMINATE: ("?", "yellow"),
    OutcomeCategory.ERROR: ("✗", "red"),
    OutcomeCategory.RUNNING: ("…", "blue"),
    OutcomeCategory.NO_FINAL_STATE: ("!", "magenta"),
}
_IN_ASCII = {"✓": "+", "✗": "x", "…": "."}
_SMALLEST_WIDTH = 10  # columns for the output


def result_line(
    execution_id: str,
    execution: AnyExecution[object] | None,
    problem: str = "",
    seconds: float | None = None,
    *,
    is_shortened: bool = True,
) -> str:
    """Return a line such as ``✓ success-01  42  1.8 s`` for stdout, in colour if that shows colours.

    Args:
        execution_id: the ID.
        execution: the state; None if there is none.
        problem: why there is none.
        seconds: how many seconds the wait took; None if there was none.
        is_shortened: whether to shorten the output to the width of the terminal.
    """
    category = OutcomeCategory.of(execution)
    mark, colour = _MARKS[category]
    if not _can_print(mark):
        mark = _IN_ASCII.get(mark, mark)
    if category is OutcomeCategory.SUCCEEDED and execution is not None:
        text = execution.output if isinstance(execution.output, str) else json.dumps(execution.output)
    else:
        text = problem or category.value
    before, after = f" {one_line(execution_id)}  ", "" if seconds is None else f"  {seconds:.1f} s"
    text = one_line(text)
    if is_shortened:
        text = _shortened(text, beside=mark + before + after)
    if has_colours(sys.stdout):
        mark, after = click.style(mark, fg=colour, bold=True), click.style(after, dim=True) if after else ""
        text = text if category is OutcomeCategory.SUCCEEDED else click.style(text, fg=colour)
    line = f"{mark}{before}{text}{after}"
    return line if _can_print(line) else line.encode("ascii", "backslashreplace").decode("ascii")


def _shortened(text: str, *, beside: str) -> str:
    """Return the beginning of a text that fits on a line of the terminal, beside another text."""
    from rich.cells import cell_len, set_cell_size  # noqa: PLC0415  # `status` does without Rich

    width = max(shutil.get_terminal_size().columns - cell_len(beside), _SMALLEST_WIDTH)
    return text if cell_len(text) <= width else f"{set_cell_size(text, width - 1).rstrip()}…"


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
