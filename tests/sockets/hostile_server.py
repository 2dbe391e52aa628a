"""A server that breaks HTTP on request: raw sockets on loopback, in a thread of its own.

The execution ID that is asked for names the way in which it is answered.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import ssl
import struct
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, cast
from urllib.parse import unquote

import trustme

Serve = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Answers one request. The connection is closed after it."""


Handle = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class HostileServer:
    """What is listening, and what arrived.

    Args:
        answers: execution ID → answer. For any other ID the connection is closed.
    """

    def __init__(self, answers: Mapping[str, Serve]) -> None:
        self._answers = answers
        self.authority = trustme.CA()
        self.urls: dict[str, str] = {}
        """Base URLs by what they are: http, https, https of another host, mute, refused."""
        self.requests = Counter[str]()
        """How often each ID was asked for."""
        self.posts = Counter[str]()
        """How many of these were submissions."""
        self._writers: set[asyncio.StreamWriter] = set()
        self.heads: list[bytes] = []
        """The requests, from the request line to the empty line."""

    async def listen(self, stack: contextlib.AsyncExitStack) -> None:
        async def add(name: str, scheme: str, context: ssl.SSLContext | None, handle: Handle) -> None:
            server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context, limit=2**20)
            stack.callback(server.close)
            self.urls[name] = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"

        await add("http", "http", None, self._handle)
        await add("https", "https", self._certified_for("127.0.0.1"), self._handle)
        await add("https of another host", "https", self._certified_for("dispatcher.example"), self._handle)
        await add("mute", "https", None, self._say_nothing)
        await add("http where https is expected", "https", None, self._answer_at_once)
        taken = stack.enter_context(socket.socket())
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connecting is refused, and nobody else takes the port
        self.urls["refused"] = f"http://127.0.0.1:{taken.getsockname()[1]}"

    def _certified_for(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(host).configure_cert(context)
        return context

    async def stop(self) -> None:
        """End every connection; those that are listening are the stack's."""
        handlers = asyncio.all_tasks() - {asyncio.current_task()}
        for handler in handlers:
            handler.cancel()
        await asyncio.gather(*handlers, return_exceptions=True)
        for writer in self._writers:
            with contextlib.suppress(AttributeError):  # raised by one that has closed with its last bytes
                writer.transport.abort()
        await asyncio.sleep(0.01)  # for the transports to close their sockets

    async def _handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        harmless = (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError)
        with contextlib.suppress(*harmless):  # cancelled by `stop`
            head = await reader.readuntil(b"\r\n\r\n")
            execution_id = _name_in(head.split(b" ", 2)[1].decode())
            await _read_rest(reader, head)
            self.heads.append(head)
            self.requests[execution_id] += 1
            self.posts[execution_id] += head.startswith(b"POST ")
            if answer := self._answers.get(execution_id):
                await answer(cast("asyncio.StreamWriter", _NamingWriter(writer, execution_id)))
        writer.close()

    async def _answer_at_once(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def _say_nothing(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await reader.read()
        writer.close()


def _name_in(target: str) -> str:
    """Return what names the answer: the path of the base URL if it has one, else the last segment."""
    base, _, path = target.removeprefix("http://").partition("/task/")
    return unquote(base.partition("/")[2] or path.rpartition("/")[2])


async def _read_rest(reader: asyncio.StreamReader, head: bytes) -> None:
    """Read the body of a request. A connection that is closed before that would be reset."""
    length = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
    if length is not None:
        await reader.readexactly(int(length[1]))


ID_PLACEHOLDER = b'"an execution ID"'.ljust(80)
"""What is sent in its place is the execution ID that was asked for, as JSON of the same length."""


def with_id(data: bytes, execution_id: str) -> bytes:
    name = json.dumps(execution_id).encode().ljust(len(ID_PLACEHOLDER))
    return data.replace(ID_PLACEHOLDER, name)


class _NamingWriter:
    """A writer that fills in the execution ID."""

    def __init__(self, writer: asyncio.StreamWriter, execution_id: str) -> None:
        self._writer = writer
        self._execution_id = execution_id

    def write(self, data: bytes) -> None:
        is_small = len(data) < 2**20  # a copy of a large body would count as memory that the client takes
        self._writer.write(with_id(data, self._execution_id) if is_small else data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._writer, name)


@contextlib.contextmanager
def hostile_server(answers: Mapping[str, Serve]) -> Iterator[HostileServer]:
    server = HostileServer(answers)
    loop = asyncio.new_event_loop()
    stack = contextlib.AsyncExitStack()

    def run() -> None:
        sys.settrace(None)  # none of the package runs here, so that measuring its coverage would take time for nothing
        loop.run_forever()

    thread = threading.Thread(target=run)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.listen(stack), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(stack.aclose(), loop).result()
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# Ways to answer


def send(*data: bytes) -> Serve:
    """Send this and close."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        for piece in data:
            writer.write(piece)
            await writer.drain()

    return serve


def send_and_reset(data: bytes) -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.01)  # a reset overtakes what was not read yet
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return serve


def send_and_hang(data: bytes) -> Serve:
    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(60)

    return serve


def drip(data: bytes, dripping: bytes) -> Serve:
    """Send the one at once and the other a byte at a time, one per second but for the first."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        for byte in dripping:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(1)

    return serve


def flood(data: bytes, again: bytes) -> Serve:
    """Send the one once and the other for ever, as fast as it is taken."""

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        while True:
            writer.write(again)
            await writer.drain()
            await asyncio.sleep(0)

    return serve
