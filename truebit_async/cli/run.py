"""From a coroutine to an exit code: the event loop, Ctrl-C, and the errors that a user can do something about."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import NoReturn

import attrs
import typer

from truebit_async.cli.ids import InputError
from truebit_async.cli.output import OutputError, say
from truebit_async.cli.results import ExitCode
from truebit_async.errors import InvalidExecutionIdError, TruebitError


@attrs.frozen
class End:
    """How a command ended.

    Attributes:
        code: what to exit with.
        message: what to tell the user; None if there is nothing to tell.
    """

    code: ExitCode
    message: str | None = None

    def exit(self) -> NoReturn:
        """Tell the user and leave.

        Raises:
            typer.Exit: always.
        """
        if self.message is not None:
            say(f"truebit-async: {self.message}")
        raise typer.Exit(self.code)


def run(command: Coroutine[object, object, ExitCode]) -> End:
    """Run a command to its end, or until Ctrl-C."""
    try:
        with asyncio.Runner(loop_factory=_fastest_loop()) as runner:
            return End(runner.run(command))
    except KeyboardInterrupt:
        return End(ExitCode.INTERRUPTED, "interrupted")
    except (InputError, InvalidExecutionIdError) as error:
        return End(ExitCode.USAGE, str(error))
    except (OutputError, TruebitError) as error:
        return End(ExitCode.NO_ANSWER, str(error))


def _fastest_loop() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415  # in the extra `speed`
    except ModuleNotFoundError:
        return None
    return uvloop.new_event_loop
