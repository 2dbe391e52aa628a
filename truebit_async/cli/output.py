"""Write to stdout and stderr. This module is imported at every start, so it imports nothing large."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from collections.abc import Iterator
from typing import TextIO, cast

import click

from truebit_async._text import one_line

_closed_at_start: set[int] = set()  # the numbers of standard streams


class OutputError(Exception):
    """Results cannot be written to stdout; the message says why."""


def check_stdout() -> None:
    """Check that results can be printed, before anything is asked or submitted for them.

    Raises:
        click.UsageError: stdout is closed.
    """
    if 1 in _closed_at_start:
        message = "cannot print results: stdout is closed"
        raise click.UsageError(message)


def print_to_stdout(text: str) -> None:
    """Print text to stdout, and flush it.

    Args:
        text: one or more lines, without the last line break. Control characters must be escaped, as in JSON.

    Raises:
        OutputError: the text cannot be written, for example because the disk is full.
        BrokenPipeError: the reader has closed the pipe.
    """
    check_stdout()
    with _explained():
        print(text, flush=True)


def print_bytes_to_stdout(content: bytes) -> None:
    """Write bytes to stdout, and flush it.

    Raises:
        OutputError: as for `print_to_stdout`.
        BrokenPipeError: the reader has closed the pipe.
    """
    check_stdout()
    with _explained():
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"cannot write to stdout: {error.strerror or error}"
        raise OutputError(msg) from error


def print_to_stderr(message: str) -> None:
    """Print a message to stderr, on one line and with control characters escaped."""
    print(one_line(message), file=sys.stderr)


class _UnfailingStream:
    """A stream that drops what cannot be written: nothing depends on messages, and exit codes must stay right.

    Args:
        stream: the stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def with_unfailing_stderr() -> contextlib.AbstractContextManager[object]:
    """Return a context manager in which messages that cannot be written are dropped, for example on a full disk."""
    return contextlib.redirect_stderr(cast("TextIO", _UnfailingStream(sys.stderr)))


def stdout_is_a_pipe() -> bool:
    """Return whether another program reads stdout. That program may print to the same terminal as stderr."""
    mode = os.fstat(1).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def has_colours(stream: TextIO) -> bool:
    """Return whether a stream is a terminal that shows colours, and nobody has forbidden them."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def reopen_standard_streams() -> None:
    """Reopen closed standard streams on /dev/null, so that no socket gets one of their numbers."""
    _closed_at_start.clear()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the system assigns the lowest free number, which is this one
            _closed_at_start.add(descriptor)
    # Python sets the object of a closed stream to None. Stdin stays None, so that `--from -` can refuse it.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # open until exit
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
