"""The scheduler of a session: the only place that decides *when* to ask.

Theory of operation
    A pending wait is a `Waiter`: it has no coroutine and no timer of its own. A sleeping waiter has an entry in the due
    times, and its group has one in the deadlines if it has a deadline. One loop timer is set to the earliest thing to
    do. When it fires, or a request gives back a slot that others lacked, the poller takes a step: it ends the waiters
    whose deadline has passed, hands out results, and makes requests for the waiters that are due, the longest due
    first, while the pacer has room.

    `get_execution_status` makes its first request in the task of its caller if a slot is free for it after such a step.
    Otherwise, and after a transient failure, it is a waiter as well.

    A step does a bounded amount of work, and leaves the rest to the next iteration of the loop, so that callers wake up
    in between and no other task of the loop is held up. A strategy that learns is told of results and ends, and may
    then decide again for waiters that sleep.

    Waiters for the same target share its requests. A waiter that is due takes the latest result of the others if that
    is newer than what it knows; otherwise it asks. So the target is asked as often as its most impatient waiter wants,
    and each waiter counts results and failures at its own pace. A final result ends all of them at once.

    A request runs in a copy of the context of the waiter that it is made for, so that context variables, such as the
    span of a trace, are those of its caller. The timer and the ends of requests run in an empty context.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections import deque
from collections.abc import Coroutine
from typing import Any, cast

import attrs

from truebit_async._scheduler.observers import Observers
from truebit_async._scheduler.pacer import Pacer
from truebit_async._scheduler.registry import Registry, SharedTarget
from truebit_async._scheduler.requests import Requests
from truebit_async._scheduler.results import Deliveries, is_bug, met_stale_connection, own_copy, without_frames
from truebit_async._scheduler.source import ResultT, Source, Target
from truebit_async._scheduler.timetable import Deadlines, DueTimes
from truebit_async._scheduler.waiter import Phase, Waiter, WaiterGroup, resolving
from truebit_async._timer import Timer, loop_time
from truebit_async.errors import SessionClosedError, TruebitError
from truebit_async.events import BackedOff, Emitter, Finished, Left, Started
from truebit_async.models import Outcome
from truebit_async.policy import PollPolicy

# Wake-ups are at least this far apart, so that waiters that become due in between are served together.
GAP_PER_WAITER = 5e-6  # seconds for each pending waiter; with few waiters, each is served on time
MAX_GAP = 0.005  # seconds; reached at 1,000 waiters
WAITERS_PER_STEP = 100  # each takes some 20 µs, and about as much again when its caller wakes up


class Poller:
    """Polls targets until their waiters have what they wait for.

    Args:
        pacer: says when the next request may start.
        emitter: is told what happens.

    Attributes:
        is_closed: whether no more waits can begin.
        emitter: is told what happens.
        max_concurrency: requests in flight at once.
    """

    def __init__(self, pacer: Pacer, emitter: Emitter) -> None:
        self.is_closed: bool = False
        self.max_concurrency: int = pacer.max_concurrency
        self._pacer = pacer
        self.emitter: Emitter = emitter
        self._emit = emitter.emit
        self._loop: asyncio.AbstractEventLoop | None = None  # the one it is first used in
        self._registry = Registry()
        self._due = DueTimes()
        self._observers = Observers(self._registry, self._due, self._end)
        self._deadlines = Deadlines()
        self._requests = Requests(pacer, emitter, self._receive, self._continue)
        self._deliveries = Deliveries()
        self._timer = Timer(self._wake)
        self._woke_at = -math.inf
        self._lacks_slot = False  # whether every slot was taken when the timer was last set

    # What callers ask for

    async def wait(
        self, source: Source[Any], execution_id: str, policy: PollPolicy, started: float | None = None, age: float = 0.0
    ) -> Outcome[Any]:
        """Poll until the wait for an execution is over, and return its outcome.

        The budgets count from ``started``, in seconds of the loop's clock; None is now. The execution was ``age``
        seconds old then; below zero if it was submitted later.
        """
        future = self.bind().create_future()
        group = WaiterGroup(source, policy, resolving(future))
        waiter = Waiter(group, execution_id, loop_time() if started is None else started, age)
        self.start(waiter)
        return await self._outcome_of(waiter, future)

    def get_state(
        self, source: Source[ResultT], execution_id: str, policy: PollPolicy
    ) -> Coroutine[object, object, ResultT]:
        """Get a state, final or not, for this caller alone. After a transient failure, ask again."""
        now = self.bind().time()
        self.check_open(execution_id, source.kind)
        if self._due.next_time() <= now < self._timer.time:
            contextvars.Context().run(self._step)  # who is due goes first, and need not wait for the timer
        may_start = self._pacer.next_start() <= now < self._timer.time
        if may_start and (policy.deadline is None or policy.deadline >= policy.request_timeout):
            # The request timeout ends before the deadline, so it keeps both. This function is not async, so that no
            # coroutine is between the caller and the request.
            return self._ask_inline(source, execution_id, policy, now)
        return self._ask_queued(source, execution_id, policy, now)

    async def _ask_inline(
        self, source: Source[ResultT], execution_id: str, policy: PollPolicy, started: float
    ) -> ResultT:
        """Make a request in the task of the caller, which is much cheaper than a task of its own."""
        try:
            self._requests.begin(source, execution_id, started)
            result = await source.fetch(execution_id, policy.request_timeout, on_new_connection=False)
        except BaseException as error:
            self._requests.tell(source, execution_id, started, loop_time(), error)
            if self.is_closed or not isinstance(error, TruebitError) or not error.is_transient:
                raise
            failure = without_frames(error)
        else:
            self._requests.tell(source, execution_id, started, loop_time(), result)
            return result
        finally:
            self._pacer.finished()
            if self._registry.size:
                contextvars.Context().run(self._continue)
        return await self._ask_queued(source, execution_id, policy, started, failure)

    async def _ask_queued(
        self,
        source: Source[ResultT],
        execution_id: str,
        policy: PollPolicy,
        started: float,
        failure: TruebitError | None = None,
    ) -> ResultT:
        """Ask when it is this caller's turn, or after the failure of its first request."""
        # The source is a new one, so that no request is shared: an older request could bring an older state.
        source = attrs.evolve(source, is_final=lambda _: True)  # any state ends it
        future = self.bind().create_future()
        group = WaiterGroup(source, policy.without_tolerance(), resolving(future), is_wait=False)
        waiter = Waiter(group, execution_id, started)
        self._add(waiter)
        if failure is None:
            self._sleep_until(started, waiter)
        else:
            self._receive(waiter.target, failure, started, loop_time())
        self._set_timer()
        return cast("ResultT", (await self._outcome_of(waiter, future)).unwrap())

    def start(self, waiter: Waiter[Any]) -> None:
        """Begin a wait. Its caller may `discard` the waiter."""
        now, group = self.bind().time(), waiter.group
        context = group.context.copy()  # a listener may set context variables, such as the span of a trace
        context.run(self._emit, Started, waiter.execution_id, waiter.kind, waiter.number)
        group.set_context(waiter, context)
        self._add(waiter)
        if self.is_closed:
            self._end_closed(waiter)
            return
        found = self._registry.get(waiter.target)
        if isinstance(found, SharedTarget) and found.latest is not None:
            self._join(waiter, own_copy(found.latest), found.latest_at, now)
        else:
            self._sleep_until(now, waiter)
        self._set_timer()

    def has_waiter(self, group: WaiterGroup[Any], execution_id: str) -> bool:
        """Return whether a waiter of a group waits for an execution."""
        return any(waiter.group is group for waiter in self._registry.waiters_of((group.source, execution_id)))

    def discard(self, waiter: Waiter[Any]) -> None:
        """Forget a waiter whose caller has left. Its request is cancelled if nobody else waits for the target."""
        if waiter.phase is not Phase.OVER:
            self._remove(waiter, None)
            if waiter.group.is_wait:
                self._emit(Left, waiter.execution_id, waiter.kind, waiter.number)
            self._set_timer()

    async def discard_all(self, group: WaiterGroup[Any]) -> None:
        """Forget all waiters of a group whose caller has left: in steps, or at once if cancelled."""
        group.is_abandoned = True
        discarded = 0
        try:
            while group.first is not None:
                self.discard(group.first)
                discarded += 1
                if discarded % WAITERS_PER_STEP == 0:
                    await asyncio.sleep(0)
        finally:
            while group.first is not None:
                self.discard(group.first)

    async def close(self) -> None:
        """End every wait and cancel its request. Requests in the tasks of callers are the transport's to end."""
        self.bind()
        self.is_closed = True
        waiters = deque(self._registry)
        try:
            while waiters:
                self._end_closed(waiters.popleft())
                if len(waiters) % WAITERS_PER_STEP == 0:
                    await asyncio.sleep(0)
        finally:  # the rest, if this is cancelled meanwhile
            while waiters:
                self._end_closed(waiters.popleft())
            self._set_timer()
        await self._requests.wait_closed()

    def check_open(self, execution_id: str | None = None, kind: str | None = None) -> None:
        """Raise `SessionClosedError` if no more waits can begin."""
        if self.is_closed:
            raise SessionClosedError(execution_id, kind=kind)

    def bind(self) -> asyncio.AbstractEventLoop:
        """Bind this poller to the running loop, and return the loop.

        Raises:
            RuntimeError: it is not the loop that this poller was first used in.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            msg = "this TruebitSession belongs to the event loop it was first used in; open one session per loop"
            raise RuntimeError(msg)
        self._loop = loop
        return loop

    # The timer and the step

    def _set_timer(self) -> None:
        gap = min(MAX_GAP, GAP_PER_WAITER * self._registry.size)
        next_start = self._pacer.next_start()
        self._lacks_slot = next_start == math.inf
        next_poll = max(next_start, self._due.next_time(), self._woke_at + gap)
        has_work = self._deliveries or self._observers.has_work
        self._timer.set(-math.inf if has_work else min(self._deadlines.next_time(), next_poll))

    def _wake(self) -> None:
        self._woke_at = loop_time()
        self._step()

    def _continue(self) -> None:
        """Go on after a request has ended: at once if others may have waited for its slot, unless a step is next."""
        if self._lacks_slot and self._timer.time > loop_time():
            self._step()
        else:
            self._set_timer()

    def _step(self) -> None:
        """Do what is to be done now, up to a bound, and set the timer to what is next."""
        now = loop_time()
        work = 0
        try:
            while work < WAITERS_PER_STEP and (waiter := self._deadlines.next_passed(now)) is not None:
                work += 1
                self._end(waiter, waiter.time_out(now))
            while work < WAITERS_PER_STEP and self._deliveries:
                work += 1
                self._deliver_next(now)
            work += self._observers.work(now, (WAITERS_PER_STEP - work) // 2)
            while (
                work < WAITERS_PER_STEP
                and self._pacer.next_start() <= now
                and (waiter := self._due.pop_due(now)) is not None
            ):
                work += 1
                self._ask(waiter, now)
        finally:  # whatever happens to one waiter, the deadlines of the others hold
            self._set_timer() if work < WAITERS_PER_STEP else self._timer.set(now)

    def _ask(self, waiter: Waiter[Any], now: float) -> None:
        """Get a result for a waiter that is due: from others, from a request in flight, or from a new request."""
        waiter.phase = Phase.ASKING
        target = waiter.target
        found = self._registry.get(target)
        if isinstance(found, SharedTarget) and waiter.can_take(found.latest, found.latest_at, now):
            self._take(waiter, own_copy(found.latest), found.latest_at, now)
            return
        if target in self._requests or waiter.group.is_abandoned:
            return
        timeout = (found if isinstance(found, SharedTarget) else waiter).request_timeout
        try:
            self._requests.start(target, timeout, waiter.context, now)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  # tell its caller; the others go on
            self._end(waiter, error if isinstance(error, Exception) else RuntimeError("the request was not made"))

    # What a result means for the waiters of its target

    def _receive(self, target: Target, result: object, started: float, now: float) -> None:
        """Hand a result to the waiter of its target; to several waiters, in steps."""
        found = self._registry.get(target)
        if met_stale_connection(result):
            self._requests.use_new_connection_next(target)
        elif isinstance(found, SharedTarget) and not is_bug(result):
            found.latest, found.latest_at = result, now
        if isinstance(found, SharedTarget):
            self._deliveries.add(found.waiters, result, started, now)
        elif found is not None:
            self._deliver(found, result, started, now, now)

    def _deliver_next(self, now: float) -> None:
        waiter, delivery = self._deliveries.pop()
        if waiter.phase is Phase.ASKING and waiter.was_cut_short(delivery.result):
            self._sleep_until(now, waiter)  # ask again at once; it does not count
        else:
            self._deliver(waiter, own_copy(delivery.result), delivery.started, delivery.arrived, now)

    def _deliver(self, waiter: Waiter[Any], result: Any, started: float, arrived: float, now: float) -> None:
        if waiter.phase is Phase.ASLEEP:
            if not is_bug(result) and waiter.is_ended_by(result, now):
                self._take(waiter, result, arrived, now)
        elif waiter.phase is Phase.OVER:
            return
        elif is_bug(result):
            self._end(waiter, result)
        elif met_stale_connection(result):
            self._sleep_until(now, waiter)
        else:
            waiter.slowest = max(waiter.slowest, arrived - started)
            self._take(waiter, result, arrived, now)

    def _take(self, waiter: Waiter[Any], result: object, seen_at: float, now: float) -> None:
        end: Outcome[Any] | Exception | None
        try:
            end = waiter.take(result, now, seen_at)
            if end is None:
                if waiter.group.observe is not None and not isinstance(result, TruebitError):
                    self._observers.tell_pending(waiter)
                self._back_off(waiter.sleep_after(result, now), waiter, now)
                return
        except Exception as error:  # noqa: BLE001  # the user's wait strategy is broken: tell its caller, not the loop
            end = error
        self._end(waiter, end)

    def _join(self, waiter: Waiter[Any], latest: object, latest_at: float, now: float) -> None:
        try:
            seconds = waiter.join(latest, latest_at, now)
        except Exception as error:  # noqa: BLE001  # the user's wait strategy is broken
            self._end(waiter, error)
            return
        if seconds > 0:
            self._back_off(seconds, waiter, now)
        else:
            self._sleep_until(now, waiter)

    def _back_off(self, seconds: float, waiter: Waiter[Any], now: float) -> None:
        self._sleep_until(now + seconds, waiter)
        if waiter.group.source.has_events:
            self._emit(BackedOff, waiter.execution_id, waiter.kind, seconds, waiter.polls, waiter.wait_number)

    def _sleep_until(self, due: float, waiter: Waiter[Any]) -> None:
        waiter.phase = Phase.ASLEEP
        self._due.add(waiter, due)

    # How a wait begins and ends

    def _add(self, waiter: Waiter[Any]) -> None:
        self._registry.add(waiter)
        self._deadlines.add(waiter)

    async def _outcome_of(self, waiter: Waiter[Any], future: asyncio.Future[Outcome[Any]]) -> Outcome[Any]:
        try:
            return await future
        finally:
            self.discard(waiter)

    def _end(self, waiter: Waiter[Any], end: Outcome[Any] | BaseException) -> None:
        self._remove(waiter, end)
        if waiter.group.is_wait:
            if isinstance(end, Outcome):
                self._emit(Finished, waiter.execution_id, waiter.kind, end, waiter.number)
            else:
                self._emit(Left, waiter.execution_id, waiter.kind, waiter.number)
        waiter.group.on_end(waiter, end)

    def _end_closed(self, waiter: Waiter[Any]) -> None:
        if waiter.phase is not Phase.OVER:
            self._end(waiter, waiter.end_with(SessionClosedError(waiter.execution_id, kind=waiter.kind), loop_time()))

    def _remove(self, waiter: Waiter[Any], end: Outcome[Any] | BaseException | None) -> None:
        if waiter.group.observe is not None:
            self._observers.tell_end(waiter, end, loop_time())
        was_asleep = waiter.phase is Phase.ASLEEP
        self._deadlines.remove(waiter)  # first: Ctrl-C may interrupt this, and `discard_all` goes on
        waiter.phase = Phase.OVER
        if was_asleep:
            self._due.note_stale(waiter)
        if self._registry.remove(waiter):
            self._requests.cancel(waiter.target)
