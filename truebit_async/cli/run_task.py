"""``truebit-async run``: submit a task, and wait for the final state of its execution."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import click

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.options import Budgets, Connection, ResultFormat, TaskKind
from truebit_async.cli.output import check_stdout, print_to_stderr, print_to_stdout
from truebit_async.cli.runner import ExitStatus, run
from truebit_async.cli.sessions import logging_to, make_session, tasks_of
from truebit_async.cli.status import print_execution
from truebit_async.errors import TruebitError
from truebit_async.models import ApiTask, FunctionTask
from truebit_async.session import TruebitSession

TaskT = TypeVar("TaskT", FunctionTask, ApiTask)

DEFAULT_API_TIMEOUT = 30.0  # seconds

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


def make_function_task(
    name: str,
    task_input: str,
    *,
    total_solutions: int,
    required_solutions: int,
    gas_limit: int | None,
    execution_timeout: float | None,
    label: str | None,
    version: str | None,
) -> FunctionTask:
    """Return the function task that the options describe. See `FunctionTask` for them.

    Args:
        name: the namespace and the name of the task, with a slash between them.
        task_input: the ``--input``.
        total_solutions: how many nodes run the task.
        required_solutions: how many of them must agree.
        gas_limit: how many steps the task may take.
        execution_timeout: how many seconds it may run.
        label: which deployment of the task to run.
        version: which version of the task to run.

    Raises:
        click.UsageError: a value is wrong.
    """
    namespace, task_name = _split(name)
    text = _read_argument("--input", task_input)
    return _make_task(
        lambda: FunctionTask(
            namespace,
            task_name,
            text,
            total_solutions=total_solutions,
            required_solutions=required_solutions,
            gas_limit=gas_limit,
            execution_timeout=execution_timeout,
            label=label,
            version=version,
        )
    )


def make_api_task(
    name: str,
    *,
    path: str | None,
    method: str | None,
    params: Sequence[str],
    headers: Sequence[str],
    execution_timeout: float | None,
    label: str | None,
    version: str | None,
) -> ApiTask:
    """Return the API task that the options describe. See `ApiTask` for them.

    Args:
        name: the namespace and the name of the task, with a slash between them.
        path: the path to call.
        method: the HTTP method.
        params: each ``--param``.
        headers: each ``--header``.
        execution_timeout: how many seconds it may run.
        label: which deployment of the task to run.
        version: which version of the task to run.

    Raises:
        click.UsageError: a value is wrong.
    """
    namespace, task_name = _split(name)
    given_params, given_headers = _parse_pairs("--param", params), _parse_pairs("--header", headers)
    return _make_task(
        lambda: ApiTask(
            namespace,
            task_name,
            path=path,
            method=method,
            params=given_params,
            headers=given_headers,
            execution_timeout=execution_timeout or DEFAULT_API_TIMEOUT,
            label=label,
            version=version,
        )
    )


@attrs.define
class RunTask:
    """Submits a task, and waits for its execution.

    Attributes:
        task: the task.
        budgets: how long to wait, and how often to ask.
        connection: which dispatcher to ask, and as whom.
        result_format: how to print the final state.
        waits: whether to wait for it.
        execution_id: the execution, once the task is submitted.
        may_have_run: whether the task may have been submitted although there is no execution ID.
    """

    task: FunctionTask | ApiTask
    budgets: Budgets
    connection: Connection
    result_format: ResultFormat | None
    waits: bool
    execution_id: str | None = None
    may_have_run: bool = False

    def run(self) -> ExitCode:
        """Submit the task once, and wait."""
        check_stdout()
        session = make_session(self.connection, self.budgets)
        with logging_to(print_to_stderr, verbose=self.connection.verbose):
            try:
                status = run(lambda: self._submit_and_wait(session))
            except BrokenPipeError:
                status = ExitStatus(ExitCode.NO_FINAL_STATE, "nobody reads stdout")
        code = self._tell_what_became_of_it(status)
        return attrs.evolve(status, code=code).report()

    async def _submit_and_wait(self, session: TruebitSession) -> ExitCode:
        tasks = tasks_of(session, self._kind)
        try:
            async with session:
                if self.waits:
                    return print_execution(await tasks.run(self.task, on_submitted=self._tell), self.result_format)
                self._tell(await tasks.submit(self.task))
                print_to_stdout(json.dumps({"executionId": self.execution_id}))
                return ExitCode.SUCCEEDED
        except asyncio.CancelledError as error:  # by Ctrl-C or SIGTERM
            for note in getattr(error, "__notes__", []):
                self.may_have_run = True
                print_to_stderr(f"truebit-async: {note}")
            raise
        except TruebitError as error:
            self.may_have_run = error.may_have_run
            raise

    def _tell(self, execution_id: str) -> None:
        self.execution_id = execution_id
        print_to_stderr(f"truebit-async: submitted; the execution ID is {execution_id}")

    def _tell_what_became_of_it(self, status: ExitStatus) -> ExitCode:
        """Say what the exit code cannot say alone, and return the exit code."""
        if self.execution_id is not None:
            if self.waits and (status.code is ExitCode.NO_FINAL_STATE or status.code.is_interruption):
                kind = "" if self._kind is TaskKind.FUNCTION else " --kind api"
                print_to_stderr(f"truebit-async: to wait again: truebit-async wait{kind} {self.execution_id}")
            return status.code
        if not self.may_have_run:
            print_to_stderr("truebit-async: The task was not submitted.")
        if status.code is not ExitCode.NO_FINAL_STATE:
            return status.code
        return ExitCode.UNCERTAIN if self.may_have_run else ExitCode.NOT_SUBMITTED

    @property
    def _kind(self) -> TaskKind:
        return TaskKind.API if isinstance(self.task, ApiTask) else TaskKind.FUNCTION


def _split(name: str) -> tuple[str, str]:
    namespace, slash, task_name = name.partition("/")
    if not (namespace and slash and task_name):
        message = "write the task as NAMESPACE/NAME"
        raise click.UsageError(message)
    return namespace, task_name


def _make_task(make: Callable[[], TaskT]) -> TaskT:
    try:
        return make()
    except (TypeError, ValueError) as error:
        raise click.UsageError(_in_terms_of_options(str(error))) from None


def _in_terms_of_options(message: str) -> str:
    """Return a message about a field with the name of the option in its place."""
    for field, option in _OPTIONS.items():
        message = re.sub(rf"\b{field}\b", option, message)
    return message


def _parse_pairs(option: str, pairs: Sequence[str]) -> dict[str, Any] | None:
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
            raise click.UsageError(message)
        if name in values:
            message = f"{where}: {name!r} was given before"
            raise click.UsageError(message)
        text = _read_argument(where, text).removesuffix("\n").removesuffix("\r")
        values[name] = _parse_json(where, text) if is_json else text
    return values


def _parse_json(where: str, text: str) -> Any:  # noqa: ANN401
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        message = f"{where}: what follows := is not JSON"
        raise click.UsageError(message) from None


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
    raise click.UsageError(message)
