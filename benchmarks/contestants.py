"""Who is measured: truebit_async, and the ways in which one would do without it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import aiohttp
import attrs
import httpx
from tenacity import (
    retry,
    retry_if_exception_type,
    retry_if_result,
    stop_after_delay,
    wait_exponential,
    wait_random,
)

from truebit_async import PollPolicy, TruebitSession

PATH = "/task/function/execution-status/"
IN_FLIGHT = 64

Ask = Callable[[str], Awaitable[object]]
Contestant = Callable[[str], contextlib.AbstractAsyncContextManager[Ask]]


@attrs.frozen
class Cost:
    """What something took.

    Attributes:
        requests: how many requests were made.
        cpu: seconds of CPU, user and system.
        wall: seconds by the clock on the wall.
    """

    requests: int
    cpu: float
    wall: float

    @property
    def cpu_per_request(self) -> float:
        """Microseconds of CPU for each request."""
        return self.cpu / self.requests * 1e6


async def timed(run: Awaitable[int]) -> Cost:
    """Return what it takes to make as many requests as ``run`` says it made."""
    cpu, wall = time.process_time(), time.perf_counter()
    requests = await run
    return Cost(requests, time.process_time() - cpu, time.perf_counter() - wall)


# One status after the other


@contextlib.asynccontextmanager
async def plain_aiohttp(url: str) -> AsyncIterator[Ask]:
    """GET and `.json()`: nothing is decoded, checked, limited or tried again."""
    async with aiohttp.ClientSession() as http:

        async def ask(execution_id: str) -> object:
            async with http.get(f"{url}{PATH}{execution_id}") as response:
                return await response.json()

        yield ask


@contextlib.asynccontextmanager
async def truebit(url: str) -> AsyncIterator[Ask]:
    """`get_execution_status`: decoded, checked, limited, and tried again when transient."""
    async with TruebitSession(url, max_concurrency=IN_FLIGHT) as session:
        yield session.get_execution_status


@contextlib.asynccontextmanager
async def plain_httpx(url: str) -> AsyncIterator[Ask]:
    """The plain loop with httpx in place of aiohttp."""
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits) as http:

        async def ask(execution_id: str) -> object:
            return (await http.get(f"{url}{PATH}{execution_id}")).json()

        yield ask


# A batch until every execution is verified


def batch_policy(first: float, longest: float) -> PollPolicy:
    """Backoff from ``first`` to ``longest`` seconds, with a little chance."""
    return PollPolicy(wait=wait_exponential(multiplier=first, max=longest) + wait_random(0, first / 2), deadline=3600)


async def truebit_batch(url: str, ids: Sequence[str], policy: PollPolicy) -> int:
    """`wait_for_verifications`; return the number of polls."""
    polls = 0
    async with TruebitSession(url, policy=policy, max_concurrency=IN_FLIGHT) as session:
        async for outcome in session.wait_for_verifications(ids):
            outcome.unwrap()
            polls += outcome.polls
    return polls


async def gather_tenacity_batch(url: str, ids: Sequence[str], policy: PollPolicy) -> int:
    """What one would write without a client: a retried coroutine for each ID, gathered; return the number of polls."""
    polls = 0

    def is_running(reply: dict[str, Any]) -> bool:
        return bool(reply["verificationStatus"] == "Running")

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as http:

        @retry(
            wait=policy.wait,
            retry=retry_if_result(is_running) | retry_if_exception_type(aiohttp.ClientError),
            stop=stop_after_delay(policy.deadline or 0),
        )
        async def wait_for(execution_id: str) -> dict[str, Any]:
            nonlocal polls
            polls += 1
            async with http.get(f"{url}{PATH}{execution_id}") as response:
                response.raise_for_status()
                reply: dict[str, Any] = await response.json()
                return reply

        for reply in await asyncio.gather(*(wait_for(execution_id) for execution_id in ids)):
            assert reply["verificationStatus"] == "Success"
    return polls
