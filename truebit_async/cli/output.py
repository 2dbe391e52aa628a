"""Lines on stdout and stderr."""

from __future__ import annotations

import os
import stat
import sys


class OutputError(Exception):
    """What was asked for could not be written to stdout; the message says why."""


def print_out(text: str) -> None:
    """Print to stdout, at once.

    Args:
        text: a line, or several, without the last line break.

    Raises:
        OutputError: it could not be written, for example because the disk is full.
        BrokenPipeError: nobody reads it any more.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        msg = f"cannot write to stdout: {error.strerror or error}"
        raise OutputError(msg) from error


def say(message: str) -> None:
    """Print a message to stderr."""
    print(message, file=sys.stderr)


def stdout_is_a_pipe() -> bool:
    """Return whether another program reads stdout; what it writes may show on the same terminal as stderr."""
    mode = os.fstat(1).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def open_what_is_closed() -> None:
    """Lead standard streams that whoever started this has closed to nowhere, before a socket takes their number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    # Python has made no objects for them. Stdin is left out, so that reading it can be refused.
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  # until the end
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
