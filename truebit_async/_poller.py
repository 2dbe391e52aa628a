"""The scheduler of a session: the only place that decides *when* to ask for a status.

Theory of operation
    A pending execution is a `Wait` in two heaps, by the time its next poll is due and by its deadline; it is no
    coroutine and no timer of its own. One loop timer is set to the earliest thing to do. When it fires, or a request
    returns, the poller ends the waits whose deadline has passed and serves the due ones, oldest first, while the
    pacer has room. A request in flight is a task; waits for one execution share it (single flight).

    A request runs in a copy of the context of the wait that it is made for, so that context variables, such as the
    span of a trace, are those of its caller. The poller itself runs in an empty one, and so in nobody's.

It asks only for an async ``fetch(execution_id, request_timeout)`` and takes the time from the running loop, so it
runs on virtual time as well.
"""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import itertools
import math
import operator
from collections.abc import Callable, Coroutine, Hashable

from truebit_async._pacing import Pacer
from truebit_async._timetable import Timetable
from truebit_async._wait import OnEnd, PollResult, SingleRequest, Wait
from truebit_async.errors import ApiError, InvalidExecutionIdError, SessionClosedError, TransportError, TruebitError
from truebit_async.events import (
    Announcer,
    BackedOff,
    Dropped,
    Finished,
    Left,
    Paused,
    Polled,
    Requested,
    Started,
)
from truebit_async.models import Execution, Outcome
from truebit_async.policy import PollPolicy

MAX_TICK = 0.005  # seconds between wake-ups at least, with many waits: what is due meanwhile is served together
TICK_PER_WAIT = 5e-6  # seconds; with few waits, each is served on time
MAX_PAUSE = 300.0  # seconds; the longest Retry-After that is honoured

_sequence = itertools.count()

Fetch = Callable[[str, float], Coroutine[object, object, Execution]]
"""One exchange: execution ID and request timeout in seconds → its state; raises a `TruebitError` else."""


class Poller:
    """Polls until there is a verdict.

    Args:
        fetch: makes one exchange.
        pacer: says when the next one may start.
        announcer: is told what happens.
    """

    _loop: asyncio.AbstractEventLoop  # the one it is first used in

    def __init__(self, fetch: Fetch, pacer: Pacer, announcer: Announcer) -> None:
        self._fetch = fetch
        self._pacer = pacer
        self._announcer = announcer
        self._waits: dict[Hashable, Wait | list[Wait]] = {}  # a list costs as much as a wait, and few keys need one
        self._turns = Timetable(operator.attrgetter("due"))
        self._deadlines = Timetable(operator.attrgetter("deadline"))
        self._flights: dict[Hashable, asyncio.Task[Execution]] = {}
        self._tasks: set[asyncio.Task[Execution]] = set()  # the flights, and cancelled ones until they are gone
        self._abandoned: list[asyncio.Task[Execution]] = []  # of those, the ones to be cancelled
        self._timer: asyncio.Handle | None = None
        self._wakes_at = math.inf  # uvloop's handles do not all tell
        self._woke_at = -math.inf
        self._is_closed = False

    async def wait(self, execution_id: str, policy: PollPolicy) -> Outcome:
        """Poll until the wait for an execution is over, and return its outcome."""
        return await self._outcome(execution_id, policy, shared=True)

    def now(self) -> float:
        """Return the time of the loop, in seconds."""
        return self._bind().time()

    async def request(self, execution_id: str, policy: PollPolicy, now: float) -> Execution:
        """Make one exchange within the caps of the session, for this caller alone.

        Args:
            execution_id: a checked execution ID.
            policy: the budgets.
            now: the time of the loop.

        Raises:
            TruebitError: the exchange failed.
            VerificationTimeoutError: the deadline of the policy passed first.
        """
        if self._is_closed:
            raise SessionClosedError(execution_id)
        has_to_queue = self._turns.next_time() <= now or self._pacer.next_start() > now
        if has_to_queue or (policy.deadline is not None and policy.deadline < policy.request_timeout):
            return (await self._outcome(execution_id, policy, shared=False)).unwrap()
        # Otherwise it is made in the task of its caller, which is much cheaper than a task of its own.
        self._begin(execution_id, now)
        try:
            execution = await self._fetch(execution_id, policy.request_timeout)
        except TruebitError as error:
            self._learn(execution_id, error, now)
            raise
        except BaseException:
            self._drop(execution_id, now)
            raise
        else:
            self._learn(execution_id, execution, now)
            return execution
        finally:
            self._pacer.finished()
            if self._waits:
                self._set_timer()

    def start(
        self,
        execution_id: str,
        policy: PollPolicy,
        on_end: OnEnd,
        context: contextvars.Context,
        *,
        shared: bool = True,
    ) -> Wait:
        """Begin a wait; whoever holds it may `discard` it.

        Args:
            execution_id: a checked execution ID.
            policy: the budgets.
            on_end: called once when the wait ends; never after it was discarded.
            context: what its requests are made in, with what a listener sets in a copy of it.
            shared: whether to share the polls of other waits for this execution. What is not shared is a single
                request: its first result ends it.
        """
        now, number = self.now(), next(_sequence)
        if shared and self._announcer.has_audience:
            changed = context.copy()
            changed.run(self._announcer.tell, Started(execution_id, number))
            if not _have_the_same(changed, context):  # else one more for each wait would cost 80 bytes
                context = changed
        kind = Wait if shared else SingleRequest
        wait = kind(execution_id, policy, now, number, on_end, context, due=now)
        peers = self._waits_for(wait.key)
        self._share(wait.key, [*peers, wait])
        if self._is_closed:
            self._end(wait, wait.fail(SessionClosedError(execution_id), now))
            return wait
        self._deadlines.add(wait)
        if peers and (known := peers[0].last_execution or peers[0].last_error):
            self._sleep(wait, known, now)  # what the others learned last is news enough to begin with
        else:
            self._turns.add(wait)
        self._set_timer()
        return wait

    def refuse(self, error: InvalidExecutionIdError) -> Outcome:
        """Return the outcome of an ID that cannot be one, for which no request is made."""
        outcome = Outcome(error.execution_id or "", None, error, 0, 0.0)
        if self._announcer.has_audience:
            number = next(_sequence)
            contextvars.copy_context().run(self._announcer.tell, Started(outcome.execution_id, number))
            self._announcer.tell(Finished(outcome.execution_id, outcome, number))
        return outcome

    def discard(self, wait: Wait) -> None:
        """Forget a wait whose caller has left; its request is cancelled if nobody else waits for it."""
        if not wait.is_over:
            wait.leave()
            self._remove(wait)
            if not wait.is_single_request and self._announcer.has_audience:
                self._announcer.tell(Left(wait.execution_id, wait.sequence))
            self._set_timer()

    async def close(self) -> None:
        """End every wait with `SessionClosedError` and cancel its request. Closing twice is fine.

        Requests in the tasks of callers are the transport's to end.
        """
        self._is_closed = True
        for wait in [wait for key in self._waits for wait in self._waits_for(key)]:
            self._end(wait, wait.fail(SessionClosedError(wait.execution_id), self._loop.time()))
        self._set_timer()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _outcome(self, execution_id: str, policy: PollPolicy, *, shared: bool) -> Outcome:
        future: asyncio.Future[Outcome] = self._bind().create_future()
        context = contextvars.copy_context()
        wait = self.start(execution_id, policy, lambda _, end: _resolve(future, end), context, shared=shared)
        try:
            return await future
        finally:
            self.discard(wait)

    def _bind(self) -> asyncio.AbstractEventLoop:
        loop = asyncio.get_running_loop()
        if not hasattr(self, "_loop"):
            self._loop = loop
        elif self._loop is not loop:
            msg = "this TruebitSession was used in another event loop before; open one session per loop"
            raise RuntimeError(msg)
        return loop

    # What happens when

    def _set_timer(self) -> None:
        wake_at = self._deadlines.next_time()
        if (next_start := self._pacer.next_start()) < wake_at:
            wake_at = min(wake_at, max(next_start, self._turns.next_time()))
        wake_at = max(wake_at, self._woke_at + min(MAX_TICK, TICK_PER_WAIT * len(self._waits)))
        if wake_at == self._wakes_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._wakes_at = wake_at
        self._timer = (
            None if wake_at == math.inf else self._loop.call_at(wake_at, self._wake, context=contextvars.Context())
        )

    def _wake(self) -> None:
        self._timer, self._wakes_at, self._woke_at = None, math.inf, self._loop.time()
        self._advance()

    def _advance(self) -> None:
        """Do what is due now, and set the timer to what is due next."""
        now = self._loop.time()
        while self._deadlines.next_time() <= now:
            wait = self._deadlines.pop()
            self._end(wait, wait.time_out(now))
        while self._pacer.next_start() <= now and self._turns.next_time() <= now:
            wait = self._turns.pop()
            if wait.key not in self._flights:  # else the result of that request is this wait's too
                self._launch(wait, now)
        self._set_timer()

    def _launch(self, wait: Wait, now: float) -> None:
        self._begin(wait.execution_id, now)
        fetch = self._fetch(wait.execution_id, wait.policy.request_timeout)
        task = self._loop.create_task(fetch, context=wait.context.copy())  # what it sets is not for the next
        self._flights[wait.key] = task
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._land, wait, now))

    def _begin(self, execution_id: str, now: float) -> None:
        self._pacer.started(now)
        if self._announcer.has_audience:
            self._announcer.tell(Requested(execution_id))

    # What a request brings

    def _land(self, wait: Wait, started: float, task: asyncio.Task[Execution]) -> None:
        self._tasks.discard(task)
        self._pacer.finished()
        if self._flights.get(wait.key) is task:
            del self._flights[wait.key]
            self._deliver(self._waits_for(wait.key), started, task)
        else:
            self._drop(wait.execution_id, started)
        self._advance()

    def _deliver(self, waits: list[Wait], started: float, task: asyncio.Task[Execution]) -> None:
        now = self._loop.time()
        execution_id = waits[0].execution_id
        result: PollResult
        try:
            result = task.result()
        except TruebitError as error:
            result = error
        except asyncio.CancelledError:  # by somebody else: a request we cancel has nobody waiting for it
            result = TransportError(execution_id, "the request was cancelled from outside")
        except Exception as error:  # noqa: BLE001  # a bug: it belongs to whoever waits, not to the loop
            self._drop(execution_id, started)
            for wait in waits:
                self._end(wait, error)
            return
        self._learn(execution_id, result, started)
        results = [result, *(_twin(result) for _ in waits[1:])]
        for wait, own_result in zip(waits, results, strict=True):
            self._observe(wait, own_result, now)

    def _learn(self, execution_id: str, result: PollResult, started: float) -> None:
        """Tell of the result of an exchange, and heed the pause it may ask for."""
        if self._announcer.has_audience:
            execution, error = (result, None) if isinstance(result, Execution) else (None, result)
            self._announcer.tell(Polled(execution_id, self._loop.time() - started, execution, error))
        if isinstance(result, ApiError) and result.status in {429, 503} and result.retry_after:
            seconds = min(result.retry_after, MAX_PAUSE)
            self._pacer.pause(self._loop.time() + seconds)
            self._announcer.tell(Paused(execution_id, seconds, result))

    def _drop(self, execution_id: str, started: float) -> None:
        if self._announcer.has_audience:
            self._announcer.tell(Dropped(execution_id, self._loop.time() - started))

    def _observe(self, wait: Wait, result: PollResult, now: float) -> None:
        outcome = wait.observe(result, now)
        if outcome is None:
            self._sleep(wait, result, now)
        else:
            self._end(wait, outcome)

    def _sleep(self, wait: Wait, result: PollResult, now: float) -> None:
        try:
            seconds = wait.sleep_after(result, now)
        except Exception as error:  # noqa: BLE001  # the user's strategy is broken: tell the user, not the loop
            self._end(wait, error)
            return
        self._turns.add(wait)
        if self._announcer.has_audience:
            self._announcer.tell(BackedOff(wait.execution_id, seconds, wait.polls, wait.sequence))

    # How a wait ends

    def _end(self, wait: Wait, end: Outcome | Exception) -> None:
        on_end = wait.leave()
        self._remove(wait)
        if not wait.is_single_request and self._announcer.has_audience:
            if isinstance(end, Outcome):
                self._announcer.tell(Finished(wait.execution_id, end, wait.sequence))
            else:
                self._announcer.tell(Left(wait.execution_id, wait.sequence))
        on_end(wait, end)

    def _remove(self, wait: Wait) -> None:
        others = [other for other in self._waits_for(wait.key) if other is not wait]
        if others:
            self._share(wait.key, others)
            return
        del self._waits[wait.key]
        if flight := self._flights.pop(wait.key, None):
            # Soon and not now: where many deadlines pass together, their callers come first, the clearing up second.
            if not self._abandoned:
                self._loop.call_soon(self._cancel_abandoned)
            self._abandoned.append(flight)

    def _waits_for(self, key: Hashable) -> list[Wait]:
        found = self._waits.get(key)
        if isinstance(found, Wait):
            return [found]
        return found or []

    def _share(self, key: Hashable, waits: list[Wait]) -> None:
        self._waits[key] = waits[0] if len(waits) == 1 else waits

    def _cancel_abandoned(self) -> None:
        for flight in self._abandoned:
            flight.cancel()
        self._abandoned.clear()


def _have_the_same(copied: contextvars.Context, original: contextvars.Context) -> bool:
    # By identity: `==` would ask values of the user's whether they are equal, and some of those raise.
    return all(original.get(variable, copied) is value for variable, value in copied.items())


def _resolve(future: asyncio.Future[Outcome], end: Outcome | Exception) -> None:
    if future.done():  # its caller was cancelled a moment ago
        return
    if isinstance(end, Outcome):
        future.set_result(end)
    else:
        future.set_exception(end)


def _twin(result: PollResult) -> PollResult:
    """Return an error of its own for each further wait, so that no two callers raise and annotate the same one."""
    if isinstance(result, Execution):
        return result
    twin = copy.copy(result)
    twin.__cause__ = result.__cause__
    return twin
