"""Traces and metrics for OpenTelemetry: a listener for a session. It needs the extra ``otel``.

One span per wait, named ``wait for verification``, is a child of whatever span its caller is in, has an event for each
poll, back-off and pause, and is the parent of the spans that ``opentelemetry-instrumentation-aiohttp-client`` makes of
the requests. ``error.type`` is that of OpenTelemetry's semantic conventions; for what is particular to Truebit Verify
there are none, so those names begin with ``truebit.``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from truebit_async._version import __version__
from truebit_async.errors import TruebitError
from truebit_async.events import BackedOff, Dropped, Finished, Left, Paused, Polled, PollEvent, Requested, Started
from truebit_async.models import Execution

try:
    from opentelemetry import context, metrics, trace
except ModuleNotFoundError as _missing:
    _msg = "truebit_async.otel needs OpenTelemetry's API: pip install 'truebit_async[otel]'"
    raise ModuleNotFoundError(_msg, name=_missing.name) from _missing

__all__ = ["OpenTelemetryListener"]

_DURATIONS = (0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)  # seconds; a wait takes seconds to minutes

_Attributes = Mapping[str, str | int | float]


class OpenTelemetryListener:
    """Reports a session to OpenTelemetry. Each session takes a listener of its own.

    Use it as ``TruebitSession(listener=OpenTelemetryListener())``. The metrics:

    - ``truebit.polls``, a counter: exchanges that have ended, by ``truebit.verification.status`` or ``error.type``.
    - ``truebit.outcomes``, a counter: waits that have ended, by ``truebit.verification.status`` and
      ``truebit.execution.status``, or ``error.type``.
    - ``truebit.verification.duration``, a histogram in seconds, by the same.
    - ``truebit.active_waits`` and ``truebit.active_requests``: waits that are pending, requests that are in flight.
    - ``truebit.pause.duration``, a histogram in seconds of the pauses that the server asked for.

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
        self._polls = meter.create_counter("truebit.polls", "{poll}", "Exchanges that have ended")
        self._outcomes = meter.create_counter("truebit.outcomes", "{execution}", "Waits that have ended by themselves")
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
        self._spans: defaultdict[str, dict[int, trace.Span]] = defaultdict(dict)  # by execution, then by wait

    def __call__(self, event: PollEvent) -> None:
        """Take in an event of a session.

        Args:
            event: the event.
        """
        match event:
            case Started():
                self._start(event)
            case Requested():
                self._active_requests.add(1)
            case Polled():
                self._active_requests.add(-1)
                attributes = _of_result(event.execution, event.error)
                self._polls.add(1, attributes)
                self._tell(event, "poll", {**attributes, "truebit.poll.duration": event.seconds})
            case Dropped():
                self._active_requests.add(-1)
            case BackedOff():
                self._tell(event, "back-off", {"truebit.back_off.duration": event.seconds})
            case Paused():
                self._pauses.record(event.seconds)
                self._tell(event, "pause", {"truebit.pause.duration": event.seconds})
            case Finished():
                self._finish(event)
            case Left():
                self._end(event.execution_id, event.wait_number, {"truebit.left": True})

    def _start(self, event: Started) -> None:
        self._active_waits.add(1)
        attributes = {"truebit.execution.id": event.execution_id}
        span = self._tracer.start_span("wait for verification", attributes=attributes)
        self._spans[event.execution_id][event.wait_number] = span
        context.attach(trace.set_span_in_context(span))  # of the wait's own context, which ends with it

    def _tell(self, event: PollEvent, name: str, attributes: _Attributes) -> None:
        for number, span in self._spans.get(event.execution_id, {}).items():
            # Waits for one execution share its polls, and each backs off for itself.
            if not isinstance(event, BackedOff) or event.wait_number == number:
                span.add_event(name, attributes)

    def _finish(self, event: Finished) -> None:
        outcome = event.outcome
        attributes = _of_result(outcome.execution, outcome.error)
        self._outcomes.add(1, attributes)
        self._duration.record(outcome.elapsed, attributes)
        self._end(event.execution_id, event.wait_number, {**attributes, "truebit.polls": outcome.polls}, outcome.error)

    def _end(
        self, execution_id: str, wait_number: int, attributes: _Attributes, error: TruebitError | None = None
    ) -> None:
        self._active_waits.add(-1)
        spans = self._spans[execution_id]
        span = spans.pop(wait_number)
        if not spans:
            del self._spans[execution_id]
        span.set_attributes(attributes)
        if error is not None:
            span.set_status(trace.StatusCode.ERROR, str(error))
        span.end()


def _of_result(execution: Execution | None, error: TruebitError | None) -> dict[str, str]:
    if execution is None:
        return {"error.type": type(error).__name__}
    attributes = {"truebit.verification.status": execution.verification_status.value}
    solution = execution.clear_text_solution
    if solution is not None and solution.execution_status is not None:
        attributes["truebit.execution.status"] = solution.execution_status.value
    return attributes
