"""Waits over real sockets, against the Simulator."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest
from tenacity import wait_fixed, wait_random_exponential

from tests.policies import FAST
from tests.simulator_process import simulator_process
from truebit_async import (
    Execution,
    Outcome,
    PollPolicy,
    TruebitSession,
    VerificationStatus,
    __version__,
    errors,
    wait_for_verification,
)
from truebit_async._protocol import functions
from truebit_async.testing import Reply, Simulator


async def test_from_running_to_a_verified_output(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("id", polls=3, output="1764")
    execution = await session.wait_for_verification("id")
    assert execution.output == "1764"
    assert execution.clear_text_solution is not None
    assert execution.clear_text_solution.signature is not None
    assert len(simulator.requests) == 4


@pytest.mark.parametrize("signature", ["inside", "beside"])
async def test_a_signature_in_either_place(simulator: Simulator, session: TruebitSession, signature: str) -> None:
    simulator.script("id", Reply.execution("Success", "1", signature=signature))  # type: ignore[arg-type]
    execution = await session.get_execution_status("id")
    assert execution.clear_text_solution is not None
    assert execution.clear_text_solution.signature is not None
    assert execution.clear_text_solution.signature.v == 28


async def test_every_other_end(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("failed", polls=1, execution_status="failed")
    simulator.add("indeterminate", polls=1, status="Indeterminate")
    simulator.add("error", polls=1, status="Error")
    for execution_id, error in [
        ("failed", errors.ExecutionFailedError),
        ("indeterminate", errors.IndeterminateError),
        ("error", errors.ExecutionFailedError),
    ]:
        execution = await session.wait_for_verification(execution_id)
        with pytest.raises(error, match=repr(execution_id)):
            _ = execution.output


async def test_a_wait_survives_what_passes(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script(
        "id",
        Reply.error(500),
        Reply.reset(),
        Reply.running(),
        Reply.error(502),
        Reply.garbage(),
        Reply.cut_off(),
        Reply.error(503),
        Reply.slow(0.05, "7"),
    )
    assert (await session.wait_for_verification("id")).output == "7"


async def test_request_headers(simulator: Simulator) -> None:
    simulator.add("id")
    async with TruebitSession(simulator.url, api_key="secret") as session:
        await session.get_execution_status("id")
    headers = simulator.requests[0].headers
    assert headers["x-api-key"] == "secret"
    assert headers["User-Agent"] == f"truebit-async/{__version__}"
    assert headers["Accept"] == "application/json"


async def test_the_function_for_scripts_reads_the_environment(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator.add("id")
    monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
    monkeypatch.setenv("TRUEBIT_API_KEY", "from-environment")
    assert (await wait_for_verification("id")).output == "42"
    assert simulator.requests[0].headers["x-api-key"] == "from-environment"


async def test_retry_after_holds_the_whole_session(simulator: Simulator) -> None:
    simulator.script("limited", Reply.error(429, retry_after=0.5), Reply.success("1"))
    simulator.add("other", polls=3)
    policy = PollPolicy(wait=wait_fixed(0.05))
    async with TruebitSession(simulator.url, policy=policy) as session:
        await asyncio.gather(session.wait_for_verification("limited"), session.wait_for_verification("other"))
    times = [request.time for request in simulator.requests]
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) >= 0.45


@pytest.mark.full
async def test_a_server_with_a_rate_limit_is_not_run_into_with_max_rate(simulator: Simulator) -> None:
    ids = [str(number) for number in range(60)]
    for execution_id in ids:
        simulator.add(execution_id)
    simulator.limit_rate(50)
    async with TruebitSession(simulator.url, max_rate=45) as session:
        outcomes = [outcome async for outcome in session.wait_for_verifications(ids)]
    assert all(outcome.execution for outcome in outcomes)
    assert len(simulator.requests) == 60


async def test_a_batch_with_every_kind_of_outcome(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("good", polls=5)
    simulator.add("bad", status="Error")
    simulator.script("redirecting", Reply.redirect("https://elsewhere.example"))
    outcomes: dict[str, Outcome[Execution]] = {
        outcome.execution_id: outcome
        async for outcome in session.wait_for_verifications(["good", "bad", "missing", "redirecting", ""])
    }
    assert outcomes["good"].unwrap().succeeded
    assert outcomes["good"].polls == 6
    assert outcomes["bad"].unwrap().verification_status is VerificationStatus.ERROR
    assert isinstance(outcomes["missing"].error, errors.ExecutionNotFoundError)
    assert isinstance(outcomes["redirecting"].error, errors.RedirectError)
    assert isinstance(outcomes[""].error, errors.InvalidExecutionIdError)
    assert [type(outcome) for outcome in outcomes.values()] == [Outcome] * 5


@pytest.mark.parametrize(
    "reply",
    [Reply.hang(), Reply.slow(60), Reply.running(), Reply.error(503, retry_after=60)],
    ids=lambda reply: reply.name,
)
async def test_no_server_holds_a_wait_past_its_deadline(simulator: Simulator, reply: Reply) -> None:
    simulator.script("id", reply)
    loop = asyncio.get_running_loop()
    async with TruebitSession(simulator.url, policy=PollPolicy(wait=wait_random_exponential(max=60))) as session:
        started = loop.time()
        with pytest.raises(errors.VerificationTimeoutError):
            await session.wait_for_verification("id", deadline=0.1)
        assert 0.099 <= loop.time() - started < 0.15


async def test_a_hung_connect_ends_with_the_deadline_too() -> None:
    """A listening socket whose backlog is full lets nobody in."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        async with TruebitSession(f"http://127.0.0.1:{server.getsockname()[1]}") as session:
            started = loop.time()
            with pytest.raises(errors.VerificationTimeoutError) as caught:
                await session.wait_for_verification("id", deadline=0.1)
            assert 0.099 <= loop.time() - started < 0.15
    assert caught.value.last_error is None


async def test_one_request_is_bound_by_the_request_timeout(simulator: Simulator) -> None:
    simulator.script("id", Reply.hang(), Reply.success("7"))
    policy = PollPolicy(wait=wait_fixed(0.01), request_timeout=0.2)
    async with TruebitSession(simulator.url, policy=policy) as session:
        started = time.monotonic()
        assert (await session.wait_for_verification("id")).output == "7"
        assert 0.2 <= time.monotonic() - started < 0.6


async def test_waits_for_one_id_share_their_requests(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("id", polls=4)
    executions = await asyncio.gather(*(session.wait_for_verification("id") for _ in range(50)))
    assert {execution.output for execution in executions} == {"42"}
    assert len(simulator.requests) == 5


async def test_a_cancelled_wait_leaves_the_session_usable(simulator: Simulator, session: TruebitSession) -> None:
    simulator.script("hung", Reply.hang())
    simulator.add("id")
    wait = asyncio.create_task(session.wait_for_verification("hung"))
    while not simulator.requests:
        await asyncio.sleep(0.001)
    wait.cancel()
    with pytest.raises(asyncio.CancelledError):
        await wait
    assert (await session.wait_for_verification("id")).output == "42"


async def test_it_works_under_a_timeout_and_a_task_group(simulator: Simulator, session: TruebitSession) -> None:
    simulator.add("id", polls=2)
    simulator.script("hung", Reply.hang())
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1):
            await session.wait_for_verification("hung")
    assert not isinstance(caught.value, errors.TruebitError)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(session.wait_for_verification("id"))
        second = group.create_task(session.get_execution_status("id"))
    assert first.result().succeeded
    assert second.result().execution_id == "id"


async def test_closing_ends_everything_at_once(simulator: Simulator) -> None:
    for number in range(300):
        simulator.script(str(number), Reply.hang() if number % 2 else Reply.running())
    session = TruebitSession(simulator.url)
    waits = [asyncio.create_task(session.wait_for_verification(str(number))) for number in range(300)]
    requests = [asyncio.create_task(session.get_execution_status("1")) for _ in range(10)]
    await asyncio.sleep(0.3)
    started = time.monotonic()
    await session.close()
    results = await asyncio.gather(*waits, *requests, return_exceptions=True)
    assert time.monotonic() - started < 0.1
    assert {type(result) for result in results} == {errors.SessionClosedError}


async def test_closing_ends_a_request_in_flight(simulator: Simulator) -> None:
    simulator.script("id", Reply.hang())
    session = TruebitSession(simulator.url)
    request = asyncio.create_task(session.get_execution_status("id"))
    while not simulator.requests:
        await asyncio.sleep(0.001)
    await session.close()
    with pytest.raises(errors.SessionClosedError, match="'id'"):
        await request


IDS = [f"id-{number}" for number in range(5000)]


def add_five_thousand(simulator: Simulator) -> None:
    faults = [Reply.error(500), Reply.reset(), Reply.error(503), Reply.cut_off(), Reply.garbage()]
    for number, execution_id in enumerate(IDS):
        if number % 20 == 0:
            simulator.script(execution_id, faults[number // 20 % len(faults)], Reply.success("42"))
        else:
            simulator.add(execution_id, polls=number % 2)


@pytest.mark.full
@pytest.mark.no_cover
async def test_five_thousand_executions_with_faults_are_all_accounted_for() -> None:
    policy = PollPolicy(wait=wait_random_exponential(multiplier=0.05, max=0.5), deadline=60)
    with simulator_process(add_five_thousand) as url:
        async with TruebitSession(url, policy=policy) as session:
            outcomes = [outcome async for outcome in session.wait_for_verifications(iter(IDS), max_pending=2000)]
    assert sorted(outcome.execution_id for outcome in outcomes) == sorted(IDS)
    assert all(outcome.unwrap().output == "42" for outcome in outcomes)


@pytest.mark.parametrize(("size", "is_moved"), [(1000, False), (2 * 2**20, True)])
async def test_a_large_body_is_decoded_beside_the_loop(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch, size: int, is_moved: bool
) -> None:
    threads = []

    def decode(*args: Any, **kwargs: Any) -> Execution:
        threads.append(threading.current_thread())
        return functions.read_status(*args, **kwargs)

    monkeypatch.setattr("truebit_async.session.FUNCTIONS", attrs.evolve(functions.FUNCTIONS, read_status=decode))
    simulator.add("id", output="a" * size)
    async with TruebitSession(simulator.url, policy=FAST) as session:
        assert len((await session.get_execution_status("id")).output) == size
    assert (threads[0] is not threading.main_thread()) is is_moved


async def test_the_limit_holds_while_a_thread_for_a_large_reply_is_long_in_coming(simulator: Simulator) -> None:
    simulator.script("id", Reply.slow(0.3, output="a" * 2**20))
    busy = threading.Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(max_workers=1))
    hog = asyncio.get_running_loop().run_in_executor(None, busy.wait, 20)
    policy = PollPolicy(wait=wait_fixed(0.01), request_timeout=0.5, max_consecutive_errors=1)
    started = asyncio.get_running_loop().time()
    try:
        async with TruebitSession(simulator.url, policy=policy) as session:
            with pytest.raises(errors.RequestTimeoutError, match=r"was not read within 0\.5 s"):
                await session.get_execution_status("id")
        assert asyncio.get_running_loop().time() - started < 0.7
    finally:
        busy.set()
        await hog
