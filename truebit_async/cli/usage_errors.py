"""Usage errors that quote an argument without its control characters."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from truebit_async._text import one_line

# The base class of all usage errors. Typer exports only BadParameter.
_UsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]


class EscapingGroup(TyperGroup):
    """A group of commands that escapes control characters in the messages of usage errors.

    Typer and Click quote the wrong argument in such a message, and an argument may contain escape sequences that would
    control the terminal.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # the signature is Typer's
        """Parse the options of the group."""
        with _escaped_usage_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Parse the arguments of the command and run it."""
        with _escaped_usage_errors():
            return super().invoke(ctx)


@contextlib.contextmanager
def _escaped_usage_errors() -> Iterator[None]:
    try:
        yield
    except _UsageError as error:
        error.message = one_line(error.message)
        raise
