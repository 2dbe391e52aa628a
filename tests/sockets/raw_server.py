"""A server of which the test scripts every byte, and a relay that delays what passes through it.

Both run in the event loop of the test, on virtual time as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from urllib.parse import unquote

import attrs


def body_of(status: str, execution_id: str | None = None, output: str = "42") -> bytes:
    """Return the body of a status reply. Without an ID, it names no execution."""
    body: dict[str, object] = {} if execution_id is None else {"executionId": execution_id}
    if status != "Running":
        body["clearTextSolution"] = {"output": output, "executionStatus": "succeed"}
    return json.dumps({**body, "verificationStatus": status}).encode()


def response(body: bytes, *, status: str = "200 OK", headers: bytes = b"") -> bytes:
    """Return the bytes of a response that keeps its connection alive."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n".encode()
    return head + headers + b"\r\n" + body


@attrs.define(eq=False)
class RawRequest:
    """One request that has arrived, and the way to answer it.

    Attributes:
        time: when it arrived.
        execution_id: the ID that it asks for.
        connection: the number of its connection, from 1 on.
        number: its number on that connection, from 1 on.
        transport: its connection.
    """

    time: float
    execution_id: str
    connection: int
    number: int
    transport: asyncio.Transport
    _server: RawServer
    _is_in_flight: bool = True

    def send(self, data: bytes, after: float = 0.0) -> None:
        """Send the response, after so many seconds."""
        if after:
            asyncio.get_running_loop().call_later(after, self.send, data)
            return
        self._end()
        if not self.transport.is_closing():
            self.transport.write(data)
            self._server.set_idle(self.transport)

    def send_unasked(self, data: bytes, after: float) -> None:
        """Send bytes on the connection, after so many seconds."""
        asyncio.get_running_loop().call_later(after, self.transport.write, data)

    def close(self) -> None:
        """Close the connection instead of sending a response."""
        self._end()
        self.transport.close()

    def reset(self) -> None:
        """Reset the connection instead of sending a response."""
        self._end()
        connection = self.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _end(self) -> None:
        if self._is_in_flight:
            self._is_in_flight = False
            self._server.in_flight -= 1


Answer = Callable[[RawRequest], None]
"""Is called with each request. It answers now or later, or never."""


class RawServer:
    """What is listening, and what arrived.

    Args:
        answer: answers the requests.
        idle_timeouts: after so many seconds without a request, a connection that has answered one is closed: after
            the first at the first time, and so on, again and again.
    """

    def __init__(self, answer: Answer, idle_timeouts: Sequence[float] = ()) -> None:
        self.answer = answer
        self._idle_timeouts: Iterator[float] = itertools.cycle(idle_timeouts)
        self.url = ""
        self.port = 0
        self.requests: list[RawRequest] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self._connection_numbers = itertools.count(1)
        self._transports: set[asyncio.Transport] = set()
        self._idle_timers: dict[asyncio.Transport, asyncio.TimerHandle] = {}

    def times(self, execution_id: str) -> list[float]:
        """Return when the requests for an ID arrived."""
        return [request.time for request in self.requests if request.execution_id == execution_id]

    def most_per_second(self) -> int:
        """Return the largest number of requests that arrived in any window of one second."""
        times = [request.time for request in self.requests]
        return max(sum(first <= time < first + 1 for time in times) for first in times)

    def set_idle(self, transport: asyncio.Transport) -> None:
        if (seconds := next(self._idle_timeouts, None)) is not None:
            self.set_busy(transport)
            self._idle_timers[transport] = asyncio.get_running_loop().call_later(seconds, transport.close)

    def set_busy(self, transport: asyncio.Transport) -> None:
        if timer := self._idle_timers.pop(transport, None):
            timer.cancel()

    def take(self, head: bytes, connection: int, number: int, transport: asyncio.Transport) -> None:
        self.set_busy(transport)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        execution_id = unquote(head.split(b" ", 2)[1].rpartition(b"/")[2].decode())
        now = asyncio.get_running_loop().time()
        request = RawRequest(now, execution_id, connection, number, transport, self)
        self.requests.append(request)
        self.answer(request)

    def connected(self, transport: asyncio.Transport) -> int:
        self._transports.add(transport)
        return next(self._connection_numbers)

    def disconnected(self, transport: asyncio.Transport) -> None:
        self.set_busy(transport)
        self._transports.discard(transport)

    def abort(self) -> None:
        for transport in list(self._transports):
            transport.abort()


class _Protocol(asyncio.Protocol):
    def __init__(self, server: RawServer) -> None:
        self._server = server
        self._received = b""
        self._numbers = itertools.count(1)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connection = self._server.connected(transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        while b"\r\n\r\n" in self._received:
            head, _, self._received = self._received.partition(b"\r\n\r\n")
            self._server.take(head, self._connection, next(self._numbers), self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # as asyncio calls it
        self._server.disconnected(self._transport)


@contextlib.asynccontextmanager
async def raw_server(answer: Answer, *, idle_timeouts: Sequence[float] = ()) -> AsyncIterator[RawServer]:
    """Run a server on a free port of loopback."""
    server = RawServer(answer, idle_timeouts)
    listening = await asyncio.get_running_loop().create_server(lambda: _Protocol(server), "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    server.url = f"http://127.0.0.1:{server.port}"
    try:
        yield server
    finally:
        listening.close()
        server.abort()
        await asyncio.sleep(0.01)  # for the transports to close their sockets


class Relay:
    """Passes bytes on in both directions, each after a delay.

    Args:
        port: where the server listens.
        delay: seconds.
    """

    def __init__(self, port: int, delay: float) -> None:
        self.url = ""
        self._port = port
        self._delay = delay
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers |= {writer, server_writer}
        for source, target in ((reader, server_writer), (server_reader, writer)):
            task = asyncio.create_task(self._pass_on(source, target))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pass_on(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await source.read(2**16):
                loop.call_later(self._delay, target.write, data)
        loop.call_later(self._delay, target.close)

    async def stop(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(2 * self._delay + 0.01)  # for what is still to be passed on


@contextlib.asynccontextmanager
async def relay(server: RawServer, delay: float) -> AsyncIterator[Relay]:
    """Run a relay in front of a server."""
    running = Relay(server.port, delay)
    listening = await asyncio.start_server(running.handle, "127.0.0.1", 0)
    running.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield running
    finally:
        listening.close()
        await running.stop()
