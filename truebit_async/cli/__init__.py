"""The ``truebit-async`` command. It needs the ``cli`` extra (Typer and Rich)."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command, or print how to install the extra if it is missing.

    Raises:
        SystemExit: always, with one of the documented exit codes.
    """
    try:
        from truebit_async.cli.app import app  # noqa: PLC0415  # the extra may be missing
        from truebit_async.cli.bugs import report_bug  # noqa: PLC0415
        from truebit_async.cli.exit_codes import ExitCode  # noqa: PLC0415
        from truebit_async.cli.output import (  # noqa: PLC0415
            OutputError,
            print_to_stderr,
            reopen_standard_streams,
        )
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("truebit-async needs its command line extra: pip install 'truebit_async[cli]'\n")
        sys.exit(2)
    reopen_standard_streams()
    try:
        app(prog_name="truebit-async")
    except (OutputError, OSError) as error:  # for example a full disk
        print_to_stderr(f"truebit-async: {error}")
        sys.exit(ExitCode.NO_FINAL_STATE)
    except Exception as bug:  # noqa: BLE001  # the commands handle every error that a user can correct
        report_bug(bug)
        sys.exit(ExitCode.BUG)
