"""The ``truebit-async`` command. It needs the ``cli`` extra (Click and Rich)."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` is slow to import, and nothing handles Ctrl-C until `main` runs
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Run the command, or print how to install the extra if it is missing.

    Raises:
        SystemExit: always, with one of the documented exit codes.
    """
    try:
        import signal  # noqa: PLC0415  # likewise

        before = signal.signal(signal.SIGTERM, _exit_on_sigterm)
        try:
            from truebit_async.cli.app import run_command  # noqa: PLC0415  # the extra may be missing

            code = run_command()
        finally:
            signal.signal(signal.SIGTERM, before)
    except ModuleNotFoundError as error:
        if error.name not in {"click", "rich"}:
            raise
        sys.stderr.write("truebit-async needs its extra `cli`: pip install -e '.[cli]' in a checkout installs it\n")
        code = 2
    except KeyboardInterrupt:
        sys.stderr.write("truebit-async: interrupted while no request was under way\n")
        code = 130
    sys.exit(code)


def _exit_on_sigterm(_signal: int, _frame: FrameType | None) -> NoReturn:
    """Exit as after SIGTERM. Process 1 of a container would ignore it without a handler."""
    sys.stderr.write("truebit-async: terminated while no request was under way\n")
    sys.exit(143)
