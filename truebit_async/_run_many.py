"""Many tasks, each of which is submitted once, as one stream of outcomes."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from types import TracebackType
from typing import Any, Generic, TypeVar

import attrs

from truebit_async._checkpoint_errors import CheckpointError
from truebit_async._protocol.messages import TaskRules
from truebit_async._scheduler.batch import Batch, read_in_steps
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async._scheduler.waiter import Waiter
from truebit_async._submission import MIN_NOT_FOUND_GRACE, Journal, Submission
from truebit_async.checkpoint import Checkpoint, RecordedSubmission, SubmissionState
from truebit_async.errors import (
    AuthenticationError,
    MissingApiKeyError,
    PaymentRequiredError,
    SessionClosedError,
    SubmissionLimitError,
    SubmissionUncertainError,
    TruebitError,
)
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy

TaskT = TypeVar("TaskT")

Tag = str | int
MakeSubmission = Callable[[Any, Journal | None], Submission]

_DIGEST_LENGTH = 32  # hexadecimal digits: 128 bits, so that no two requests have the same by chance
_MISMATCH_HINT = "resume with the same tasks in the same order or with the same tags, or name another file"


async def run_many(
    batch: TaskBatch[TaskT], tasks: Iterable[TaskT] | AsyncIterable[TaskT]
) -> AsyncGenerator[Outcome[Any], None]:
    """Submit tasks, and yield one outcome for each, in order of completion.

    Args:
        batch: submits them and waits.
        tasks: the tasks, read as there is room for them.

    Raises:
        Exception: see `Tasks.run_many`.
    """
    with contextlib.nullcontext() if batch.checkpoint is None else batch.checkpoint.reserved():
        async with batch.fed_by(batch.submit_all(tasks)) as next_outcome:
            while (outcome := await next_outcome()) is not None:
                batch.record(outcome)
                yield outcome


class TaskBatch(Batch[Any], Generic[TaskT]):
    """Submits tasks, and waits for their executions.

    The first error that concerns more than one task stops the reading of tasks. What was submitted until then is waited
    for, since it is paid for. Then the error is raised.

    Args:
        rules: the rules of this kind of task.
        make_submission: makes the submission of a task.
        poller: does the polling.
        source: fetches the states of executions.
        policy: the budgets of each submission, and again of each wait.
        max_pending: how many tasks are held at once.
        max_submissions: how many tasks may be submitted; None sets no limit.
        checkpoint: what was submitted before, and where to write what is submitted now.
    """

    def __init__(
        self,
        rules: TaskRules[TaskT, Any],
        make_submission: MakeSubmission,
        poller: Poller,
        source: Source[Any],
        policy: PollPolicy,
        *,
        max_pending: int,
        max_submissions: int | None,
        checkpoint: Checkpoint[Any] | None,
    ) -> None:
        grace = max(policy.not_found_grace, MIN_NOT_FOUND_GRACE)
        super().__init__(poller, source, attrs.evolve(policy, not_found_grace=grace), max_pending)
        self.checkpoint = checkpoint
        self._rules = rules
        self._make_submission = make_submission
        self._policy = policy
        self._limit = _SubmissionLimit(max_submissions, rules.name)
        self._tags: dict[Waiter[Any], Tag] = {}
        self._given_tags: set[str] = set()
        self._has_succeeded = False
        self._is_account_refused = False
        self._error: Exception | None = None
        self._reading: asyncio.Timeout | None = None  # expires when reading is to end

    async def submit_all(self, tasks: Iterable[TaskT] | AsyncIterable[TaskT]) -> None:
        """Submit each task, and begin the wait for its execution.

        Raises:
            Exception: the error that has stopped the reading of tasks, after all outcomes were taken.
        """
        async with asyncio.TaskGroup() as group:
            try:
                async with asyncio.timeout(None) as self._reading:
                    await self._read(tasks, group)
            except Exception as error:  # noqa: BLE001  # it is raised below; a TimeoutError after `_stop` does not count
                self._reading = None
                self._stop(error)
            self._reading = None
        while self._pending:
            await self._wait_until_taken()
        self._raise_error()

    async def _read(self, tasks: Iterable[TaskT] | AsyncIterable[TaskT], group: asyncio.TaskGroup) -> None:
        slots = asyncio.Semaphore(self._poller.max_concurrency)
        index = 0
        async with aclosing(read_in_steps(tasks)) as items:
            async for task in items:
                self._check_whether_left()
                self._raise_error()  # an iterable can lose the cancellation of `_stop` too
                tag = self._tag_of(task, index)
                index += 1
                if self._needs_submission(task, tag):
                    await slots.acquire()
                    self._pending += 1
                    group.create_task(self._submit(task, tag, slots))
                await self._wait_for_room()

    def _tag_of(self, task: TaskT, index: int) -> Tag:
        if not isinstance(task, self._rules.task_class):
            expected = self._rules.task_class.__name__
            msg = f"tasks must be of class {expected}; the one at index {index} is a {type(task).__name__}"
            raise TypeError(msg)
        tag: str | None = getattr(task, "tag", None)
        if tag is None:
            return index
        if tag in self._given_tags:
            msg = f"two tasks have the tag {tag!r}; the second is at index {index}"
            raise ValueError(msg)
        self._given_tags.add(tag)
        return tag

    def _needs_submission(self, task: TaskT, tag: Tag) -> bool:
        """Return whether a task is to be submitted. Otherwise, wait for its execution if that is not final yet.

        Raises:
            CheckpointError: the checkpoint knows another task by this tag.
        """
        recorded = None if self.checkpoint is None else self.checkpoint.submissions.get(tag)
        if self.checkpoint is None or recorded is None:
            return True
        if recorded.digest != self._digest_of(task):
            detail = f"it holds the submission of another task with the tag {tag!r}; {_MISMATCH_HINT}"
            raise CheckpointError(None, self.checkpoint.path, detail, kind=self._rules.name)
        if recorded.state is SubmissionState.REFUSED:
            return True
        if recorded.state is SubmissionState.SENT:
            detail = "the response was not seen in an earlier run"
            error = SubmissionUncertainError(None, detail, kind=self._rules.name, may_have_run=True)
            self._finish(self._failure(error, 0.0, tag))
        elif recorded.execution_id not in self.checkpoint.final:
            self._wait(recorded.execution_id, tag)
        return False

    async def _submit(self, task: TaskT, tag: Tag, slots: asyncio.Semaphore) -> None:
        clock = asyncio.get_running_loop().time
        started = clock()
        try:
            submission = self._make_submission(task, self._journal(task, tag))
            async with self._limit:
                if self._is_account_refused:
                    self._limit.give_back()
                    return
                execution_id = await submission.run(self._policy)
            self._has_succeeded = True
            self._wait(execution_id, tag)
        except asyncio.CancelledError:
            if submission.execution_id is not None:
                self._wait(submission.execution_id, tag)
            else:
                self._finish(self._failure(submission.cancelled(), clock() - started, tag))
            raise
        except CheckpointError as error:
            self._stop(error)
        except TruebitError as error:
            if isinstance(error, MissingApiKeyError | SessionClosedError):
                self._stop(error)
            self._stop_if_account_refused(error)
            self._finish(self._failure(error, clock() - started, tag))
        except Exception as error:  # noqa: BLE001  # a bug, such as in the wait strategy
            self._stop(error)
        finally:
            self._pending -= 1
            slots.release()

    def record(self, outcome: Outcome[Any]) -> None:
        """Write an outcome to the checkpoint. If that fails, no more tasks are read."""
        if self.checkpoint is not None:
            try:
                self.checkpoint.write(outcome)
            except CheckpointError as error:
                self._stop(error)

    def _journal(self, task: TaskT, tag: Tag) -> Journal | None:
        if self.checkpoint is None:
            return None
        return _Journal(
            self.checkpoint, RecordedSubmission(tag, self._digest_of(task), SubmissionState.SENT), self._stop
        )

    def _wait(self, execution_id: str, tag: Tag) -> None:
        waiter = self._make_waiter(execution_id)
        self._tags[waiter] = tag
        self._start(waiter)

    def _end(self, waiter: Waiter[Any], outcome: Outcome[Any]) -> None:
        self._has_succeeded |= outcome.execution is not None
        self._stop_if_account_refused(outcome.error)
        if isinstance(outcome.error, SessionClosedError):
            self._stop(outcome.error)
        self._finish(attrs.evolve(outcome, tag=self._tags.pop(waiter)))

    def _failure(self, error: TruebitError, elapsed: float, tag: Tag) -> Outcome[Any]:
        error.add_note(f"It is about the task with the tag or index {tag!r}.")
        return Outcome("", None, error, 0, elapsed, self._rules.name, tag)

    def _stop_if_account_refused(self, error: TruebitError | None) -> None:
        if isinstance(error, AuthenticationError | PaymentRequiredError) and not self._has_succeeded:
            self._is_account_refused = True
            self._stop(error)

    def _stop(self, error: Exception) -> None:
        """Read no more tasks. The first error counts."""
        if self._error is None:
            self._error = error
            if self._reading is not None:
                self._reading.reschedule(-math.inf)  # the next task may be long in coming

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _digest_of(self, task: TaskT) -> str:
        request = self._rules.submit_request(task, 0.0)  # at a fixed time, so that it is the same in each run
        return hashlib.sha256(request.path.encode() + b"\n" + (request.body or b"")).hexdigest()[:_DIGEST_LENGTH]


class _SubmissionLimit:
    """Limits how many tasks are submitted. A task that does not run in the end does not count.

    Used as a context manager around each submission. Entering it waits while only submissions under way reach the
    limit, since one of them may be refused.

    Args:
        maximum: the limit; None sets none.
        kind: the kind of task, for errors.
    """

    def __init__(self, maximum: int | None, kind: str) -> None:
        self._maximum = math.inf if maximum is None else maximum
        self._kind = kind
        self._spent = 0  # of those that may run, with those under way
        self._under_way = 0
        self._changed = asyncio.Event()

    async def __aenter__(self) -> None:
        while self._spent >= self._maximum:
            if not self._under_way:
                raise SubmissionLimitError(None, kind=self._kind)
            self._changed.clear()
            await self._changed.wait()
        self._spent += 1
        self._under_way += 1

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._under_way -= 1
        if isinstance(exc, TruebitError) and not exc.may_have_run:
            self.give_back()
        self._changed.set()

    def give_back(self) -> None:
        """Take back the count of the submission that was entered: it does not run."""
        self._spent -= 1


class _Journal:
    """Writes what becomes known of a submission to a checkpoint.

    Args:
        checkpoint: where to write.
        submission: the submission, in the state `SENT`.
        on_failure: is told if the response to the submission cannot be written. The batch goes on with what it says.
    """

    def __init__(
        self,
        checkpoint: Checkpoint[Any],
        submission: RecordedSubmission,
        on_failure: Callable[[CheckpointError], None],
    ) -> None:
        self._checkpoint = checkpoint
        self._submission = submission
        self._on_failure = on_failure

    def sent(self) -> None:
        self._checkpoint.write_submission(self._submission)

    def accepted(self, execution_id: str) -> None:
        self._write(SubmissionState.ACCEPTED, execution_id)

    def refused(self) -> None:
        self._write(SubmissionState.REFUSED)

    def _write(self, state: SubmissionState, execution_id: str = "") -> None:
        submission = attrs.evolve(self._submission, state=state, execution_id=execution_id)
        try:
            self._checkpoint.write_submission(submission)
        except CheckpointError as error:
            self._on_failure(error)
