"""What a session does with the tasks of one kind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from datetime import datetime
from types import EllipsisType
from typing import Generic, TypeVar

import attrs

from truebit_async._arguments import age_since, check_count
from truebit_async._exchange import Exchange
from truebit_async._protocol.ids import check_execution_id
from truebit_async._protocol.messages import TaskRules
from truebit_async._run_many import TaskBatch, run_many
from truebit_async._scheduler.batch import wait_for_all
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async._scheduler.watch import watch
from truebit_async._submission import MIN_NOT_FOUND_GRACE, Journal, Submission, note_execution
from truebit_async._transport import Transport
from truebit_async.checkpoint import Checkpoint, CheckpointError
from truebit_async.events import PollEvent
from truebit_async.models.common import AnyExecution, Outcome
from truebit_async.policy import PollPolicy, check_policy

__all__ = ["SubmissionTimes", "Tasks"]

SubmissionTimes = datetime | Callable[[str], datetime | None] | None
"""When executions were submitted. A datetime, which needs a time zone, holds for all of them. A function is called with
each execution ID, and returns such a datetime, or None if it is not known."""

TaskT = TypeVar("TaskT")
ExecutionT = TypeVar("ExecutionT", bound=AnyExecution[object])


class Tasks(Generic[TaskT, ExecutionT]):
    """The tasks of one kind, as ``session.functions``. A session makes it.

    Args:
        rules: the rules of this kind of task.
        transport: sends the requests.
        poller: schedules them.
        policy: the budgets of every wait that does not bring its own.
    """

    def __init__(
        self, rules: TaskRules[TaskT, ExecutionT], transport: Transport, poller: Poller, policy: PollPolicy
    ) -> None:
        self._rules = rules
        self._transport = transport
        self._poller = poller
        self._policy = policy
        exchange = Exchange(transport, poller, rules.status_request, rules.read_status)
        self._source = Source(rules.name, exchange.fetch, rules.is_final)

    def __repr__(self) -> str:
        return f"<Tasks of kind {self._rules.name!r}>"

    async def submit(self, task: TaskT) -> str:
        """Submit a task, and return the ID of its execution. It is never submitted twice.

        The request is repeated, as the session's policy says, only if it cannot have arrived (no connection was made)
        or was refused for now (429). Every other failure ends the submission. Its ``may_have_run`` says whether the
        task may run, and be billed, all the same. Cancelling the call after the request was sent leaves a note on the
        `asyncio.CancelledError`.

        Args:
            task: the task.

        Returns:
            The ``executionId``.

        Raises:
            SubmissionUncertainError: the request was sent, and no response came.
            MissingApiKeyError: the session has no API key; no request was sent.
            ApiError: the dispatcher answered with an error, such as `PaymentRequiredError`.
            UnexpectedResponseError: the response is not one that the API documents. The task may run.
            TransportError: no connection was made, ``max_consecutive_errors`` times in a row or until the deadline.
            SessionClosedError: the session is, or was meanwhile, closed.
            TypeError: ``task`` has the wrong type.
            Exception: whatever the wait strategy of the policy raised.
        """
        return await self._submission(task).run(self._policy)

    async def run(
        self,
        task: TaskT,
        *,
        on_submitted: Callable[[str], object] | None = None,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
    ) -> ExecutionT:
        """Submit a task, and wait for the final state of its execution.

        A 404 within 5 seconds of the submission, or within ``not_found_grace`` if that is longer, counts as "not there
        yet". If the call ends with an exception after the
        submission, the exception has a note with the execution ID, or names it.

        Args:
            task: the task.
            on_submitted: a function or a coroutine function that gets the execution ID. It ends before the first poll.
            policy: the budgets of the submission and of the wait; None takes the session's.
            deadline: seconds for both together, in place of the policy's; None waits for ever.

        Returns:
            The execution in its final state, as `wait_for_verification` does.

        Raises:
            TruebitError: see `submit` and `wait_for_verification`.
            TypeError: ``task``, ``policy`` or ``deadline`` has the wrong type.
            ValueError: ``deadline`` is negative, zero, infinite or NaN.
            Exception: whatever ``on_submitted`` or the wait strategy of the policy raised.
        """
        budgets = self._budgets(policy, deadline)
        submission = self._submission(task)
        clock = self._poller.bind().time
        started = clock()
        execution_id = await submission.run(budgets)
        age = started - clock()  # when the budgets began to count: below zero, since it was not submitted yet
        grace = max(budgets.not_found_grace, MIN_NOT_FOUND_GRACE) - age
        try:
            if on_submitted is not None:
                result = on_submitted(execution_id)
                if inspect.isawaitable(result):
                    await result
            outcome: Outcome[ExecutionT] = await self._poller.wait(
                self._source, execution_id, attrs.evolve(budgets, not_found_grace=grace), started, age
            )
        except BaseException as error:
            note_execution(error, execution_id, self._rules.name)
            raise
        return outcome.unwrap()

    def run_many(
        self,
        tasks: Iterable[TaskT] | AsyncIterable[TaskT],
        *,
        checkpoint: Checkpoint[ExecutionT] | None = None,
        max_submissions: int | None = None,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        max_pending: int = 100_000,
    ) -> AsyncGenerator[Outcome[ExecutionT], None]:
        """Submit many tasks, each of them once, and yield one `Outcome` for each as it finishes.

        The ``tag`` of an outcome is that of its task, or else the index of the task in ``tasks``. A submission that
        fails is an outcome like any other, with an empty ``execution_id``. What stops the whole run is raised after the
        outcomes of all tasks that were submitted until then. Leaving the loop cancels the submissions under way, which
        may have arrived.

        With a checkpoint the run can be resumed: call it again with the same tasks. It writes each step of a submission
        before the next step is taken, and each outcome before it is yielded. Resumed, it skips the tasks whose final
        state is in the file, and waits for those that have an execution. Where an earlier run ended between sending
        and response, the outcome is a `SubmissionUncertainError`; the task is not submitted again. Tasks that were
        refused, or never sent, are submitted. A crash of the machine may lose the last lines of the file.

        Args:
            tasks: the tasks, as an iterable or an async iterable; it is read as there is room. A task is known by its
                ``tag``, or else by its index.
            checkpoint: an open checkpoint of this kind of task, made with ``resume=True`` to resume; None keeps
                nothing.
            max_submissions: how many tasks this call may submit. The other tasks get a `SubmissionLimitError`. A task
                that was refused does not count. None sets no limit.
            policy: the budgets of each submission and of each wait; None takes the session's. A 404 counts as in `run`.
            deadline: seconds for each submission, and again for each wait, in place of the policy's; None waits for
                ever.
            max_pending: how many tasks are held at once.

        Raises:
            AuthenticationError: the dispatcher refused the key before any submission or wait had succeeded.
            PaymentRequiredError: likewise; the account has no credit.
            MissingApiKeyError: a task was to be submitted, and the session has no API key.
            CheckpointError: the file cannot be written, holds another kind of task, holds the submission of another
                task with the same tag or index, or is in use by another `run_many`.
            SessionClosedError: the session is, or was meanwhile, closed.
            TypeError: ``tasks`` is not iterable or holds something else than tasks; or another argument has the wrong
                type.
            ValueError: two tasks have the same tag; ``max_submissions`` or ``max_pending`` is below 1; ``deadline`` is
                negative, zero, infinite or NaN.
            Exception: whatever reading ``tasks`` or the wait strategy raised.
        """
        self._poller.check_open()
        check_count("max_pending", max_pending)
        if max_submissions is not None:
            check_count("max_submissions", max_submissions)
        if isinstance(tasks, str | bytes) or not isinstance(tasks, Iterable | AsyncIterable):
            msg = f"tasks must be an iterable of tasks, not {type(tasks).__name__}; for one task use run()"
            raise TypeError(msg)
        if checkpoint is not None:
            self._check_checkpoint(checkpoint)
        batch = TaskBatch(
            self._rules,
            self._submission,
            self._poller,
            self._source,
            self._budgets(policy, deadline),
            max_pending=max_pending,
            max_submissions=max_submissions,
            checkpoint=checkpoint,
        )
        return run_many(batch, tasks)

    async def get_execution_status(self, execution_id: str) -> ExecutionT:
        """Ask once for the state of an execution. A transient failure is tried again as the session's policy says.

        Args:
            execution_id: the ``executionId`` that the execute call returned.

        Returns:
            The execution in whatever state it is, running or final.

        Raises:
            InvalidExecutionIdError: the ID cannot be one; no request was sent.
            ApiError: the dispatcher answered with an error, such as `ExecutionNotFoundError`.
            UnexpectedResponseError: the response is not one that the API documents.
            TransportError: there was no response, ``max_consecutive_errors`` times in a row.
            VerificationTimeoutError: the policy's deadline passed before any of that.
            SessionClosedError: the session is closed.
        """
        check_execution_id(execution_id, self._rules.name)
        return await self._poller.get_state(self._source, execution_id, self._policy)

    async def wait_for_verification(
        self,
        execution_id: str,
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        submitted_at: datetime | None = None,
    ) -> ExecutionT:
        """Poll until the status of an execution is final.

        Any number of waits for one execution share its polls. Cancelling the call stops its polling at once.

        Args:
            execution_id: the ``executionId`` that the execute call returned.
            policy: the budgets of this wait; None takes the session's.
            deadline: seconds for the whole wait, in place of the policy's; None waits for ever.
            submitted_at: when the execution was submitted, with a time zone. Wait strategies get the age of the
                execution by it. None counts the age from now.

        Returns:
            The execution in its final state. It may be Indeterminate or Error, and a Success may hold a run that
            failed: read ``output`` or call ``raise_for_verification()`` to get an exception in these cases.

        Raises:
            VerificationTimeoutError: the deadline passed; the error keeps the last state seen.
            InvalidExecutionIdError: the ID cannot be one; no request was sent.
            ApiError: the dispatcher answered with an error that waiting cannot fix, or kept failing.
            UnexpectedResponseError: a response was not one that the API documents.
            TransportError: there was no response, ``max_consecutive_errors`` times in a row.
            SessionClosedError: the session is, or was meanwhile, closed.
            TypeError: ``policy``, ``deadline`` or ``submitted_at`` has the wrong type.
            ValueError: ``deadline`` is negative, zero, infinite or NaN, or ``submitted_at`` has no time zone.
            Exception: whatever the wait strategy of the policy raised.
        """
        check_execution_id(execution_id, self._rules.name)
        self._poller.check_open(execution_id, self._rules.name)
        outcome: Outcome[ExecutionT] = await self._poller.wait(
            self._source,
            execution_id,
            self._budgets(policy, deadline),
            age=age_since("submitted_at", submitted_at),
        )
        return outcome.unwrap()

    def wait_for_verifications(
        self,
        execution_ids: Iterable[str] | AsyncIterable[str],
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        submitted_at: SubmissionTimes = None,
        max_pending: int = 100_000,
    ) -> AsyncGenerator[Outcome[ExecutionT], None]:
        """Wait for many executions, and yield one `Outcome` for each as it finishes.

        No error of one execution affects another: it is in the outcome of that execution. Only a bug, such as a wait
        strategy that raises, ends them all. An ID adds nothing while it is pending or its outcome was not taken yet.
        Leaving the loop stops the polling of the rest.

        Args:
            execution_ids: the IDs, as an iterable or an async iterable; it is read as there is room.
            policy: the budgets of each wait; None takes the session's.
            deadline: seconds for each wait, from when its ID is read, in place of the policy's; None waits for ever.
            submitted_at: when the executions were submitted, with a time zone; or a function that returns this, or
                None, for an execution ID. Wait strategies get the ages of the executions by it. None counts the age
                of each from when its ID is read.
            max_pending: how many IDs are held at once.

        Raises:
            SessionClosedError: the session is closed.
            TypeError: ``execution_ids`` is a single str, or not iterable; or another argument has the wrong type.
            ValueError: ``max_pending`` is below 1; ``deadline`` is negative, zero, infinite or NaN; or ``submitted_at``
                has no time zone.
            Exception: whatever reading ``execution_ids``, the function ``submitted_at`` or the wait strategy raised,
                after the outcomes that were already there.
        """
        self._poller.check_open()
        check_count("max_pending", max_pending)
        if isinstance(execution_ids, str | bytes) or not isinstance(execution_ids, Iterable | AsyncIterable):
            type_name = type(execution_ids).__name__
            msg = f"execution_ids must be an iterable of IDs, not {type_name}; for one ID use wait_for_verification()"
            raise TypeError(msg)
        budgets = self._budgets(policy, deadline)
        age_of = _age_function(submitted_at)
        return wait_for_all(self._poller, self._source, execution_ids, budgets, max_pending, age_of)

    def watch(
        self,
        execution_id: str,
        *,
        policy: PollPolicy | None = None,
        deadline: float | EllipsisType | None = ...,
        submitted_at: datetime | None = None,
    ) -> AsyncGenerator[PollEvent, None]:
        """Wait for an execution, and yield the events of that wait as they happen. The last one is `Finished`.

        Its ``outcome`` says how the wait ended; an error is there too and is not raised. Leaving the loop leaves the
        wait. Use ``contextlib.aclosing`` to leave it at once when you leave the loop early.

        Args:
            execution_id: the ``executionId`` that the execute call returned.
            policy: the budgets of this wait; None takes the session's.
            deadline: seconds for the whole wait, in place of the policy's; None waits for ever.
            submitted_at: when the execution was submitted: see `wait_for_verification`.

        Raises:
            InvalidExecutionIdError: the ID cannot be one; no request was sent.
            SessionClosedError: the session is closed.
            TypeError: ``policy``, ``deadline`` or ``submitted_at`` has the wrong type.
            ValueError: ``deadline`` is negative, zero, infinite or NaN, or ``submitted_at`` has no time zone.
            Exception: whatever the wait strategy of the policy raised.
        """
        check_execution_id(execution_id, self._rules.name)
        self._poller.check_open(execution_id, self._rules.name)
        age = age_since("submitted_at", submitted_at)
        return watch(self._poller, self._source, execution_id, self._budgets(policy, deadline), age)

    def _check_checkpoint(self, checkpoint: Checkpoint[ExecutionT]) -> None:
        if not isinstance(checkpoint, Checkpoint):
            msg = f"checkpoint must be a Checkpoint, not {type(checkpoint).__name__}"
            raise TypeError(msg)
        if checkpoint.kind != self._rules.name:
            detail = f"it holds executions of kind {checkpoint.kind!r}; name another file for {self._rules.name!r}"
            raise CheckpointError(None, checkpoint.path, detail, kind=self._rules.name)

    def _submission(self, task: TaskT, journal: Journal | None = None) -> Submission:
        if not isinstance(task, self._rules.task_class):
            msg = f"task must be a {self._rules.task_class.__name__}, not {type(task).__name__}"
            raise TypeError(msg)
        return Submission(self._rules, task, self._transport, self._poller, journal)

    def _budgets(self, policy: PollPolicy | None, deadline: float | EllipsisType | None) -> PollPolicy:
        policy = self._policy if policy is None else check_policy(policy)
        return policy if deadline is ... else attrs.evolve(policy, deadline=deadline)


def _age_function(submitted_at: SubmissionTimes) -> Callable[[str], float] | None:
    """Return a function that returns the age of an execution in seconds; None if nothing is known of ages."""
    if submitted_at is None:
        return None
    if callable(submitted_at):
        return lambda execution_id: age_since("what submitted_at returns", submitted_at(execution_id))
    if not isinstance(submitted_at, datetime):
        type_name = type(submitted_at).__name__
        msg = f"submitted_at must be a datetime, or a function of an execution ID, such as times.get, not {type_name}"
        raise TypeError(msg)
    age_since("submitted_at", submitted_at)
    return lambda _: age_since("submitted_at", submitted_at)
