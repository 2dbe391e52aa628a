"""``truebit-async run``: submit a task, and wait for the final state of its execution."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import typer

from truebit_async.cli import options
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.options import TaskKind
from truebit_async.cli.output import print_execution, print_to_stderr, print_to_stdout
from truebit_async.cli.runner import run
from truebit_async.cli.sessions import logging_to, make_policy, make_session, tasks_of
from truebit_async.errors import TruebitError
from truebit_async.models import ApiTask, FunctionTask

TaskT = TypeVar("TaskT", FunctionTask, ApiTask)

DEFAULT_API_TIMEOUT = 30.0  # seconds

_NOT_SUBMITTED = "The task was not submitted."

_OPTIONS = {
    "total_solutions": "--total-solutions",
    "required_solutions": "--required-solutions",
    "gas_limit": "--gas-limit",
    "label": "--label",
    "version": "--task-version",
    "path": "--path",
    "method": "--method",
    "params": "--param",
    "headers": "--header",
    "input": "--input",
}

run_app: typer.Typer = typer.Typer(
    name="run", no_args_is_help=True, help="Submit a task, and wait for the final state of its execution."
)


@run_app.command("function")
def run_function(  # noqa: PLR0913  # one parameter per option
    task: options.TaskName,
    *,
    task_input: options.TaskInput,
    total_solutions: options.TotalSolutions,
    required_solutions: options.RequiredSolutions,
    gas_limit: options.GasLimit = None,
    execution_timeout: options.ExecutionTimeout = None,
    label: options.Label = None,
    task_version: options.TaskVersion = None,
    no_wait: options.NoWait = False,
    deadline: options.Deadline = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Run a function task.

    The execution ID is printed to stderr before the command waits. The final state is printed as JSON.

    ```console
    $ truebit-async run function NS/TASK --input 20 --total-solutions 3 --required-solutions 2
    $ truebit-async run function NS/TASK --input @input.txt --total-solutions 3 --required-solutions 2 --no-wait
    ```

    The task is never submitted twice. Exit codes: 0 verified and succeeded, 1 not succeeded, 2 wrong usage, 3 no final
    state, 130 interrupted.
    """
    namespace, task_name = _split(task)
    text = _read_argument("--input", task_input)
    submission = _make_task(
        lambda: FunctionTask(
            namespace,
            task_name,
            text,
            total_solutions=total_solutions,
            required_solutions=required_solutions,
            gas_limit=gas_limit,
            execution_timeout=execution_timeout,
            label=label,
            version=task_version,
        )
    )
    _run(submission, TaskKind.FUNCTION, deadline, base_url, api_key, no_wait=no_wait, verbose=verbose)


@run_app.command("api")
def run_api(  # noqa: PLR0913  # likewise
    task: options.TaskName,
    *,
    path: options.ApiPath = None,
    method: options.ApiMethod = None,
    params: options.Params = None,
    headers: options.Headers = None,
    execution_timeout: options.ExecutionTimeout = None,
    label: options.Label = None,
    task_version: options.TaskVersion = None,
    no_wait: options.NoWait = False,
    deadline: options.Deadline = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Run an API task.

    The execution ID is printed to stderr before the command waits. The final state is printed as JSON.

    ```console
    $ truebit-async run api NS/TASK --path '/order/{id}' --method GET --param id=2
    $ truebit-async run api NS/TASK --method POST --param count:=3 --param token=@token.txt
    ```

    Other users can see arguments in the list of processes, so give a secret as `NAME=@FILE`. The transcript of the
    execution records all parameters.

    The task is never submitted twice. Exit codes: 0 succeeded, 1 not succeeded, 2 wrong usage, 3 no final state, 130
    interrupted.
    """
    namespace, task_name = _split(task)
    given_params, given_headers = _parse_pairs("--param", params), _parse_pairs("--header", headers)
    submission = _make_task(
        lambda: ApiTask(
            namespace,
            task_name,
            path=path,
            method=method,
            params=given_params,
            headers=given_headers,
            execution_timeout=execution_timeout or DEFAULT_API_TIMEOUT,
            label=label,
            version=task_version,
        )
    )
    _run(submission, TaskKind.API, deadline, base_url, api_key, no_wait=no_wait, verbose=verbose)


def _run(
    task: FunctionTask | ApiTask,
    kind: TaskKind,
    deadline: float | None,
    base_url: str | None,
    api_key: str | None,
    *,
    no_wait: bool,
    verbose: bool,
) -> None:
    session = make_session(base_url, api_key, make_policy(deadline))
    tasks = tasks_of(session, kind)
    is_submitted = False

    def tell(execution_id: str) -> None:
        nonlocal is_submitted
        is_submitted = True
        with contextlib.suppress(OSError):  # stdout gets it too
            print_to_stderr(f"truebit-async: submitted; the execution ID is {execution_id}")

    async def submit_and_wait() -> ExitCode:
        try:
            async with session:
                if no_wait:
                    execution_id = await tasks.submit(task)
                    tell(execution_id)
                    print_to_stdout(json.dumps({"executionId": execution_id}))
                    return ExitCode.SUCCEEDED
                return print_execution(await tasks.run(task, on_submitted=tell))
        except asyncio.CancelledError as error:  # by Ctrl-C
            for note in getattr(error, "__notes__", [] if is_submitted else [_NOT_SUBMITTED]):
                print_to_stderr(f"truebit-async: {note}")
            raise
        except TruebitError as error:
            if not (error.execution_id or error.may_have_run):
                print_to_stderr(f"truebit-async: {_NOT_SUBMITTED}")
            raise

    with logging_to(print_to_stderr, verbose=verbose):
        run(submit_and_wait()).exit()


def _split(name: str) -> tuple[str, str]:
    namespace, slash, task_name = name.partition("/")
    if not (namespace and slash and task_name):
        message = "write the task as NAMESPACE/NAME"
        raise typer.BadParameter(message)
    return namespace, task_name


def _make_task(make: Callable[[], TaskT]) -> TaskT:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise typer.BadParameter(_in_terms_of_options(str(error))) from None


def _in_terms_of_options(message: str) -> str:
    """Return a message about a field with the name of the option in its place."""
    for field, option in _OPTIONS.items():
        message = re.sub(rf"\b{field}\b", option, message)
    return message


def _parse_pairs(option: str, pairs: Sequence[str] | None) -> dict[str, Any] | None:
    """Return the values by name; None if none were given. No message quotes a value, which may be a secret."""
    if not pairs:
        return None
    values: dict[str, Any] = {}
    for number, pair in enumerate(pairs, start=1):
        name, equals, text = pair.partition("=")
        where = f"{option} number {number}"
        is_json = name.endswith(":") and option == "--param"
        name = name.removesuffix(":") if is_json else name
        if not (name and equals):
            forms = "NAME=VALUE, NAME:=JSON" if option == "--param" else "NAME=VALUE"
            message = f"{where}: write it as {forms} or NAME=@FILE"
            raise typer.BadParameter(message)
        if name in values:
            message = f"{where}: {name!r} was given before"
            raise typer.BadParameter(message)
        text = _read_argument(where, text).removesuffix("\n").removesuffix("\r")
        values[name] = _parse_json(where, text) if is_json else text
    return values


def _parse_json(where: str, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        message = f"{where}: what follows := is not JSON"
        raise typer.BadParameter(message) from None


def _read_argument(where: str, text: str) -> str:
    """Return an argument, or the text of the file that it names after an @."""
    if not text.startswith("@"):
        return text
    path = text[1:]
    try:
        content = sys.stdin.buffer.read() if path == "-" and sys.stdin is not None else Path(path).read_bytes()
        return content.decode()
    except OSError as error:
        message = f"{where}: cannot read {path}: {error.strerror or error}"
    except UnicodeDecodeError:
        message = f"{where}: {path} is not UTF-8"
    raise typer.BadParameter(message)
