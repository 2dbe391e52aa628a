"""The session of a command, made from its options."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import attrs

from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.log import log_to
from truebit_async.cli.options import TaskKind
from truebit_async.cli.output import print_to_stderr
from truebit_async.cli.runner import ExitStatus
from truebit_async.events import Listener
from truebit_async.policy import PollPolicy
from truebit_async.session import TruebitSession
from truebit_async.tasks import Tasks


def make_session(base_url: str | None, api_key: str | None, policy: PollPolicy, *listeners: Listener) -> TruebitSession:
    """Return a session, or exit if a value in the environment is wrong."""
    with warnings.catch_warnings(record=True, action="always", category=UserWarning) as caught:
        try:
            session = TruebitSession(base_url, api_key=api_key, policy=policy, listeners=listeners)
        except ValueError as error:  # the options were checked when they were parsed
            ExitStatus(ExitCode.USAGE, f"wrong value in the environment: {error}").exit()
    for warning in caught:
        print_to_stderr(f"truebit-async: warning: {warning.message}")
    return session


def make_policy(deadline: float | None = None, not_found_grace: float | None = None) -> PollPolicy:
    """Return the budgets of a command.

    Args:
        deadline: the ``--deadline`` in seconds; None takes the default.
        not_found_grace: the ``--not-found-grace`` in seconds; None is zero.
    """
    policy = PollPolicy()
    return attrs.evolve(policy, deadline=deadline or policy.deadline, not_found_grace=not_found_grace or 0.0)


def tasks_of(session: TruebitSession, kind: TaskKind) -> Tasks[Any, Any]:
    """Return the tasks of a kind."""
    return session.apis if kind is TaskKind.API else session.functions


def logging_to(print_line: Callable[[str], None], *, verbose: bool) -> contextlib.AbstractContextManager[None]:
    """Return a context manager that prints the log of the package if ``--verbose`` was given."""
    return log_to(print_line) if verbose else contextlib.nullcontext()
