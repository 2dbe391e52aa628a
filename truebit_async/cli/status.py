"""``truebit-async status``: ask for the state of one execution."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import cast

from truebit_async._protocol.converter import make_converter
from truebit_async.cli.categories import OutcomeCategory
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.hints import in_terms_of_the_command
from truebit_async.cli.options import Budgets, Connection, ResultFormat, TaskKind, is_text
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.result_text import result_line
from truebit_async.cli.runner import run
from truebit_async.cli.sessions import logging_to, make_session, tasks_of
from truebit_async.errors import TruebitError
from truebit_async.events import Finished, Polled
from truebit_async.models import AnyExecution
from truebit_async.tasks import Tasks


def run_status(
    execution_id: str, kind: TaskKind, budgets: Budgets, connection: Connection, result_format: ResultFormat | None
) -> ExitCode:
    """Print the state of one execution.

    Args:
        execution_id: the execution.
        kind: the kind of its task.
        budgets: how long to try.
        connection: which dispatcher to ask, and as whom.
        result_format: how to print it.
    """
    check_stdout()
    session = make_session(connection, budgets)

    async def print_status() -> ExitCode:
        async with session:
            return print_execution(await _first_state(tasks_of(session, kind), execution_id), result_format)

    with logging_to(print_to_stderr, verbose=connection.verbose):
        return run(print_status).report()


async def _first_state(tasks: Tasks[object, AnyExecution[object]], execution_id: str) -> AnyExecution[object]:
    """Return the first state that a wait sees. The wait tolerates what its policy tolerates until then."""
    async with contextlib.aclosing(tasks.watch(execution_id)) as events:
        async for event in events:
            if isinstance(event, Polled) and event.execution is not None:
                return event.execution
    return cast("Finished", event).outcome.unwrap()  # the last event; this raises its error


def print_execution(execution: AnyExecution[object], result_format: ResultFormat | None) -> ExitCode:
    """Print an execution to stdout, and to stderr why it has no verified output.

    Args:
        execution: the execution.
        result_format: how to print it; None is text on a terminal, and one line of JSON elsewhere.

    Raises:
        OutputError: stdout cannot be written.
        BrokenPipeError: the reader has closed the pipe.
    """
    category = OutcomeCategory.of(execution)
    if is_text(result_format):
        print_to_stdout(result_line(execution.execution_id, execution, is_shortened=False))
    else:
        # A line can be piped into `wait --from -`.
        print_to_stdout(json.dumps(make_converter().unstructure(execution), indent=2 if sys.stdout.isatty() else None))
    if category is not OutcomeCategory.RUNNING:
        try:
            execution.raise_for_verification()
        except TruebitError as error:
            print_to_stderr(f"truebit-async: {in_terms_of_the_command(str(error))}")
    return category.exit_code
