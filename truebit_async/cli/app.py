"""The commands. Results go to stdout; progress and messages go to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import attrs
import typer
from rich.console import Console

from truebit_async._wire import make_converter
from truebit_async.checkpoint import Checkpoint
from truebit_async.cli import options
from truebit_async.cli.cast import add_cast, all_execution_ids
from truebit_async.cli.demo import run_demo
from truebit_async.cli.ids import IdParser
from truebit_async.cli.lines import LineReader
from truebit_async.cli.log import log_to
from truebit_async.cli.output import print_out, say, stdout_is_a_pipe
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.results import ExitCode, Verdict
from truebit_async.cli.run import End, run
from truebit_async.cli.wait import ExecutionIds, run_wait
from truebit_async.errors import CheckpointError
from truebit_async.events import Listener
from truebit_async.policy import PollPolicy
from truebit_async.session import TruebitSession
from truebit_async.testing import Simulator

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,  # they would show local variables, and the API key is one
    context_settings={"color": False if os.environ.get("NO_COLOR") else None},  # Rich sees to it, Click does not
)


@app.callback()
def _options(*, version: options.Version = False) -> None:
    """Wait for the verified results of Truebit executions.

    Results are JSON on stdout; progress and messages are on stderr. Each command has a help of its own:

    ```console
    $ truebit-async demo
    $ truebit-async wait --help
    ```

    Exit codes:

    - 0: every execution was verified and succeeded
    - 1: all were answered, and at least one did not succeed
    - 2: wrong usage or configuration
    - 3: at least one has no answer
    - 70: a bug of this command
    - 130: interrupted
    """


@app.command()
def status(
    execution_id: options.ExecutionId,
    *,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Print the status of one execution.

    It is printed as JSON, whether the execution has ended or not.

    ```console
    $ truebit-async status abf5e6d2-f72d-4324-a046-bc6e9f27b303
    $ truebit-async status --api-key-file key.txt ID | jq .verificationStatus
    ```

    Exit codes: 0 verified and succeeded, 1 still running or not succeeded, 2 wrong usage, 3 no answer.
    """
    session = _session(base_url, api_key, PollPolicy())

    async def ask() -> ExitCode:
        async with session:
            execution = await session.get_execution_status(execution_id)
        print_out(json.dumps(make_converter().unstructure(execution), indent=2))
        return Verdict.of(execution).exit_code

    with _log(say, verbose=verbose):
        run(ask()).exit()


@app.command()
def wait(  # noqa: PLR0913  # these are its options
    execution_ids: options.ExecutionIds = None,
    *,
    sources: options.Sources = None,
    out: options.Out = None,
    resume: options.Resume = False,
    as_json: options.Json = False,
    deadline: options.Deadline = None,
    not_found_grace: options.NotFoundGrace = None,
    base_url: options.BaseUrl = None,
    api_key: options.ApiKey = None,
    verbose: options.Verbose = False,
) -> None:
    """Wait for executions to finish.

    Each is printed as one line of JSON as soon as it has finished. Progress and a summary are on stderr.

    ```console
    $ truebit-async wait --deadline 2m abf5e6d2-f72d-4324-a046-bc6e9f27b303
    $ truebit-async wait --from ids.txt --out results.jsonl
    $ truebit-async wait --from ids.txt --out results.jsonl --resume
    $ producer | truebit-async wait --from - | jq -c .clearTextSolution
    ```

    Whatever stops a run with `--out`, the same command with `--resume` goes on where it stopped.

    Exit codes: 0 all verified and succeeded, 1 all answered but not all succeeded, 2 wrong usage, 3 at least one
    without an answer (not found, past its deadline, unreachable, not an ID), 130 interrupted.
    """
    if not (execution_ids or sources):
        message = "give at least one execution ID, or --from FILE"
        raise typer.BadParameter(message)
    if resume and out is None:
        message = "--resume needs --out, the file to resume"
        raise typer.BadParameter(message)
    console = Console(stderr=True)
    files = [source for source in sources or [] if source != "-"]
    reads_stdin = "-" in (sources or [])
    are_typed = reads_stdin and sys.stdin is not None and sys.stdin.isatty()
    results_go_to_a_pipe = out is None and stdout_is_a_pipe()
    progress = BatchProgress(console, live=console.is_terminal and not (are_typed or results_go_to_a_pipe))
    tally = progress.tally

    def complain(problem: str) -> None:
        tally.malformed += 1
        progress.say(problem)

    with contextlib.ExitStack() as stack:
        known = [*(execution_ids or []), *(execution_id for file in files for execution_id in _ids_in(file, complain))]
        ids: ExecutionIds = known
        if reads_stdin:
            ids = IdParser("stdin", complain).stream(known, stack.enter_context(LineReader(_stdin())))
        session = _session(base_url, api_key, _policy(deadline, not_found_grace), progress)
        checkpoint = None if out is None else stack.enter_context(_checkpoint(out, resume=resume))
        stack.enter_context(_log(progress.say, verbose=verbose))
        end = run(run_wait(session, ids, progress, checkpoint))
    if as_json:
        print_out(tally.as_json(end.code))
    elif not tally.is_empty:
        console.print(tally.as_text())
    if end == End(ExitCode.USAGE):
        names = files + ["stdin"] * reads_stdin
        end = attrs.evolve(end, message="; ".join(f"{name} holds no execution ID" for name in names))
    if end.code is ExitCode.INTERRUPTED and out is not None:
        end = attrs.evolve(end, message=f"{end.message}; to go on, run the same command with --out {out} --resume")
    end.exit()


@app.command()
def demo() -> None:
    """See it work, without network or key.

    Runs a few dozen executions on a simulated dispatcher and waits for them. They have every fate there is, so this
    shows what `wait` makes of each.

    Exit codes: 0 every execution ended as planned, 1 one did not, 130 interrupted.
    """
    run(run_demo(Console(), Console(stderr=True))).exit()


@app.command()
def simulate(port: options.Port = 8080) -> None:
    """Serve a simulated dispatcher.

    It serves the executions of `demo` on 127.0.0.1 until Ctrl-C, and prints their IDs. Try out a program of yours on
    it, or this one:

    ```console
    $ truebit-async simulate > ids.txt &
    $ truebit-async wait --base-url http://127.0.0.1:8080 --from ids.txt
    ```

    Exit codes: 2 the port is taken, 130 interrupted by Ctrl-C.
    """
    run(_simulate(port)).exit()


async def _simulate(port: int) -> NoReturn:
    async with contextlib.AsyncExitStack() as stack:
        try:
            simulator = await stack.enter_async_context(Simulator(port=port))
        except OSError as error:
            End(ExitCode.USAGE, f"cannot listen on port {port}: {error.strerror or error}").exit()
        add_cast(simulator)
        print_out("\n".join(all_execution_ids()))
        say(f"A simulated dispatcher listens at {simulator.url}; Ctrl-C stops it. Its execution IDs are on stdout.")
        say(f"Try: truebit-async wait --base-url {simulator.url} success-01 failed-01")
        while True:
            await asyncio.Event().wait()  # nobody sets it: only Ctrl-C ends this


def _session(
    base_url: str | None, api_key: str | None, policy: PollPolicy, listener: Listener | None = None
) -> TruebitSession:
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as caught:
        try:
            session = TruebitSession(base_url, api_key=api_key, policy=policy, listener=listener)
        except ValueError as error:  # what options say was checked before
            End(ExitCode.USAGE, f"in the environment: {error}").exit()
    for warning in caught:
        say(f"truebit-async: warning: {warning.message}")
    return session


def _policy(deadline: float | None, not_found_grace: float | None) -> PollPolicy:
    policy = PollPolicy()
    return attrs.evolve(policy, deadline=deadline or policy.deadline, not_found_grace=not_found_grace or 0.0)


def _log(say: Callable[[str], None], *, verbose: bool) -> contextlib.AbstractContextManager[None]:
    return log_to(say) if verbose else contextlib.nullcontext()


def _checkpoint(path: Path, *, resume: bool) -> Checkpoint:
    try:
        checkpoint = Checkpoint(path, resume=resume)
    except CheckpointError as error:
        End(ExitCode.USAGE, str(error)).exit()
    if checkpoint.mended is not None:
        say(f"{path}: {checkpoint.mended}")
    return checkpoint


def _ids_in(path: str, complain: Callable[[str], None]) -> list[str]:
    try:
        lines = Path(path).read_bytes().split(b"\n")
    except OSError as error:
        End(ExitCode.USAGE, f"cannot read IDs from {path}: {error.strerror or error}").exit()
    parser = IdParser(path, complain)
    return [execution_id for line in lines for execution_id in parser.ids_in(line)]


def _stdin() -> int:
    if sys.stdin is None:  # closed by whoever started this; its number may be that of another file by now
        End(ExitCode.USAGE, "cannot read IDs from stdin: it is closed").exit()
    return sys.stdin.fileno()
