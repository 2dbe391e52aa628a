"""``run function`` and ``run api``."""

from __future__ import annotations

import click

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.help import Command, Group
from truebit_async.cli.options import (
    COUNT,
    DURATION,
    Budgets,
    Connection,
    Decorator,
    ResultFormat,
    connection_options,
    format_option,
    option,
    run_options,
)

_TASK = "Task"
_CONSENSUS = "\\\n      --total-solutions 3 --required-solutions 2"  # of an example
_EXIT_CODES = [
    (ExitCode.SUCCEEDED, "succeeded (for a function task: verified and succeeded)"),
    (ExitCode.NOT_SUCCEEDED, "not succeeded"),
    (ExitCode.USAGE, "wrong usage, or the dispatcher refuses the API key or the account; nothing was submitted"),
    (ExitCode.NO_FINAL_STATE, "submitted, but no final state: wait for the execution ID"),
    (ExitCode.UNCERTAIN, "the task may have been submitted"),
    (ExitCode.NOT_SUBMITTED, "the task was not submitted"),
    (ExitCode.INTERRUPTED, "interrupted by Ctrl-C"),
    (ExitCode.TERMINATED, "terminated by SIGTERM"),
]


def _option(name: str, metavar: str, text: str, **settings: object) -> Decorator:
    return option(name, metavar=metavar, help=text, section=_TASK, **settings)


_label = _option("--label", "TEXT", "Which deployment of the task to run.")
_task_version = _option("--task-version", "TEXT", "Which version of the task to run.")
_no_wait = option("--no-wait", is_flag=True, help="Only submit the task, and print its execution ID.")


@click.group(cls=Group, short_help="Submit a task, and wait for its execution.", no_args_is_help=True)
def run() -> None:
    """Submit a task once, and wait for the final state of its execution."""


@run.command(
    cls=Command,
    short_help="Run a function task.",
    examples=[
        f"truebit-async run function NS/TASK --input 20 {_CONSENSUS}",
        f"truebit-async run function NS/TASK --input @input.txt --no-wait {_CONSENSUS}",
    ],
    exit_codes=_EXIT_CODES,
)
@click.argument("task", metavar="NAMESPACE/NAME")
@_option(
    "--input",
    "TEXT|@FILE",
    "The input: a text, the content of a file, or @- for stdin.",
    required=True,
)
@_option("--total-solutions", "COUNT", "How many nodes run the task.", type=COUNT, required=True)
@_option(
    "--required-solutions",
    "COUNT",
    "How many of them must agree. One node that agrees with itself proves little.",
    type=COUNT,
    required=True,
)
@_option("--gas-limit", "STEPS", "How many steps the task may take.", type=COUNT)
@_option("--execution-timeout", "DURATION", "How long the task may run.", type=DURATION)
@_label
@_task_version
@_no_wait
@format_option(ResultFormat.TEXT, ResultFormat.JSON)
@run_options
@connection_options
def function(  # noqa: PLR0913  # one parameter per option
    task: str,
    *,
    input: str,  # noqa: A002  # the name of the option
    total_solutions: int,
    required_solutions: int,
    gas_limit: int | None,
    execution_timeout: float | None,
    label: str | None,
    task_version: str | None,
    no_wait: bool,
    result_format: ResultFormat | None,
    budgets: Budgets,
    connection: Connection,
) -> ExitCode:
    """Run a function task. It is never submitted twice.

    The execution ID is printed to stderr before the command waits.
    """
    from truebit_async.cli.run_task import RunTask, make_function_task

    submission = make_function_task(
        task,
        input,
        total_solutions=total_solutions,
        required_solutions=required_solutions,
        gas_limit=gas_limit,
        execution_timeout=execution_timeout,
        label=label,
        version=task_version,
    )
    return RunTask(submission, budgets, connection, result_format, waits=not no_wait).run()


@run.command(
    cls=Command,
    short_help="Run an API task.",
    examples=[
        "truebit-async run api NS/TASK --path '/order/{id}' --param id=2",
        "truebit-async run api NS/TASK --method POST --param count:=3 --param token=@token.txt",
    ],
    exit_codes=_EXIT_CODES,
)
@click.argument("task", metavar="NAMESPACE/NAME")
@_option("--path", "PATH", "The path to call.")
@_option("--method", "METHOD", "The HTTP method of the call.")
@_option(
    "--param",
    "NAME=VALUE|NAME=@FILE|NAME:=JSON",
    "A parameter of the call: a text, the content of a file without its last line break, or JSON. "
    "May be given several times.",
    multiple=True,
)
@_option("--header", "NAME=VALUE|NAME=@FILE", "A header of the call. May be given several times.", multiple=True)
@_option("--execution-timeout", "DURATION", "How long the task may run. Default: 30s.", type=DURATION)
@_label
@_task_version
@_no_wait
@format_option(ResultFormat.TEXT, ResultFormat.JSON)
@run_options
@connection_options
def api(  # noqa: PLR0913  # one parameter per option
    task: str,
    *,
    path: str | None,
    method: str | None,
    param: tuple[str, ...],
    header: tuple[str, ...],
    execution_timeout: float | None,
    label: str | None,
    task_version: str | None,
    no_wait: bool,
    result_format: ResultFormat | None,
    budgets: Budgets,
    connection: Connection,
) -> ExitCode:
    """Run an API task. It is never submitted twice.

    The execution ID is printed to stderr before the command waits.

    Other users can see arguments in the list of processes, so give a secret as NAME=@FILE. The transcript of the
    execution records all parameters.
    """
    from truebit_async.cli.run_task import RunTask, make_api_task

    submission = make_api_task(
        task,
        path=path,
        method=method,
        params=param,
        headers=header,
        execution_timeout=execution_timeout,
        label=label,
        version=task_version,
    )
    return RunTask(submission, budgets, connection, result_format, waits=not no_wait).run()
