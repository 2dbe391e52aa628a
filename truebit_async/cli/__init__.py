"""The ``truebit-async`` command. It needs the ``cli`` extra (Click and Rich)."""

from __future__ import annotations

import contextlib
import os
import signal
import sys

TYPE_CHECKING = False  # `typing` is slow to import, and nothing handles SIGTERM until `main` runs
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command, or print how to install the extra if it is missing.

    Raises:
        SystemExit: always, with one of the documented exit codes.
    """
    sigterm = signal.signal(signal.SIGTERM, _exit_at_once)
    sigint = signal.getsignal(signal.SIGINT)
    if sigint is signal.default_int_handler:  # a shell may have told the process to ignore it
        signal.signal(signal.SIGINT, _exit_at_once)
    try:
        from truebit_async.cli.app import run_command  # noqa: PLC0415  # the extra may be missing

        code = run_command()
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write("truebit-async needs its extra `cli`: pip install -e '.[cli]' in a checkout installs it\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write("truebit-async: interrupted\n")
        code = 130
    finally:
        signal.signal(signal.SIGINT, sigint)
        signal.signal(signal.SIGTERM, sigterm)
    sys.exit(code)


def _exit_at_once(number: int, _frame: FrameType | None) -> NoReturn:
    """Exit as after Ctrl-C or SIGTERM. Process 1 of a container would ignore SIGTERM without a handler."""
    # Python ignores an exception that is raised in a destructor or in the callback of a weak reference, and importing
    # a module calls such callbacks. So this raises none.
    what = "terminated" if number == signal.SIGTERM else "interrupted"
    with contextlib.suppress(OSError):
        os.write(2, f"truebit-async: {what} while no request was under way\n".encode())
    os._exit(128 + number)
