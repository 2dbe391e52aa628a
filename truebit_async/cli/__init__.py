"""The command ``truebit-async``. It needs the extra ``cli`` (Typer and Rich)."""

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command, or say how to install what it needs.

    Raises:
        SystemExit: always, with the exit code that the documentation lists.
    """
    try:
        from truebit_async.cli.app import app  # noqa: PLC0415  # the extra may be missing
        from truebit_async.cli.bugs import report_bug  # noqa: PLC0415
        from truebit_async.cli.output import OutputError, open_what_is_closed, say  # noqa: PLC0415
        from truebit_async.cli.results import ExitCode  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if error.name not in {"typer", "rich"}:
            raise
        sys.stderr.write("truebit-async needs its command line extra: pip install 'truebit_async[cli]'\n")
        sys.exit(2)
    open_what_is_closed()
    try:
        app(prog_name="truebit-async")
    except (OutputError, OSError) as error:  # a full disk and the like are no bugs of ours
        say(f"truebit-async: {error}")
        sys.exit(ExitCode.NO_ANSWER)
    except Exception as bug:  # noqa: BLE001  # whatever a user can mend has been dealt with
        report_bug(bug)
        sys.exit(ExitCode.BUG)
