"""Spans and metrics, as the SDK's in-memory exporters receive them."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.instrumentation.aiohttp_client import AioHttpClientInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from tenacity import wait_fixed

from tests.policies import FAST
from truebit_async import ExecutionNotFoundError, FunctionTask, PollEvent, PollPolicy, TruebitSession, otel
from truebit_async.otel import OpenTelemetryListener
from truebit_async.testing import Reply, Simulator


class Telemetry:
    """A listener and what it has reported."""

    def __init__(self) -> None:
        self._exporter, self._reader = InMemorySpanExporter(), InMemoryMetricReader()
        self.tracer_provider = TracerProvider()
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.tracer_provider.get_tracer("service")
        self.listener = OpenTelemetryListener(
            tracer_provider=self.tracer_provider, meter_provider=MeterProvider([self._reader])
        )

    def spans(self, name: str = "wait for verification") -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def metrics(self) -> dict[tuple[str, frozenset[Any]], float]:
        """Return every figure by its name and attributes; of histograms, the number of values."""
        data = self._reader.get_metrics_data()
        return {
            (metric.name, frozenset((point.attributes or {}).items())): getattr(
                point, "value", getattr(point, "count", 0)
            )
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        }


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


@pytest.fixture
async def observed(simulator: Simulator, telemetry: Telemetry) -> Any:
    async with TruebitSession(simulator.url, policy=FAST, listeners=[telemetry.listener]) as session:
        yield session


def attributes_of(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def span_id(span: Any) -> int:
    return int(span.get_span_context().span_id)


async def test_a_wait_is_a_span_in_the_span_of_its_caller(
    simulator: Simulator, observed: TruebitSession, telemetry: Telemetry
) -> None:
    simulator.script("id", Reply.running(), Reply.error(503, retry_after=0.01), Reply.success("42"))
    with telemetry.tracer.start_as_current_span("handler") as handler:
        await observed.wait_for_verification("id")
    (span,) = telemetry.spans()
    assert span.parent is not None
    assert span.parent.span_id == span_id(handler)
    assert attributes_of(span) == {
        "truebit.execution.id": "id",
        "truebit.task.kind": "function",
        "truebit.execution.status": "Success",
        "truebit.execution.succeeded": True,
        "truebit.polls": 3,
    }
    assert span.status.status_code is StatusCode.UNSET
    assert [event.name for event in span.events] == ["poll", "backoff", "poll", "pause", "backoff", "poll"]
    polls = [dict(event.attributes or {}) for event in span.events if event.name == "poll"]
    assert [poll.pop("truebit.poll.duration") > 0 for poll in polls] == [True] * 3  # type: ignore[operator]
    assert {poll.pop("truebit.task.kind") for poll in polls} == {"function"}
    assert polls == [
        {"truebit.execution.status": "Running"},
        {"error.type": "ServerError"},
        {"truebit.execution.status": "Success", "truebit.execution.succeeded": True},
    ]


async def test_submissions_and_evidence_are_no_waits(simulator: Simulator, telemetry: Telemetry) -> None:
    simulator.deploy_function("ns", "task", str)
    task = FunctionTask("ns", "task", "1", total_solutions=1, required_solutions=1)
    async with TruebitSession(simulator.url, api_key="key", policy=FAST, listeners=[telemetry.listener]) as session:
        execution_id = await session.functions.submit(task)
        simulator.script_evidence(execution_id, Reply.error(503, retry_after=0.01), Reply.raw(200, b"{}"))
        await session.get_transcript(execution_id)
    assert telemetry.metrics() == {
        ("truebit.submissions", frozenset({("truebit.task.kind", "function")})): 1,
        ("truebit.pause.duration", frozenset()): 1,
    }
    assert telemetry.spans() == []


async def test_a_wait_without_an_answer_is_an_error(observed: TruebitSession, telemetry: Telemetry) -> None:
    with pytest.raises(ExecutionNotFoundError) as raised:
        await observed.wait_for_verification("missing")
    (span,) = telemetry.spans()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == str(raised.value)
    assert attributes_of(span)["error.type"] == "ExecutionNotFoundError"


async def test_each_of_several_waits_for_one_execution_is_a_span(
    simulator: Simulator, observed: TruebitSession, telemetry: Telemetry
) -> None:
    simulator.add("id", polls=1)
    await asyncio.gather(*(observed.wait_for_verification("id") for _ in range(3)))
    spans = telemetry.spans()
    assert [[event.name for event in span.events] for span in spans] == [["poll", "backoff", "poll"]] * 3


async def test_a_wait_that_is_left_ends_its_span(
    simulator: Simulator, observed: TruebitSession, telemetry: Telemetry
) -> None:
    simulator.script("id", Reply.hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await observed.wait_for_verification("id")
    await asyncio.sleep(0.01)  # the request is dropped a moment later
    (span,) = telemetry.spans()
    assert attributes_of(span) == {"truebit.execution.id": "id", "truebit.task.kind": "function", "truebit.left": True}
    metrics = telemetry.metrics()
    assert metrics["truebit.active_waits", frozenset()] == 0
    assert metrics["truebit.active_requests", frozenset()] == 0


async def test_what_is_under_way_is_counted(
    simulator: Simulator, observed: TruebitSession, telemetry: Telemetry
) -> None:
    simulator.script("id", Reply.hang())
    wait = asyncio.create_task(observed.wait_for_verification("id"))
    while not simulator.requests:
        await asyncio.sleep(0.001)
    metrics = telemetry.metrics()
    assert metrics["truebit.active_waits", frozenset()] == 1
    assert metrics["truebit.active_requests", frozenset()] == 1
    wait.cancel()
    await asyncio.wait([wait])


async def test_the_metrics_of_a_batch(simulator: Simulator, observed: TruebitSession, telemetry: Telemetry) -> None:
    simulator.add("good", polls=2)
    simulator.script("failed", Reply.error(429, retry_after=0.01), Reply.failed())
    simulator.add("unsettled", status="Indeterminate")
    ids = ["good", "failed", "unsettled", "missing", ".."]
    with telemetry.tracer.start_as_current_span("nightly job") as job:
        async for _ in observed.wait_for_verifications(ids):
            pass
    kind_of_task = ("truebit.task.kind", "function")
    success, did_not_succeed = ("truebit.execution.status", "Success"), ("truebit.execution.succeeded", False)
    good = frozenset({kind_of_task, success, ("truebit.execution.succeeded", True)})
    failed = frozenset({kind_of_task, success, did_not_succeed})
    unsettled = frozenset({kind_of_task, ("truebit.execution.status", "Indeterminate"), did_not_succeed})
    missing, invalid, limited = (
        frozenset({kind_of_task, ("error.type", f"{kind}Error")})
        for kind in ("ExecutionNotFound", "InvalidExecutionId", "RateLimited")
    )
    assert telemetry.metrics() == {
        ("truebit.polls", frozenset({kind_of_task, ("truebit.execution.status", "Running")})): 2,
        ("truebit.polls", limited): 1,
        **{("truebit.polls", end): 1 for end in (good, failed, unsettled, missing)},
        **{("truebit.outcomes", end): 1 for end in (good, failed, unsettled, missing, invalid)},
        **{("truebit.verification.duration", end): 1 for end in (good, failed, unsettled, missing, invalid)},
        ("truebit.pause.duration", frozenset()): 1,
        ("truebit.active_waits", frozenset()): 0,
        ("truebit.active_requests", frozenset()): 0,
    }
    assert {span.parent and span.parent.span_id for span in telemetry.spans()} == {span_id(job)}
    assert len(telemetry.spans()) == len(ids)
    assert not telemetry.listener._spans


async def test_a_span_processor_that_raises_leaves_nothing_behind(simulator: Simulator, telemetry: Telemetry) -> None:
    class Broken(SpanProcessor):
        def on_end(self, span: ReadableSpan) -> None:
            del span
            raise ZeroDivisionError

    telemetry.tracer_provider.add_span_processor(Broken())
    for number in range(3):
        simulator.add(str(number))
    async with TruebitSession(simulator.url, policy=FAST, listeners=[telemetry.listener]) as session:
        async for outcome in session.wait_for_verifications(["0", "1", "2", "missing"]):
            assert outcome.succeeded is (outcome.execution_id != "missing")
    assert not telemetry.listener._spans
    assert telemetry.metrics()["truebit.active_waits", frozenset()] == 0


@pytest.fixture
def _instrumented_aiohttp(telemetry: Telemetry) -> Iterator[None]:
    AioHttpClientInstrumentor().instrument(tracer_provider=telemetry.tracer_provider)
    yield
    AioHttpClientInstrumentor().uninstrument()


@pytest.mark.usefixtures("_instrumented_aiohttp")
async def test_requests_are_spans_within_that_of_their_wait(simulator: Simulator, telemetry: Telemetry) -> None:
    simulator.add("a", polls=2)
    simulator.add("b", polls=1)
    simulator.add("c")
    async with TruebitSession(simulator.url, policy=FAST, listeners=[telemetry.listener]) as session:

        async def handle(execution_id: str) -> None:
            with telemetry.tracer.start_as_current_span(f"handle {execution_id}"):
                await session.wait_for_verification(execution_id)

        await asyncio.gather(handle("a"), handle("b"))
        async for _ in session.wait_for_verifications(["c"]):
            pass
    waits = {attributes_of(span)["truebit.execution.id"]: span_id(span) for span in telemetry.spans()}
    requests = [span.parent and span.parent.span_id for span in telemetry.spans("GET")]
    assert sorted(map(str, requests)) == sorted(map(str, [*[waits["a"]] * 3, *[waits["b"]] * 2, waits["c"]]))
    assert all("traceparent" in request.headers for request in simulator.requests)


@pytest.mark.usefixtures("_instrumented_aiohttp")
async def test_requests_of_a_batch_are_spans_of_its_caller_also_without_a_listener(
    simulator: Simulator, telemetry: Telemetry
) -> None:
    ids = ["a", "b", "c"]
    for execution_id in ids:
        simulator.add(execution_id, polls=2)
    async with TruebitSession(simulator.url, policy=FAST) as session:
        with telemetry.tracer.start_as_current_span("job") as job:
            async for _ in session.wait_for_verifications(ids):
                pass
    requests = telemetry.spans("GET")
    assert len(requests) == 9
    assert {request.parent and request.parent.span_id for request in requests} == {span_id(job)}


async def test_a_single_request_backs_off_without_the_spans_of_waits(
    simulator: Simulator, observed: TruebitSession, telemetry: Telemetry
) -> None:
    simulator.script("id", Reply.running(), Reply.error(500), Reply.success("42"))
    wait = asyncio.create_task(observed.wait_for_verification("id", policy=PollPolicy(wait=wait_fixed(0.1))))
    while len(simulator.requests) < 1:
        await asyncio.sleep(0.001)
    await observed.get_execution_status("id")
    await wait
    (span,) = telemetry.spans()
    assert [event.name for event in span.events].count("backoff") == 1


def test_an_event_of_a_kind_it_does_not_know_is_passed_over(telemetry: Telemetry) -> None:
    telemetry.listener(PollEvent("id", "function"))
    assert telemetry.metrics() == {}


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    spec = importlib.util.spec_from_file_location("otel_again", otel.__file__)
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(ModuleNotFoundError, match="install the extra `otel`"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
