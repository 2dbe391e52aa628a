"""Asks through a client session whose middleware raises exceptions that cause each other, and prints what comes of it.

It runs in a process of its own, because what it guards against is a loop without an end, which nothing inside can stop.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Never

import aiohttp
from tenacity import wait_fixed

from truebit_async import PollPolicy, TruebitSession, errors

POLICY = PollPolicy(wait=wait_fixed(0.01), deadline=5, max_consecutive_errors=3)


def raise_two_in_a_cycle() -> Never:
    first, second = aiohttp.ClientConnectionError("first"), aiohttp.ClientConnectionError("second")
    try:
        raise second from first
    except aiohttp.ClientConnectionError:
        raise first  # noqa: B904  # its context is the second, whose cause is the first


def raise_one_that_causes_itself() -> Never:
    error = aiohttp.ClientConnectionError("itself")
    error.__cause__ = error
    raise error


def raise_three_in_a_cycle() -> Never:
    links = [aiohttp.ClientConnectionError(str(number)) for number in range(3)]
    for number, link in enumerate(links):
        link.__cause__ = links[(number + 1) % 3]
    raise links[0]


def raise_before_a_cycle() -> Never:
    try:
        raise_two_in_a_cycle()
    except aiohttp.ClientConnectionError as error:
        raise aiohttp.ClientConnectionError("before") from error


CYCLES: dict[str, Callable[[], Never]] = {
    "two": raise_two_in_a_cycle,
    "one": raise_one_that_causes_itself,
    "three": raise_three_in_a_cycle,
    "before": raise_before_a_cycle,
}


async def main(cycle: str, api_key: str | None) -> None:
    async def middleware(request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        CYCLES[cycle]()

    async with (
        aiohttp.ClientSession(middlewares=[middleware]) as http,
        TruebitSession("http://127.0.0.1:9", api_key=api_key, http=http, policy=POLICY) as session,
    ):
        for ask in (session.get_execution_status, session.wait_for_verification):
            started = time.thread_time()
            try:
                await ask("id")
            except errors.TransportError:
                print("TransportError", time.thread_time() - started < 1)  # noqa: T201  # what the test reads


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
