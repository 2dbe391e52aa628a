"""The code to measure: truebit_async, and code that does the same without it."""

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

GetStatus = Callable[[str], Awaitable[object]]
Client = Callable[[str], contextlib.AbstractAsyncContextManager[GetStatus]]


@attrs.frozen
class Cost:
    """The cost of some requests.

    Attributes:
        requests: the number of requests.
        cpu: CPU time in seconds, user and system.
        wall: elapsed time in seconds.
    """

    requests: int
    cpu: float
    wall: float

    @property
    def cpu_per_request(self) -> float:
        """CPU time per request, in microseconds."""
        return self.cpu / self.requests * 1e6


async def timed(run: Awaitable[int]) -> Cost:
    """Await ``run``, which returns a number of requests, and return their cost."""
    cpu, wall = time.process_time(), time.perf_counter()
    requests = await run
    return Cost(requests, time.process_time() - cpu, time.perf_counter() - wall)


# Single status requests


@contextlib.asynccontextmanager
async def plain_aiohttp(url: str) -> AsyncIterator[GetStatus]:
    """GET and `.json()`, without models, checks, limits or retries."""
    async with aiohttp.ClientSession() as http:

        async def get_status(execution_id: str) -> object:
            async with http.get(f"{url}{PATH}{execution_id}") as response:
                return await response.json()

        yield get_status


@contextlib.asynccontextmanager
async def truebit(url: str) -> AsyncIterator[GetStatus]:
    """`get_execution_status`, with models, checks, limits and retries."""
    async with TruebitSession(url, max_concurrency=IN_FLIGHT) as session:
        yield session.get_execution_status


@contextlib.asynccontextmanager
async def plain_httpx(url: str) -> AsyncIterator[GetStatus]:
    """The same as `plain_aiohttp`, with httpx."""
    limits = httpx.Limits(max_connections=IN_FLIGHT, max_keepalive_connections=IN_FLIGHT)
    async with httpx.AsyncClient(limits=limits) as http:

        async def get_status(execution_id: str) -> object:
            return (await http.get(f"{url}{PATH}{execution_id}")).json()

        yield get_status


# Batches


def batch_policy(first: float, longest: float) -> PollPolicy:
    """Return a policy with a backoff from ``first`` to ``longest`` seconds, with some jitter."""
    return PollPolicy(wait=wait_exponential(multiplier=first, max=longest) + wait_random(0, first / 2), deadline=3600)


async def truebit_batch(url: str, ids: Sequence[str], policy: PollPolicy) -> int:
    """Wait with `wait_for_verifications`; return the number of polls."""
    polls = 0
    async with TruebitSession(url, policy=policy, max_concurrency=IN_FLIGHT) as session:
        async for outcome in session.wait_for_verifications(ids):
            outcome.unwrap()
            polls += outcome.polls
    return polls


async def gather_tenacity_batch(url: str, ids: Sequence[str], policy: PollPolicy) -> int:
    """Wait without truebit_async: gather one coroutine with retries per ID; return the number of polls."""
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
