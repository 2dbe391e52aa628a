"""The options that several commands have.

A group of them reaches a command as one argument: `connection_options` as ``connection``, `wait_options` and
`run_options` as ``budgets``. This module is imported at every start, so it imports nothing large.
"""

from __future__ import annotations

import enum
import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple

import click
from click.shell_completion import CompletionItem

from truebit_async.cli.api_key import read_api_key
from truebit_async.cli.duration import EXAMPLES, SHORT_EXAMPLES, parse_duration
from truebit_async.cli.help import Option

CommandFunction = Callable[..., Any]
Decorator = Callable[[CommandFunction], CommandFunction]

INPUT_AND_OUTPUT = "Input and output"
LIMITS = "Limits and timeouts"
DISPATCHER = "Dispatcher"


class TaskKind(enum.StrEnum):
    """A kind of task."""

    FUNCTION = "function"
    API = "api"


class ResultFormat(enum.StrEnum):
    """How results are printed."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"


def is_text(result_format: ResultFormat | None) -> bool:
    """Return whether to print results as text: because that was chosen, or because stdout is a terminal."""
    return sys.stdout.isatty() if result_format is None else result_format is ResultFormat.TEXT


class Connection(NamedTuple):
    """The options that say which dispatcher to ask, and as whom.

    Attributes:
        base_url: the ``--base-url``; None takes the default.
        api_key: the key in the ``--api-key-file``; None takes that of the environment.
        verbose: whether to log every request to stderr.
    """

    base_url: str | None
    api_key: str | None
    verbose: bool


class Budgets(NamedTuple):
    """The options that say how long to wait and how often to ask. None takes the default.

    Attributes:
        deadline: seconds for each execution.
        not_found_grace: seconds in which a 404 is no error yet.
        request_timeout: seconds for one request.
        max_errors: how many failures in a row end a wait.
        interval: seconds between two polls of an execution, on average, or ``"learned"``.
        max_rate: requests per second.
        max_concurrency: requests in flight.
    """

    deadline: float | None = None
    not_found_grace: float | None = None
    request_timeout: float | None = None
    max_errors: int | None = None
    interval: float | Literal["learned"] | None = None
    max_rate: float | None = None
    max_concurrency: int | None = None


class Checked(click.ParamType[Any]):
    """A type whose values a function parses.

    Args:
        name: what its values are called in messages.
        parse: returns the value of a text, or raises a ValueError that says what is wrong.
    """

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Return the value of a text."""
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _parse_base_url(text: str) -> str:
    from truebit_async._arguments import check_base_url  # noqa: PLC0415  # see the docstring of this module

    try:
        check_base_url(text)
    except ValueError as error:
        msg = str(error).removeprefix("base_url ")
        raise ValueError(msg) from None
    return text


def _parse_interval(text: str) -> float | Literal["learned"]:
    if text.lower() == "learned":
        return "learned"
    try:
        return parse_duration(text)
    except ValueError:
        msg = f"{text!r} is neither a duration above zero ({SHORT_EXAMPLES}) nor 'learned'"
        raise ValueError(msg) from None


def _parse_fixed_interval(text: str) -> float:
    if text.lower() == "learned":
        msg = "'learned' is for `truebit-async wait`: there is nothing to learn from one execution"
        raise ValueError(msg)
    return parse_duration(text)


def _parse_rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        msg = f"{text!r} is not a number above zero"
        raise ValueError(msg)
    return rate


def _parse_count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if count < 1:
        msg = f"{text!r} is not a whole number above zero"
        raise ValueError(msg)
    return count


DURATION = Checked("duration", parse_duration)
COUNT = Checked("count", _parse_count)
FILE = click.Path(path_type=Path)


def complete_files(_ctx: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Let the shell complete the name of a file."""
    return [CompletionItem(incomplete, type="file")]


option: Callable[..., Decorator] = functools.partial(click.option, cls=Option)
"""As `click.option`, with the argument ``section``."""


def _as_one_argument(name: str, value_type: type[Any], *decorators: Decorator) -> Decorator:
    """Return a decorator that gives a command some options, and passes their values to it as one argument.

    Args:
        name: the name of the argument.
        value_type: a named tuple with a field for each option.
        decorators: the options.
    """

    def decorate(function: CommandFunction) -> CommandFunction:
        @functools.wraps(function)
        def with_options(**values: Any) -> Any:  # noqa: ANN401
            own = {field: values.pop(field) for field in value_type._fields if field in values}
            return function(**values, **{name: value_type(**own)})

        result: CommandFunction = with_options
        for decorator in reversed(decorators):
            result = decorator(result)
        return result

    return decorate


connection_options: Decorator = _as_one_argument(
    "connection",
    Connection,
    option(
        "--base-url",
        metavar="URL",
        envvar="TRUEBIT_BASE_URL",
        show_envvar=True,
        type=Checked("url", _parse_base_url),
        help="The base URL of the dispatcher. Default: https://run.truebit.network.",
        section=DISPATCHER,
    ),
    option(
        "--api-key-file",
        "api_key",
        metavar="FILE",
        type=Checked("file", read_api_key),
        shell_complete=complete_files,
        help="Read the API key from a file. Default: the variable TRUEBIT_API_KEY.",
        section=DISPATCHER,
    ),
    option("-v", "--verbose", is_flag=True, help="Log every request to stderr."),
)

_deadline = option(
    "--deadline",
    metavar="DURATION",
    type=DURATION,
    help=f"How long to wait for each execution: {EXAMPLES}. Default: 10m.",
    section=LIMITS,
)
_not_found_grace = option(
    "--not-found-grace",
    metavar="DURATION",
    type=DURATION,
    help="How long to keep polling after a 404, for IDs submitted just now. Default: a 404 is final.",
    section=LIMITS,
)
_request_timeout = option(
    "--request-timeout",
    metavar="DURATION",
    type=DURATION,
    help="How long one request may take. Default: 30s.",
    section=LIMITS,
)
_max_errors = option(
    "--max-errors",
    metavar="COUNT",
    type=COUNT,
    help="How many failed requests in a row end the wait for an execution. Default: 5.",
    section=LIMITS,
)

status_options: Decorator = _as_one_argument(
    "budgets", Budgets, _deadline, _not_found_grace, _request_timeout, _max_errors
)

LEARNED_FILE = "learned-waits.json"
"""What ``--interval learned`` keeps beside the results."""

_INTERVAL = "How long to sleep between two polls of an execution, give or take 20 %."
_DEFAULT_INTERVAL = "Default: about a fifth of the time it has run so far, from 1s to 8s."

_interval = option(
    "--interval",
    metavar="DURATION|learned",
    type=Checked("interval", _parse_interval),
    help=f"{_INTERVAL} With learned, it learns how long executions take, and polls when an end is likely; "
    f"with --out it keeps that in {LEARNED_FILE} beside the file. {_DEFAULT_INTERVAL}",
    section=LIMITS,
)
_fixed_interval = option(
    "--interval",
    metavar="DURATION",
    type=Checked("duration", _parse_fixed_interval),
    help=f"{_INTERVAL} {_DEFAULT_INTERVAL}",
    section=LIMITS,
)
_max_rate = option(
    "--max-rate",
    metavar="NUMBER",
    type=Checked("number", _parse_rate),
    help="How many requests to send per second at most. Default: no limit.",
    section=LIMITS,
)
_max_concurrency = option(
    "--max-concurrency",
    metavar="COUNT",
    type=COUNT,
    help="How many requests may be under way at once. Default: 64.",
    section=LIMITS,
)


def _wait_options(interval: Decorator) -> Decorator:
    return _as_one_argument(
        "budgets",
        Budgets,
        _deadline,
        _not_found_grace,
        _request_timeout,
        _max_errors,
        interval,
        _max_rate,
        _max_concurrency,
    )


wait_options: Decorator = _wait_options(_interval)
run_options: Decorator = _wait_options(_fixed_interval)


def kind_option(section: str) -> Decorator:
    """Return the option ``--kind``.

    Args:
        section: the title of its section in the help.
    """
    return option(
        "--kind",
        type=click.Choice(TaskKind, case_sensitive=False),
        metavar="|".join(TaskKind),
        default=TaskKind.FUNCTION,
        help="The kind of task that was run. Default: function.",
        section=section,
    )


def format_option(*formats: ResultFormat) -> Decorator:
    """Return the option ``--format``.

    Args:
        formats: what the command offers.
    """
    return option(
        "--format",
        "result_format",
        type=click.Choice(formats, case_sensitive=False),
        metavar="|".join(formats),
        help="How to print results. Default: text on a terminal, json elsewhere.",
        section=INPUT_AND_OUTPUT,
    )
