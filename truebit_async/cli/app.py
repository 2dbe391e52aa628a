"""The group of all commands, and what happens to their errors."""

from __future__ import annotations

import re

import click

from truebit_async import __version__
from truebit_async.cli.commands.evidence import audit, invoice, transcript
from truebit_async.cli.commands.running import run
from truebit_async.cli.commands.setup import completion, doctor
from truebit_async.cli.commands.trying import demo, simulate
from truebit_async.cli.commands.waiting import results, status, wait
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.help import Group
from truebit_async.cli.output import (
    OutputError,
    print_to_stderr,
    print_to_stdout,
    reopen_standard_streams,
    with_unfailing_stderr,
)

PROGRAM = "truebit-async"


def _print_version(ctx: click.Context, _: click.Parameter, is_given: bool) -> None:  # noqa: FBT001  # as Click calls it
    if is_given:
        print_to_stdout(f"truebit-async {__version__}")
        ctx.exit()


@click.group(
    cls=Group,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    exit_codes=[
        (ExitCode.SUCCEEDED, "every execution was verified and succeeded"),
        (ExitCode.NOT_SUCCEEDED, "every execution has a final state, and at least one did not succeed"),
        (ExitCode.USAGE, "wrong usage or configuration, or the dispatcher refuses the API key or the account"),
        (ExitCode.NO_FINAL_STATE, "at least one execution has no final state"),
        (ExitCode.UNCERTAIN, "run: the task may have been submitted"),
        (ExitCode.NOT_SUBMITTED, "run: the task was not submitted"),
        (ExitCode.BUG, "a bug in this command"),
        (ExitCode.INTERRUPTED, "interrupted by Ctrl-C"),
        (ExitCode.TERMINATED, "terminated by SIGTERM"),
    ],
)
@click.option(
    "-V",
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the version.",
)
def app() -> None:
    """Run tasks on Truebit Verify, and wait for the verified results of executions.

    Results go to stdout: one line for each on a terminal, JSON elsewhere. Progress and messages go to stderr. To try
    the command without a network, use `truebit-async demo`. Each command has its own --help.
    """


for _command in (status, wait, results, run, transcript, invoice, audit, doctor, demo, simulate, completion):
    app.add_command(_command)


def run_command() -> int:
    """Run the command that the arguments of the process name.

    Returns:
        The exit code.

    Raises:
        ModuleNotFoundError: a module of the extra is missing.
        KeyboardInterrupt: Ctrl-C was pressed while no event loop ran.
    """
    reopen_standard_streams()
    with with_unfailing_stderr():
        return _run()


def _run() -> int:
    try:
        code = app.main(prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        path = PROGRAM if context is None else context.command_path
        message = re.sub(r"\s*\n\s*", " ", error.format_message())  # Click lists choices on lines of their own
        print_to_stderr(f"{path}: {message}")
        if isinstance(error, click.UsageError):
            print_to_stderr(f"For help, run: {path} --help")
        return ExitCode.USAGE
    except click.Abort:
        raise KeyboardInterrupt from None
    except (OutputError, OSError) as error:  # for example a full disk
        print_to_stderr(f"{PROGRAM}: {error}")
        return ExitCode.NO_FINAL_STATE
    except Exception as bug:  # the commands handle every error that a user can correct
        if isinstance(bug, ModuleNotFoundError) and bug.name == "rich":
            raise
        from truebit_async.cli.bugs import report_bug  # noqa: PLC0415  # slow to import

        report_bug(bug)
        return ExitCode.BUG
    return code if isinstance(code, int) else ExitCode.SUCCEEDED
