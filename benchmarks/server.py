"""A fast status server: an asyncio protocol without an HTTP library, in a separate process.

The ID selects the behaviour: ``done-*`` is verified at once, ``run-SECONDS-*`` runs for that long after its first poll,
and a request for ``hang-*`` is never answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

_PREFIX = b"/task/function/execution-status/"
LOG_PATH = "/log"
"""This path returns the arrival times of requests since it was last requested."""


def _reply(body: bytes) -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _running(execution_id: str) -> bytes:
    return json.dumps({"executionId": execution_id, "verificationStatus": "Running"}).encode()


def _success(execution_id: str) -> bytes:
    solution = {"output": "function task output", "executionStatus": "succeed", "senderAddress": "0x" + "7" * 40}
    signature = {"v": 28, "r": "20" * 32, "s": "07" * 32}
    reply = {"executionId": execution_id, "clearTextSolution": solution, "signature": signature}
    return json.dumps({**reply, "verificationStatus": "Success"}).encode()


class _StatusProtocol(asyncio.Protocol):
    done_at: dict[str, float]
    arrivals: list[float]
    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.buffer = b""

    def data_received(self, data: bytes) -> None:
        *requests, self.buffer = (self.buffer + data).split(b"\r\n\r\n")
        for request in requests:
            self.answer(request.split(b" ", 2)[1])

    def answer(self, path: bytes) -> None:
        if path == LOG_PATH.encode():
            self.transport.write(_reply(json.dumps(self.arrivals).encode()))
            self.arrivals.clear()
            return
        now = time.monotonic()
        self.arrivals.append(now)
        execution_id = path.removeprefix(_PREFIX).decode()
        kind, _, rest = execution_id.partition("-")
        if kind == "hang":
            return
        if kind == "run" and now < self.done_at.setdefault(execution_id, now + float(rest.partition("-")[0])):
            self.transport.write(_reply(_running(execution_id)))
        else:
            self.transport.write(_reply(_success(execution_id)))


async def _serve(parent: Connection) -> None:
    _StatusProtocol.done_at = {}
    _StatusProtocol.arrivals = []
    server = await asyncio.get_running_loop().create_server(_StatusProtocol, "127.0.0.1", 0, backlog=4096)
    parent.send(server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, parent.poll, None)


def _run(parent: Connection) -> None:
    asyncio.run(_serve(parent))


@contextlib.contextmanager
def status_server() -> Iterator[str]:
    """Run the server inside the ``with`` block; yield its base URL."""
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_run, args=(child_end,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{parent_end.recv()}"
    finally:
        parent_end.send(None)
        process.join(5)
