"""The options of the commands."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

from truebit_async import __version__
from truebit_async._arguments import check_base_url
from truebit_async.cli.api_key import read_api_key
from truebit_async.cli.duration import EXAMPLES, parse_duration
from truebit_async.cli.output import print_to_stdout

_INPUT_AND_OUTPUT = "Input and output"
_DISPATCHER = "Dispatcher"
_TASK = "Task"


def _print_version(is_given: bool) -> None:  # noqa: FBT001  # Typer passes the value by position
    if is_given:
        print_to_stdout(f"truebit-async {__version__}")
        raise typer.Exit


def _duration(text: str) -> float:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def _base_url(text: str) -> str:
    try:
        check_base_url(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return text


def _api_key(path: str) -> str:
    try:
        return read_api_key(path)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


class TaskKind(enum.StrEnum):
    """A kind of task."""

    FUNCTION = "function"
    API = "api"


Version = Annotated[
    bool,
    typer.Option("--version", metavar="", callback=_print_version, is_eager=True, help="Print the version and exit."),
]

ExecutionId = Annotated[str, typer.Argument(metavar="ID", help="An execution ID.")]

ExecutionIds = Annotated[list[str] | None, typer.Argument(metavar="ID", help="Execution IDs.", show_default=False)]

Kind = Annotated[
    TaskKind, typer.Option("--kind", help="The kind of task that the IDs are those of.", rich_help_panel=_DISPATCHER)
]

Sources = Annotated[
    list[str] | None,
    typer.Option(
        "--from",
        metavar="FILE",
        help="Read IDs from a file, one per line, plain or as JSON. `-` reads lines from stdin as they arrive. "
        "May be given several times.",
        show_default=False,
        rich_help_panel=_INPUT_AND_OUTPUT,
    ),
]

Out = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Append the results to a file instead of printing them.", rich_help_panel=_INPUT_AND_OUTPUT
    ),
]

Resume = Annotated[
    bool,
    typer.Option(
        "--resume",
        metavar="",
        help="Continue the `--out` file: skip the IDs that have a final state in it.",
        rich_help_panel=_INPUT_AND_OUTPUT,
    ),
]

Json = Annotated[
    bool,
    typer.Option(
        "--json",
        metavar="",
        help="Print the summary as the last line of stdout, as JSON, instead of as a table on stderr.",
        rich_help_panel=_INPUT_AND_OUTPUT,
    ),
]

Deadline = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=_duration,
        help=f"How long to wait for each execution: {EXAMPLES}. Default: 10m.",
        show_default=False,
    ),
]

NotFoundGrace = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=_duration,
        help="How long to keep polling after a 404, for IDs submitted just now. Default: a 404 ends the wait.",
        show_default=False,
    ),
]

BaseUrl = Annotated[
    str | None,
    typer.Option(
        "--base-url",
        metavar="URL",
        envvar="TRUEBIT_BASE_URL",
        parser=_base_url,
        help="The base URL of the dispatcher. Default: https://run.truebit.network.",
        rich_help_panel=_DISPATCHER,
    ),
]

ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key-file",
        metavar="FILE",
        parser=_api_key,
        help="Read the API key from a file. Default: the variable `TRUEBIT_API_KEY`, if it is set.",
        rich_help_panel=_DISPATCHER,
    ),
]

Verbose = Annotated[bool, typer.Option("--verbose", "-v", metavar="", help="Log every request to stderr.")]

Port = Annotated[
    int, typer.Option(metavar="PORT", help="The port to listen on; 0 takes a free port.", min=0, max=65535)
]

TaskName = Annotated[str, typer.Argument(metavar="NS/TASK", help="The namespace and the name of the task.")]

TaskInput = Annotated[
    str,
    typer.Option(
        "--input",
        metavar="TEXT|@FILE",
        help="The input: a text, the content of a file, or `@-` for stdin.",
        rich_help_panel=_TASK,
    ),
]

TotalSolutions = Annotated[
    int, typer.Option("--total-solutions", metavar="COUNT", help="How many nodes run the task.", rich_help_panel=_TASK)
]

RequiredSolutions = Annotated[
    int,
    typer.Option(
        "--required-solutions",
        metavar="COUNT",
        help="How many of them must agree. One node that agrees with itself proves little.",
        rich_help_panel=_TASK,
    ),
]

GasLimit = Annotated[
    int | None,
    typer.Option("--gas-limit", metavar="STEPS", help="How many steps the task may take.", rich_help_panel=_TASK),
]

ExecutionTimeout = Annotated[
    float | None,
    typer.Option(
        "--execution-timeout",
        metavar="DURATION",
        parser=_duration,
        help="How long the task may run. For API tasks the default is 30s.",
        show_default=False,
        rich_help_panel=_TASK,
    ),
]

Label = Annotated[
    str | None,
    typer.Option("--label", metavar="TEXT", help="Which deployment of the task to run.", rich_help_panel=_TASK),
]

TaskVersion = Annotated[
    str | None,
    typer.Option("--task-version", metavar="TEXT", help="Which version of the task to run.", rich_help_panel=_TASK),
]

ApiPath = Annotated[str | None, typer.Option("--path", metavar="PATH", help="The path to call.", rich_help_panel=_TASK)]

ApiMethod = Annotated[
    str | None, typer.Option("--method", metavar="METHOD", help="The HTTP method of the call.", rich_help_panel=_TASK)
]

Params = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        metavar="NAME=VALUE|NAME=@FILE|NAME:=JSON",
        help="A parameter of the call: a text, the content of a file without its last line break, or JSON. "
        "May be given several times.",
        show_default=False,
        rich_help_panel=_TASK,
    ),
]

Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VALUE|NAME=@FILE",
        help="A header of the call. May be given several times.",
        show_default=False,
        rich_help_panel=_TASK,
    ),
]

EvidenceOut = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="FILE",
        help="Write to a new file instead of stdout. Only its owner can read it.",
        rich_help_panel=_INPUT_AND_OUTPUT,
    ),
]

AuditSources = Annotated[
    list[str], typer.Argument(metavar="ID|FILE", help="Execution IDs, and files with a transcript or an invoice.")
]

Trusted = Annotated[
    list[str] | None,
    typer.Option(
        "--trust",
        metavar="ADDRESS",
        help="An address that is trusted to sign. May be given several times.",
        show_default=False,
    ),
]

NoWait = Annotated[
    bool, typer.Option("--no-wait", metavar="", help="Only submit the task, and print its execution ID as JSON.")
]
