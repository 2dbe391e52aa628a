"""The commands. Results go to stdout; progress and messages go to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import attrs
import typer
from rich.console import Console

from truebit_async.checkpoint import Checkpoint, CheckpointError
from truebit_async.cli import options
from truebit_async.cli.demo import run_demo
from truebit_async.cli.evidence import run_audit, write_evidence
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.ids import IdParser
from truebit_async.cli.lines import LineReader
from truebit_async.cli.output import print_execution, print_to_stderr, print_to_stdout, stdout_is_a_pipe
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.run_task import run_app
from truebit_async.cli.runner import ExitStatus, run
from truebit_async.cli.scenarios import add_scenarios, all_execution_ids
from truebit_async.cli.sessions import logging_to, make_policy, make_session, tasks_of
from truebit_async.cli.usage_errors import EscapingGroup
from truebit_async.cli.wait import ExecutionIds, run_wait
from truebit_async.testing import Simulator

app: typer.Typer = typer.Typer(
    cls=EscapingGroup,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # pretty tracebacks show local variables, and one of them holds the API key
    context_settings={"color": False if os.environ.get("NO_COLOR") else None},  # Click does not read NO_COLOR itself
)


app.add_typer(run_app)


@app.callback()
def _options(*, version: options.Version = False) -> None:
    """Wait for the verified results of Truebit executions.

    Results are printed to stdout as JSON. Progress and messages are printed to stderr. Each command has its own help:

    ```console
    $ truebit-async demo
    $ truebit-async wait --help
    ```

    Exit codes:

    - 0: every execution was verified and succeeded
    - 1: every execution has a final state, and at least one did not succeed
    - 2: wrong usage or configuration
    - 3: at least one execution has no final state
    - 70: a bug in this command
    - 130: interrupted
    """


@app.command()
def status(
    execution_id: options.ExecutionId,
    *,
    kind: options.Kind = options.TaskKind.FUNCTION,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Print the status of one execution.

    The status is printed as JSON. The execution may still be running.

    ```console
    $ truebit-async status abf5e6d2-f72d-4324-a046-bc6e9f27b303
    $ truebit-async status --api-key-file key.txt ID | jq .verificationStatus
    $ truebit-async status --kind api ID
    ```

    Exit codes: 0 verified and succeeded, 1 still running or not succeeded, 2 wrong usage, 3 no final state.
    """
    session = make_session(base_url, api_key, make_policy())

    async def print_status() -> ExitCode:
        async with session:
            return print_execution(await tasks_of(session, kind).get_execution_status(execution_id))

    with logging_to(print_to_stderr, verbose=verbose):
        run(print_status()).exit()


@app.command()
def wait(  # noqa: PLR0913  # one parameter per option
    execution_ids: options.ExecutionIds = None,
    *,
    sources: options.Sources = None,
    out: options.Out = None,
    resume: options.Resume = False,
    as_json: options.Json = False,
    kind: options.Kind = options.TaskKind.FUNCTION,
    deadline: options.Deadline = None,
    not_found_grace: options.NotFoundGrace = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Wait for executions to finish.

    Each result is printed as one line of JSON as soon as its execution has finished. Progress and a summary are printed
    to stderr.

    ```console
    $ truebit-async wait --deadline 2m abf5e6d2-f72d-4324-a046-bc6e9f27b303
    $ truebit-async wait --from ids.txt --out results.jsonl
    $ truebit-async wait --from ids.txt --out results.jsonl --resume
    $ producer | truebit-async wait --from - | jq -c .clearTextSolution
    ```

    If a run with `--out` stops for any reason, run the same command with `--resume` to continue it.

    Exit codes: 0 all verified and succeeded, 1 all final but not all succeeded, 2 wrong usage, 3 at least one
    without a final state (not found, deadline passed, unreachable, not an ID), 130 interrupted.
    """
    if not (execution_ids or sources):
        message = "give at least one execution ID, or --from FILE"
        raise typer.BadParameter(message)
    if resume and out is None:
        message = "--resume needs --out, the file to resume"
        raise typer.BadParameter(message)
    files = [source for source in sources or [] if source != "-"]
    reads_stdin = "-" in (sources or [])
    console = Console(stderr=True)
    live = console.is_terminal and _is_free_for_a_display(reads_stdin=reads_stdin, prints_results=out is None)
    progress = BatchProgress(console, live=live)
    summary = progress.summary

    def report_malformed(problem: str) -> None:
        summary.malformed += 1
        progress.print_message(problem)

    with contextlib.ExitStack() as stack:
        known_ids = list(execution_ids or [])
        for file in files:
            known_ids += _read_ids(file, report_malformed)
        ids: ExecutionIds = known_ids
        if reads_stdin:
            lines = stack.enter_context(LineReader(_stdin_descriptor()))
            ids = IdParser("stdin", report_malformed).stream(known_ids, lines)
        session = make_session(base_url, api_key, make_policy(deadline, not_found_grace), progress)
        checkpoint = None if out is None else stack.enter_context(_open_checkpoint(out, kind, resume=resume))
        stack.enter_context(logging_to(progress.print_message, verbose=verbose))
        exit_status = run(run_wait(session, tasks_of(session, kind), ids, progress, checkpoint))
    if as_json:
        print_to_stdout(summary.as_json(exit_status.code))
    elif not summary.is_empty:
        console.print(summary.as_text())
    if exit_status.code is ExitCode.USAGE and exit_status.message is None:  # run_wait found no ID
        names = [*files, "stdin"] if reads_stdin else files
        message = "; ".join(f"{name} contains no execution ID" for name in names)
        exit_status = attrs.evolve(exit_status, message=message)
    if exit_status.code is ExitCode.INTERRUPTED and out is not None:
        message = f"{exit_status.message}; to continue, run the same command with --out {out} --resume"
        exit_status = attrs.evolve(exit_status, message=message)
    exit_status.exit()


@app.command()
def transcript(
    execution_id: options.ExecutionId,
    *,
    out: options.EvidenceOut = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Print the transcript of an execution.

    In a pipe and in a file, these are the exact bytes that the dispatcher sent. They hold the input of the task,
    secrets included. On a terminal, the inputs are left out.

    ```console
    $ truebit-async transcript --out transcript.json ID
    $ truebit-async transcript ID | jq .transcript[].type
    ```

    Exit codes: 0 printed, 2 wrong usage, 3 there is none.
    """
    session = make_session(base_url, api_key, make_policy())
    with logging_to(print_to_stderr, verbose=verbose):
        run(write_evidence(session, lambda: session.get_transcript(execution_id), out)).exit()


@app.command()
def invoice(
    execution_id: options.ExecutionId,
    *,
    out: options.EvidenceOut = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Print the invoice of an execution.

    In a pipe and in a file, these are the exact bytes that the dispatcher sent.

    ```console
    $ truebit-async invoice --out invoice.json ID
    ```

    Exit codes: 0 printed, 2 wrong usage, 3 there is none.
    """
    session = make_session(base_url, api_key, make_policy())
    with logging_to(print_to_stderr, verbose=verbose):
        run(write_evidence(session, lambda: session.get_invoice(execution_id), out)).exit()


@app.command()
def audit(
    sources: options.AuditSources,
    *,
    trusted: options.Trusted = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Find out who signed transcripts and invoices.

    Of an execution ID, the transcript and the invoice are fetched. A file holds one of them. A table is printed on a
    terminal, and lines of JSON elsewhere. The command never says that an output is right.

    ```console
    $ truebit-async audit ID
    $ truebit-async audit --trust 0xE3AcBBB129F14681C315028dB0A156597fb5058B transcript.json invoice.json
    ```

    What is a file is read. Anything else is an execution ID, unless it has a slash or ends with `.json`.

    Exit codes: 0 all signers that could be compared are the expected ones, 1 at least one is not, 2 wrong usage or the
    extra `audit` is missing, 3 no signer could be compared, or some evidence could not be fetched.
    """
    session = make_session(base_url, api_key, make_policy())
    with logging_to(print_to_stderr, verbose=verbose):
        run(run_audit(session, sources, trusted or [])).exit()


@app.command()
def demo() -> None:
    """Run a demonstration that needs no network and no API key.

    It starts a simulated dispatcher with a few dozen executions and waits for them. The executions cover every kind of
    outcome, so the demonstration shows how `wait` reports each of them. Then it runs a chain of two tasks.

    Exit codes: 0 every execution ended as expected, 1 at least one did not, 130 interrupted.
    """
    run(run_demo(Console(), Console(stderr=True))).exit()


@app.command()
def simulate(port: options.Port = 8080) -> None:
    """Serve a simulated dispatcher.

    It prints the IDs of the executions of `demo` and serves them on 127.0.0.1 until Ctrl-C. It also runs the tasks
    `demo/square`, `demo/shipped` (functions) and `demo/order` (API). Use it to try your own program, or this command:

    ```console
    $ truebit-async simulate > ids.txt &
    $ truebit-async wait --base-url http://127.0.0.1:8080 --from ids.txt
    ```

    Exit codes: 2 the port is in use, 130 interrupted by Ctrl-C.
    """
    run(_simulate(port)).exit()


async def _simulate(port: int) -> NoReturn:
    async with contextlib.AsyncExitStack() as stack:
        try:
            simulator = await stack.enter_async_context(Simulator(port=port))
        except OSError as error:
            ExitStatus(ExitCode.USAGE, f"cannot listen on port {port}: {error.strerror or error}").exit()
        add_scenarios(simulator)
        print_to_stdout("\n".join(all_execution_ids()))
        print_to_stderr(
            f"A simulated dispatcher listens at {simulator.url}; Ctrl-C stops it. Its execution IDs are on stdout."
        )
        print_to_stderr(f"Try: truebit-async wait --base-url {simulator.url} success-01 failed-01")
        while True:
            await asyncio.Event().wait()  # nothing sets this event: the Simulator runs until Ctrl-C


def _is_free_for_a_display(*, reads_stdin: bool, prints_results: bool) -> bool:
    """Return whether nobody types IDs on the terminal and no program that reads stdout may print to it."""
    somebody_types = reads_stdin and sys.stdin is not None and sys.stdin.isatty()
    a_program_may_print = prints_results and stdout_is_a_pipe()
    return not (somebody_types or a_program_may_print)


def _open_checkpoint(path: Path, kind: options.TaskKind, *, resume: bool) -> Checkpoint[Any]:
    try:
        checkpoint: Checkpoint[Any]
        if kind is options.TaskKind.API:
            checkpoint = Checkpoint(path, resume=resume, kind="api")
        else:
            checkpoint = Checkpoint(path, resume=resume)
    except CheckpointError as error:
        ExitStatus(ExitCode.USAGE, str(error)).exit()
    if checkpoint.mended is not None:
        print_to_stderr(f"{path}: {checkpoint.mended}")
    return checkpoint


def _read_ids(path: str, report_malformed: Callable[[str], None]) -> list[str]:
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        ExitStatus(ExitCode.USAGE, f"cannot read IDs from {path}: {error.strerror or error}").exit()
    parser = IdParser(path, report_malformed)
    return [execution_id for line in lines if (execution_id := parser.parse(line)) is not None]


def _stdin_descriptor() -> int:
    if sys.stdin is None:  # it was closed, and its number may belong to another file by now
        ExitStatus(ExitCode.USAGE, "cannot read IDs from stdin: it is closed").exit()
    return sys.stdin.fileno()
