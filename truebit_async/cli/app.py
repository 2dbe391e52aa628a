"""The commands. Results go to stdout; progress and messages go to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Annotated, NoReturn

import attrs
import typer
from rich.console import Console

from truebit_async._version import __version__
from truebit_async._wire import make_converter
from truebit_async.checkpoint import Checkpoint
from truebit_async.cli.cast import add_cast, all_execution_ids
from truebit_async.cli.demo import run_demo
from truebit_async.cli.ids import IdList, read_ids
from truebit_async.cli.log import log_to
from truebit_async.cli.progress import BatchProgress
from truebit_async.cli.results import ExitCode, Verdict
from truebit_async.cli.wait import run_wait
from truebit_async.errors import CheckpointError, InvalidExecutionIdError, TruebitError
from truebit_async.events import Listener
from truebit_async.policy import PollPolicy
from truebit_async.session import TruebitSession
from truebit_async.testing import Simulator

app: typer.Typer = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they would show local variables, and the API key is one
    help="Wait for the verified results of Truebit executions. The API key is taken from TRUEBIT_API_KEY.",
    epilog=(
        "Exit codes: 0 all verified and succeeded, 1 all answered but not all succeeded, 2 wrong usage or "
        "configuration, 3 at least one without an answer, 130 interrupted."
    ),
)

_BaseUrl = Annotated[
    str | None,
    typer.Option("--base-url", help="The dispatcher. Default: TRUEBIT_BASE_URL, else https://run.truebit.network."),
]


def _print_version(wanted: bool) -> None:  # noqa: FBT001  # the signature Typer calls
    if wanted:
        print(f"truebit-async {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


_Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log every request to stderr.")]


@app.command()
def status(
    execution_id: Annotated[str, typer.Argument(metavar="ID")],
    *,
    base_url: _BaseUrl = None,
    verbose: _Verbose = False,
) -> None:
    """Print the status of one execution as JSON."""
    session = _session(base_url, PollPolicy())

    async def ask() -> ExitCode:
        async with session:
            execution = await session.get_execution_status(execution_id)
        print(json.dumps(make_converter().unstructure(execution), indent=2))
        return Verdict.of(execution).exit_code

    with _log(Console(stderr=True), verbose=verbose):
        _run(ask())


@app.command()
def wait(  # these are its options
    execution_ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", show_default=False)] = None,
    *,
    source: Annotated[
        str | None,
        typer.Option("--from", metavar="FILE|-", help="Read IDs, one per line, plain or as JSON; - is stdin."),
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Append the results to this file instead.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip what has an answer in the --out file.")] = False,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds for each execution. Default: 600.", show_default=False)
    ] = None,
    base_url: _BaseUrl = None,
    verbose: _Verbose = False,
) -> None:
    """Wait for executions, and print one line of JSON for each as it finishes."""
    if resume and out is None:
        message = "--resume needs --out, the file to resume"
        raise typer.BadParameter(message)
    read = IdList([], []) if source is None else _read_ids(source)
    for problem in read.problems:
        _say(problem)
    ids = list(dict.fromkeys([*(execution_ids or ()), *read.ids]))
    if not ids:
        message = "give at least one execution ID, or --from FILE"
        raise typer.BadParameter(message)

    console = Console(stderr=True)
    progress = BatchProgress(console)
    session = _session(base_url, _policy(deadline), progress)
    checkpoint = None if out is None else _checkpoint(out, resume=resume)
    hint = "" if out is None else f"; to go on, run the same command with --out {out} --resume"
    with checkpoint or contextlib.nullcontext(), _log(console, verbose=verbose):
        _run(run_wait(session, ids, progress, checkpoint), at_least=read.exit_code, hint=hint)


@app.command()
def demo() -> None:
    """Run a few dozen executions on a simulated dispatcher and wait for them. Needs no network and no key."""
    _run(run_demo(Console(), Console(stderr=True)))


@app.command()
def simulate(port: Annotated[int, typer.Option(help="0 takes a free port.", min=0, max=65535)] = 8080) -> None:
    """Serve the executions of the demo on 127.0.0.1 until Ctrl-C, and print their IDs."""
    try:
        _run(_simulate(port))
    except OSError as error:
        _fail(error, ExitCode.USAGE)


async def _simulate(port: int) -> NoReturn:
    async with Simulator(port=port) as simulator:
        add_cast(simulator)
        for execution_id in all_execution_ids():
            print(execution_id)
        sys.stdout.flush()
        _say(f"A simulated dispatcher listens at {simulator.url}; Ctrl-C stops it. Its execution IDs are on stdout.")
        _say(f"Try: truebit-async wait --base-url {simulator.url} success-01 failed-01")
        while True:
            await asyncio.Event().wait()  # nobody sets it: only Ctrl-C ends this


def _session(base_url: str | None, policy: PollPolicy, listener: Listener | None = None) -> TruebitSession:
    try:
        return TruebitSession(base_url, policy=policy, listener=listener)
    except ValueError as error:
        _fail(error, ExitCode.USAGE)


def _policy(deadline: float | None) -> PollPolicy:
    try:
        return PollPolicy() if deadline is None else attrs.evolve(PollPolicy(), deadline=deadline)
    except ValueError as error:
        _fail(error, ExitCode.USAGE)


def _log(console: Console, *, verbose: bool) -> contextlib.AbstractContextManager[None]:
    return log_to(console) if verbose else contextlib.nullcontext()


def _checkpoint(path: Path, *, resume: bool) -> Checkpoint:
    try:
        checkpoint = Checkpoint(path, resume=resume)
    except CheckpointError as error:
        _fail(error, ExitCode.USAGE)
    if checkpoint.mended is not None:
        _say(f"{path}: {checkpoint.mended}")
    return checkpoint


def _read_ids(source: str) -> IdList:
    try:
        return read_ids(source)
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"cannot read IDs from {source}: {error}", ExitCode.USAGE)


def _run(
    command: Coroutine[object, object, ExitCode], *, at_least: ExitCode = ExitCode.SUCCEEDED, hint: str = ""
) -> NoReturn:
    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            code = runner.run(command)
    except KeyboardInterrupt:
        _fail(f"interrupted{hint}", ExitCode.INTERRUPTED)
    except InvalidExecutionIdError as error:
        _fail(error, ExitCode.USAGE)
    except TruebitError as error:
        _fail(error, ExitCode.NO_ANSWER)
    raise typer.Exit(max(code, at_least))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # in the extra `speed`
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop


def _fail(message: object, code: ExitCode) -> NoReturn:
    _say(f"truebit-async: {message}")
    raise typer.Exit(code)


def _say(message: str) -> None:
    print(message, file=sys.stderr)
