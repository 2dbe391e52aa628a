import asyncio
import threading
import time

import pytest
from tenacity import wait_fixed

from truebit_async import Polled, PollEvent, PollPolicy, TruebitSession
from truebit_async.testing import Simulator, VirtualTimeLoop

pytestmark = pytest.mark.virtual_time


async def test_an_hour_passes_at_once() -> None:
    started, real = asyncio.get_running_loop().time(), time.perf_counter()
    await asyncio.sleep(3600)
    assert asyncio.get_running_loop().time() - started == pytest.approx(3600)
    assert time.perf_counter() - real < 1


async def test_timers_fire_in_order() -> None:
    order: list[int] = []

    async def note(delay: int) -> None:
        await asyncio.sleep(delay)
        order.append(delay)

    await asyncio.gather(note(3), note(1), note(2))
    assert order == [1, 2, 3]


async def test_waiting_for_nothing_is_an_error_and_not_a_hang() -> None:
    loop = asyncio.get_running_loop()
    with pytest.raises(RuntimeError, match="deadlock"):
        loop._selector.select(None)  # type: ignore[attr-defined]


async def test_sockets_are_faster_than_the_clock(simulator: Simulator) -> None:
    simulator.add("slow", running_for=600)
    errors: list[object] = []
    policy = PollPolicy(wait=wait_fixed(10), deadline=3600, request_timeout=1)

    def listener(event: PollEvent) -> None:
        if isinstance(event, Polled) and event.error is not None:
            errors.append(event.error)

    started, real = asyncio.get_running_loop().time(), time.perf_counter()
    async with TruebitSession(simulator.url, policy=policy, listeners=[listener]) as session:
        assert (await session.wait_for_verification("slow")).succeeded
    assert asyncio.get_running_loop().time() - started == pytest.approx(600)
    assert time.perf_counter() - real < 5
    assert len(simulator.requests) == 61
    assert not errors


async def test_the_clock_waits_for_what_runs_in_a_thread() -> None:
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with asyncio.timeout(10):
        await asyncio.to_thread(time.sleep, 0.05)
    assert loop.time() == started
    await asyncio.sleep(5)
    assert loop.time() == started + 5


async def test_while_a_job_runs_the_clock_goes_on_as_ever() -> None:
    loop = asyncio.get_running_loop()

    def job() -> None:
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), loop).result()

    started = loop.time()
    await asyncio.to_thread(job)
    assert loop.time() - started == pytest.approx(0.02, abs=0.01)


def test_closing_the_loop_waits_for_its_threads() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.to_thread(time.sleep, 0.5)

    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(main())


async def test_with_sockets_the_clock_jumps_only_once_they_are_quiet() -> None:
    selector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    assert selector._real_timeout(5.0) == 0
    async with Simulator():
        assert 0 < selector._real_timeout(5.0) < 0.01
        assert selector._real_timeout(0) == 0


async def test_a_thread_that_reports_soon_is_no_deadlock() -> None:
    loop = asyncio.get_running_loop()
    reported = asyncio.Event()
    thread = threading.Timer(0.02, loop.call_soon_threadsafe, [reported.set])
    thread.start()
    await reported.wait()
    thread.join()
