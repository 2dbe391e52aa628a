"""The session of a command, made from its options."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import attrs
import click
from tenacity import wait_random

from truebit_async.cli.hints import in_terms_of_the_command
from truebit_async.cli.log import log_to
from truebit_async.cli.options import Budgets, Connection, TaskKind
from truebit_async.cli.output import print_to_stderr
from truebit_async.events import Listener
from truebit_async.policy import PollPolicy, WaitStrategy
from truebit_async.session import TruebitSession
from truebit_async.tasks import Tasks

DEFAULT_CONCURRENCY = 64

_SPREAD = 0.2  # of an --interval, so that executions that started together do not stay together


def make_session(
    connection: Connection,
    budgets: Budgets,
    *listeners: Listener,
    strategy: WaitStrategy | None = None,
    shards: int = 1,
) -> TruebitSession:
    """Return the session of a command.

    Args:
        connection: which dispatcher to ask, and as whom.
        budgets: how long to wait, and how often to ask.
        listeners: hear every event.
        strategy: decides when to poll, unless ``--interval`` gives seconds; None is the default.
        shards: how many processes share the rate.

    Raises:
        click.UsageError: a value in the environment is wrong.
    """
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as caught:
        try:
            session = TruebitSession(
                connection.base_url,
                api_key=connection.api_key,
                policy=make_policy(budgets, strategy),
                listeners=listeners,
                max_rate=None if budgets.max_rate is None else budgets.max_rate / shards,
                max_concurrency=budgets.max_concurrency or DEFAULT_CONCURRENCY,
            )
        except ValueError as error:  # the options were checked when they were parsed
            message = f"wrong value in the environment: {in_terms_of_the_command(str(error))}"
            raise click.UsageError(message) from None
    for warning in caught:
        print_to_stderr(f"truebit-async: warning: {in_terms_of_the_command(str(warning.message))}")
    return session


def make_policy(budgets: Budgets, strategy: WaitStrategy | None = None) -> PollPolicy:
    """Return the policy of a command.

    Args:
        budgets: how long to wait, and how often to ask.
        strategy: as for `make_session`.
    """
    interval = budgets.interval
    if interval is not None and not isinstance(interval, str):
        strategy = wait_random(interval * (1 - _SPREAD), interval * (1 + _SPREAD))
    chosen: dict[str, Any] = {
        "deadline": budgets.deadline,
        "not_found_grace": budgets.not_found_grace,
        "request_timeout": budgets.request_timeout,
        "max_consecutive_errors": budgets.max_errors,
        "wait": strategy,
    }
    return attrs.evolve(PollPolicy(), **{name: value for name, value in chosen.items() if value is not None})


def tasks_of(session: TruebitSession, kind: TaskKind) -> Tasks[Any, Any]:
    """Return the tasks of a kind."""
    return session.apis if kind is TaskKind.API else session.functions


def logging_to(print_line: Callable[[str], None], *, verbose: bool) -> contextlib.AbstractContextManager[None]:
    """Return a context manager that prints the log of the package if ``--verbose`` was given."""
    return log_to(print_line) if verbose else contextlib.nullcontext()
