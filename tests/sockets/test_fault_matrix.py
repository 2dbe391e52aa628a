"""Every row of the fault matrix, through every entry point, over real sockets."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import aiohttp
import attrs
import pytest
from tenacity import wait_fixed

import truebit_async.cli
from tests.sockets.faults import FAULTS, GOOD, MATRIX, STATUSES, Fault, answer, as_markdown
from tests.sockets.hostile_server import HostileServer, hostile_server, send
from truebit_async import PollPolicy, TruebitSession, errors
from truebit_async.cli import sessions

pytestmark = pytest.mark.no_cover  # a sweep over what other tests cover

TRIES = 2
LIMITED = [fault for fault in FAULTS if fault.hangs or fault.pauses]  # by nothing but time limits
TRANSIENT = (errors.TransportError, errors.RateLimitedError, errors.ServerError)
MAX_RESPONSE_BYTES = 8 * 2**20


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile_server({fault.name: fault.serve for fault in MATRIX} | {"good": send(answer(GOOD))}) as server:
        yield server


@pytest.fixture(autouse=True)
def _trust(server: HostileServer, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the authority behind the wrong name, so that the name is all that is wrong."""
    if "another host" in request.node.name:
        context = aiohttp.connector._SSL_CONTEXT_VERIFIED
        assert context is not None
        trusting = type(context)(context.protocol)
        trusting.load_default_certs()
        server.authority.configure_trust(trusting)
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)


def policy_for(fault: Fault) -> PollPolicy:
    return PollPolicy(
        wait=wait_fixed(0.001),
        deadline=0.3 if fault.pauses else 20,
        request_timeout=0.25 if fault.hangs else 10,
        max_consecutive_errors=TRIES,
    )


# Entry points: each asks about executions one after the other and returns the class of the error of each, if any


Ask = Callable[[TruebitSession, str], Awaitable[object]]
Errors = list[type[BaseException] | None]


async def batch(session: TruebitSession, execution_id: str) -> None:
    (outcome,) = [outcome async for outcome in session.wait_for_verifications([execution_id])]
    outcome.unwrap()


ENTRY_POINTS: dict[str, Ask] = {
    "get": TruebitSession.get_execution_status,
    "wait": TruebitSession.wait_for_verification,
    "batch": batch,
}
every_entry_point = pytest.mark.parametrize(
    "entry_point", ["wait", *(pytest.param(name, marks=pytest.mark.full) for name in ("get", "batch", "command"))]
)


async def ask_each(ask: Ask, url: str, policy: PollPolicy, ids: list[str]) -> Errors:
    found: Errors = []
    async with TruebitSession(url, policy=policy, max_response_bytes=MAX_RESPONSE_BYTES) as session:
        for execution_id in ids:
            try:
                await ask(session, execution_id)
            except errors.TruebitError as error:
                assert repr(execution_id) in str(error)
                found.append(type(error))
            else:
                found.append(None)
    return found


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Errors]:
    def wait(url: str, policy: PollPolicy, ids: list[str]) -> Errors:
        monkeypatch.setattr(sessions, "PollPolicy", lambda: policy)
        monkeypatch.setattr(sys, "argv", ["truebit-async", "wait", "--base-url", url, *ids])
        with pytest.raises(SystemExit):
            truebit_async.cli.main()
        results = {line["executionId"]: line["error"] for line in map(json.loads, capsys.readouterr().out.splitlines())}
        return [getattr(errors, results[each]["type"]) if results[each] else None for each in ids]

    return wait


# The matrix


def expected_requests(fault: Fault) -> int:
    if fault.where != "http":
        return 0
    return TRIES if fault.error and issubclass(fault.error, TRANSIENT) else 1


@attrs.frozen
class Result:
    """What came of a row: of asking about what goes wrong, and then about what does not, if that can be told."""

    found: Errors
    requests: int
    seconds: float


def beside(entry_point: str, fault: Fault) -> list[Fault]:
    """Return the rows that are played with this one: those that do nothing but wait for a time limit do so together.

    The command gets their IDs in one call, so it takes one URL at a time, and no pauses, which hold back all IDs.
    """
    if not (fault.hangs or fault.pauses) or (entry_point == "command" and fault.pauses):
        return [fault]
    return [other for other in LIMITED if entry_point != "command" or (other.hangs and other.where == fault.where)]


def is_followed_by_good(fault: Fault) -> bool:
    return fault.where == "http" and not fault.pauses


def ids_of(*faults: Fault) -> list[str]:
    return [*(fault.name for fault in faults), *(["good"] if is_followed_by_good(faults[0]) else [])]


async def play(server: HostileServer, ask: Ask, fault: Fault) -> Result:
    started = time.monotonic()
    found = await ask_each(ask, server.urls[fault.where], policy_for(fault), ids_of(fault))
    return Result(found, server.requests[fault.name], time.monotonic() - started)


async def play_beside(server: HostileServer, ask: Ask, faults: list[Fault]) -> list[Result | BaseException]:
    return await asyncio.gather(*(play(server, ask, fault) for fault in faults), return_exceptions=True)


def play_command(server: HostileServer, command: Callable[..., Errors], faults: list[Fault]) -> list[Result]:
    started = time.monotonic()
    found = command(server.urls[faults[0].where], policy_for(faults[0]), ids_of(*faults))
    seconds = time.monotonic() - started
    errors_of_faults, of_good = found[: len(faults)], found[len(faults) :]
    return [
        Result([error, *of_good], server.requests[fault.name], seconds)
        for fault, error in zip(faults, errors_of_faults, strict=True)
    ]


@pytest.fixture(scope="module")
def results() -> dict[tuple[str, str], Result | BaseException]:
    """What came of the rows so far, by entry point and name."""
    return {}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
@every_entry_point
def test_fault(
    server: HostileServer,
    command: Callable[..., Errors],
    results: dict[tuple[str, str], Result | BaseException],
    entry_point: str,
    fault: Fault,
) -> None:
    if (entry_point, fault.name) not in results:
        faults = beside(entry_point, fault)
        server.requests.clear()
        if entry_point == "command":
            played: Sequence[Result | BaseException] = play_command(server, command, faults)
        else:
            played = asyncio.run(play_beside(server, ENTRY_POINTS[entry_point], faults))
        results.update(zip([(entry_point, each.name) for each in faults], played, strict=True))
    result = results[entry_point, fault.name]
    if isinstance(result, BaseException):
        raise result
    assert result.found[0] is fault.error
    assert result.requests == expected_requests(fault)
    if is_followed_by_good(fault):
        assert result.found[1] is None, "the session is usable afterwards"
    assert result.seconds < 3


@pytest.mark.full
@every_entry_point
def test_every_status_code(server: HostileServer, command: Callable[..., Errors], entry_point: str) -> None:
    ids, policy = [fault.name for fault in STATUSES], policy_for(STATUSES[0])
    server.requests.clear()
    if entry_point == "command":
        found = command(server.urls["http"], policy, ids)
    else:
        found = asyncio.run(ask_each(ENTRY_POINTS[entry_point], server.urls["http"], policy, ids))
    documented: Errors = [fault.error for fault in STATUSES]
    tries = {fault.name: TRIES if status_is_transient(fault) else 1 for fault in STATUSES}
    assert dict(zip(ids, found, strict=True)) == dict(zip(ids, documented, strict=True))
    assert server.requests == tries


def status_is_transient(fault: Fault) -> bool:
    return fault.name in {"status 408", "status 429"} or fault.name.startswith("status 5")


@pytest.fixture(scope="module")
def overruns() -> dict[tuple[str, str], float]:
    """How much longer than its deadline a wait took, by entry point and name of the row."""
    return {}


@pytest.mark.full
@pytest.mark.parametrize("fault", LIMITED, ids=lambda fault: fault.name)
@pytest.mark.parametrize("entry_point", ENTRY_POINTS)
def test_the_deadline_holds(
    server: HostileServer, overruns: dict[tuple[str, str], float], entry_point: str, fault: Fault
) -> None:
    deadline = 0.06
    policy = attrs.evolve(policy_for(fault), deadline=deadline, request_timeout=10)

    async def overrun(ask: Ask) -> float:
        loop, fired = asyncio.get_running_loop(), list[float]()
        async with TruebitSession(server.urls[fault.where], policy=policy) as session:
            loop.call_later(deadline, lambda: fired.append(loop.time()))  # as late as the machine makes any timer
            with pytest.raises(errors.VerificationTimeoutError):
                await ask(session, fault.name)
            return loop.time() - (fired[0] if fired else loop.time())

    async def overrun_of_each() -> list[float]:
        return await asyncio.gather(*map(overrun, ENTRY_POINTS.values()))

    if (entry_point, fault.name) not in overruns:  # the entry points wait beside each other, each in its session
        overruns.update(zip([(each, fault.name) for each in ENTRY_POINTS], asyncio.run(overrun_of_each()), strict=True))
    assert overruns[entry_point, fault.name] < 0.05


LARGE = [fault for fault in FAULTS if any(word in fault.name for word in ("bomb", "MB", "for ever", "100,000"))]


@pytest.mark.full
@pytest.mark.parametrize("fault", LARGE, ids=lambda fault: fault.name)
def test_one_reply_does_not_fill_the_memory(server: HostileServer, fault: Fault) -> None:
    asyncio.run(ask_each(batch, server.urls["http"], policy_for(fault), ["good"]))  # whatever is made once, is made
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        asyncio.run(ask_each(batch, server.urls["http"], policy_for(fault), [fault.name]))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before <= MAX_RESPONSE_BYTES + 10 * 2**20


def test_the_matrix_is_large_and_its_rows_differ() -> None:
    names = [fault.name for fault in MATRIX]
    assert len(names) == len(set(names)) >= 150


def test_the_documentation_shows_the_matrix() -> None:
    page = Path(__file__).parents[2] / "docs" / "survives-table.md"
    if page.exists():  # it is not where the wheel is tested
        assert page.read_text() == as_markdown(), "run: python -m tests.sockets.faults > docs/survives-table.md"
