"""Traces and metrics for OpenTelemetry: a listener for a session. It needs the extra ``otel``.

Each wait has a span named ``wait for verification``. Its parent is the current span of its caller. It has an event for
each poll, backoff and pause, and it is the parent of the spans that ``opentelemetry-instrumentation-aiohttp-client``
makes for the requests. ``error.type`` follows OpenTelemetry's semantic conventions. There are none for Truebit Verify,
so the other names begin with ``truebit.``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from truebit_async._version import __version__
from truebit_async.errors import TruebitError
from truebit_async.events import (
    BackedOff,
    Dropped,
    Finished,
    Left,
    Paused,
    Polled,
    PollEvent,
    Requested,
    Started,
    Submitted,
)
from truebit_async.models import AnyExecution

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as _missing:
    _msg = "truebit_async.otel needs OpenTelemetry's API: install the extra `otel`"
    raise ModuleNotFoundError(_msg, name=_missing.name) from _missing

__all__ = ["OpenTelemetryListener"]

_DURATIONS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # seconds; a wait takes seconds to minutes

_Attributes = Mapping[str, str | int | float]
_Target = tuple[str, str]  # kind of task, execution ID


class OpenTelemetryListener:
    """Reports a session to OpenTelemetry. Use one for each session.

    Use it as ``TruebitSession(listeners=[OpenTelemetryListener()])``. The metrics:

    - ``truebit.submissions``, a counter of tasks that were submitted, by ``truebit.task.kind``.
    - ``truebit.polls``, a counter of requests that have ended with a result, by ``truebit.task.kind`` and
      ``truebit.execution.status`` or ``error.type``.
    - ``truebit.outcomes``, a counter of waits that have ended, by ``truebit.task.kind`` and
      ``truebit.execution.status`` with ``truebit.execution.succeeded``, or ``error.type``.
    - ``truebit.verification.duration``, a histogram in seconds, by the same attributes.
    - ``truebit.active_waits`` and ``truebit.active_requests``: waits that are pending, requests that are in flight.
    - ``truebit.pause.duration``, a histogram of the pauses that the server asked for, in seconds.

    Args:
        tracer_provider: makes the spans; None takes the global one.
        meter_provider: takes the metrics; None takes the global one.
    """

    def __init__(
        self,
        *,
        tracer_provider: trace.TracerProvider | None = None,
        meter_provider: metrics.MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("truebit_async", __version__, tracer_provider)
        meter = metrics.get_meter("truebit_async", __version__, meter_provider)
        self._submissions = meter.create_counter("truebit.submissions", "{task}", "Tasks that were submitted")
        self._polls = meter.create_counter("truebit.polls", "{poll}", "Requests that have ended")
        self._outcomes = meter.create_counter("truebit.outcomes", "{execution}", "Waits that have ended")
        self._duration = meter.create_histogram(
            "truebit.verification.duration",
            "s",
            "Time from the start of a wait to its end",
            explicit_bucket_boundaries_advisory=_DURATIONS,
        )
        self._pauses = meter.create_histogram("truebit.pause.duration", "s", "Pauses that the server asked for")
        self._active_waits = meter.create_up_down_counter("truebit.active_waits", "{wait}", "Waits that are pending")
        self._active_requests = meter.create_up_down_counter(
            "truebit.active_requests", "{request}", "Requests that are in flight"
        )
        self._spans: defaultdict[_Target, dict[int, trace.Span]] = defaultdict(dict)  # by wait number

    def __call__(self, event: PollEvent) -> None:
        """Take in an event of a session.

        Args:
            event: the event.
        """
        match event:
            case Submitted():
                self._submissions.add(1, {"truebit.task.kind": event.kind})
            case Started():
                self._start(event)
            case Requested():
                self._active_requests.add(1)
            case Polled():
                self._active_requests.add(-1)
                attributes = _attributes_of(event.kind, event.execution, event.error)
                self._polls.add(1, attributes)
                self._add_event(event, "poll", {**attributes, "truebit.poll.duration": event.seconds})
            case Dropped():
                self._active_requests.add(-1)
            case BackedOff():
                self._add_event(event, "backoff", {"truebit.backoff.duration": event.seconds})
            case Paused():
                self._pauses.record(event.seconds)
                self._add_event(event, "pause", {"truebit.pause.duration": event.seconds})
            case Finished():
                self._finish(event)
            case Left():
                self._active_waits.add(-1)
                self._end_span(event, {"truebit.left": True})

    def _start(self, event: Started) -> None:
        self._active_waits.add(1)
        attributes = {"truebit.execution.id": event.execution_id, "truebit.task.kind": event.kind}
        span = self._tracer.start_span("wait for verification", attributes=attributes)
        self._spans[event.kind, event.execution_id][event.wait_number] = span
        context.attach(trace.set_span_in_context(span))  # in the context of the wait, which ends with it

    def _add_event(self, event: PollEvent, name: str, attributes: _Attributes) -> None:
        spans = self._spans.get((event.kind, event.execution_id), {})
        if isinstance(event, BackedOff):  # of one wait; a status request has no span
            if event.wait_number in spans:
                spans[event.wait_number].add_event(name, attributes)
            return
        for span in spans.values():
            span.add_event(name, attributes)

    def _finish(self, event: Finished) -> None:
        outcome = event.outcome
        attributes = _attributes_of(event.kind, outcome.execution, outcome.error)
        self._active_waits.add(-1)
        self._outcomes.add(1, attributes)
        self._duration.record(outcome.elapsed, attributes)
        self._end_span(event, {**attributes, "truebit.polls": outcome.polls}, outcome.error)

    def _end_span(self, event: Finished | Left, attributes: _Attributes, error: TruebitError | None = None) -> None:
        # The span is forgotten first: a span processor may raise when the span ends.
        target = event.kind, event.execution_id
        spans = self._spans[target]
        span = spans.pop(event.wait_number)
        if not spans:
            del self._spans[target]
        span.set_attributes(attributes)
        if error is not None:
            span.set_status(trace.StatusCode.ERROR, str(error))
        span.end()


def _attributes_of(
    kind: str, execution: AnyExecution[object] | None, error: TruebitError | None
) -> dict[str, str | bool]:
    attributes: dict[str, str | bool] = {"truebit.task.kind": kind}
    if execution is None:
        return {**attributes, "error.type": type(error).__name__}
    attributes["truebit.execution.status"] = execution.status.value
    if not execution.is_running:
        attributes["truebit.execution.succeeded"] = execution.succeeded
    return attributes
