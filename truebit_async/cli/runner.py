"""Run a command's coroutine: choose the event loop, handle Ctrl-C, and turn errors into exit codes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import NoReturn

import attrs
import typer

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.ids import InputError
from truebit_async.cli.output import OutputError, print_to_stderr
from truebit_async.errors import InvalidExecutionIdError, MissingApiKeyError, TruebitError


@attrs.frozen
class ExitStatus:
    """How a command ended.

    Attributes:
        code: the exit code.
        message: a message for the user; None prints nothing.
    """

    code: ExitCode
    message: str | None = None

    def exit(self) -> NoReturn:
        """Print the message and exit.

        Raises:
            typer.Exit: always.
        """
        if self.message is not None:
            print_to_stderr(f"truebit-async: {self.message}")
        raise typer.Exit(self.code)


def run(command: Coroutine[object, object, ExitCode]) -> ExitStatus:
    """Run a command until it ends or Ctrl-C interrupts it."""
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return ExitStatus(runner.run(command))
    except KeyboardInterrupt:
        return ExitStatus(ExitCode.INTERRUPTED, "interrupted")
    except MissingApiKeyError:
        return ExitStatus(ExitCode.USAGE, "a submission needs an API key: set TRUEBIT_API_KEY, or give --api-key-file")
    except (InputError, InvalidExecutionIdError) as error:
        return ExitStatus(ExitCode.USAGE, str(error))
    except (OutputError, TruebitError) as error:
        return ExitStatus(ExitCode.NO_FINAL_STATE, str(error))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the factory of uvloop if it is installed; None stands for the default of asyncio."""
    try:
        import uvloop  # noqa: PLC0415  # in the extra `speed`
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
