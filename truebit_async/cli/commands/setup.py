"""``doctor`` and ``completion``."""

from __future__ import annotations

import click

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.help import Command
from truebit_async.cli.options import Connection, connection_options, option
from truebit_async.cli.output import print_to_stdout


@click.command(
    cls=Command,
    short_help="Show what the command would use.",
    examples=["truebit-async doctor --online"],
    exit_codes=[
        (ExitCode.SUCCEEDED, "nothing is wrong"),
        (ExitCode.USAGE, "wrong configuration, or the dispatcher refuses the API key"),
        (ExitCode.NO_FINAL_STATE, "--online: the dispatcher does not answer"),
    ],
)
@option("--online", is_flag=True, help="Also send one request to the dispatcher.")
@connection_options
def doctor(*, online: bool, connection: Connection) -> ExitCode:
    """Show what the command would use: base URL, API key (present or not), versions and extras.

    With --online it looks up the host, connects, and asks for the status of an execution that does not exist.
    """
    from truebit_async.cli.doctor import examine

    return examine(connection, is_online=online)


@click.command(
    cls=Command,
    short_help="Print a completion script for a shell.",
    examples=[
        """eval "$(truebit-async completion bash)"  # in ~/.bashrc""",
        """eval "$(truebit-async completion zsh)"  # in ~/.zshrc""",
        "truebit-async completion fish | source  # in ~/.config/fish/config.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> ExitCode:
    """Print the script that makes a shell complete commands and options."""
    from click.shell_completion import get_completion_class

    root = context.find_root()
    completion_class = get_completion_class(shell)
    assert completion_class is not None  # noqa: S101  # Click has one for each of the choices
    script = completion_class(root.command, {}, root.info_name or "", "_TRUEBIT_ASYNC_COMPLETE").source()
    print_to_stdout(script.rstrip())
    return ExitCode.SUCCEEDED
