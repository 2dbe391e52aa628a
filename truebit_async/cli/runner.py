"""Run a command's coroutine: choose the event loop, handle Ctrl-C and SIGTERM, and turn errors into exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Coroutine, Iterator
from typing import cast

import attrs
import click

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.hints import in_terms_of_the_command
from truebit_async.cli.output import OutputError, print_to_stderr
from truebit_async.errors import (
    AuthenticationError,
    InvalidExecutionIdError,
    MissingApiKeyError,
    PaymentRequiredError,
    TruebitError,
)

REFUSALS = (AuthenticationError, PaymentRequiredError)
"""The errors with which a dispatcher refuses an API key or an account."""


class UsageProblem(click.ClickException):  # the user's mistake, not an error of the program
    """Something that the user can correct, apart from the options; the message says what."""


@attrs.frozen
class ExitStatus:
    """How a command ended.

    Attributes:
        code: the exit code.
        message: a message for the user; None prints nothing.
    """

    code: ExitCode
    message: str | None = None

    def report(self) -> ExitCode:
        """Print the message, and return the exit code."""
        if self.message is not None:
            print_to_stderr(f"truebit-async: {self.message}")
        return self.code


def run(command: Callable[[], Coroutine[object, object, ExitCode]]) -> ExitStatus:
    """Run a command until it ends, or Ctrl-C or SIGTERM stops it.

    Args:
        command: makes the coroutine.
    """
    is_terminated = False

    async def run_until_sigterm() -> ExitCode:
        task = cast("asyncio.Task[object]", asyncio.current_task())

        def terminate() -> None:
            nonlocal is_terminated
            is_terminated = True
            task.cancel()

        with _on_sigterm(terminate):
            return await command()

    try:
        with _python_handles_sigint(), asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return ExitStatus(runner.run(run_until_sigterm()))
    except KeyboardInterrupt:
        return ExitStatus(ExitCode.INTERRUPTED, "interrupted")
    except asyncio.CancelledError:
        if not is_terminated:
            raise
        return ExitStatus(ExitCode.TERMINATED, "terminated")
    except UsageProblem as error:
        return ExitStatus(ExitCode.USAGE, error.message)
    except (InvalidExecutionIdError, MissingApiKeyError, *REFUSALS) as error:
        return ExitStatus(ExitCode.USAGE, in_terms_of_the_command(str(error)))
    except (OutputError, TruebitError) as error:
        return ExitStatus(ExitCode.NO_FINAL_STATE, in_terms_of_the_command(str(error)))


@contextlib.contextmanager
def _python_handles_sigint() -> Iterator[None]:
    """Let Python handle Ctrl-C while a loop runs, as `asyncio.Runner` expects, unless Ctrl-C is ignored."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _on_sigterm(stop: Callable[[], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)
    try:
        loop.add_signal_handler(signal.SIGTERM, stop)
    except NotImplementedError:  # on Windows, where nobody sends it
        yield
        return
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
        signal.signal(signal.SIGTERM, before)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop if it is installed; None stands for the default of asyncio."""
    try:
        import uvloop  # noqa: PLC0415  # in the extra `speed`
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
