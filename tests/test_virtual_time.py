import asyncio
import time

import pytest

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
