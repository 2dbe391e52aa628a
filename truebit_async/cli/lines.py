"""Read lines from a file descriptor without blocking the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import threading
from collections.abc import AsyncIterator
from queue import SimpleQueue
from types import TracebackType
from typing import Self

MAX_LINE = 16 * 2**20  # bytes; a complete reply of a dispatcher fits, and a producer cannot fill the memory
_CHUNK_SIZE = 2**14  # bytes; a few hundred IDs, which take the event loop little time


class LineReader:
    """Reads lines in a thread, and only as many as the caller asks for.

    A thread works with every kind of stdin. An event loop refuses regular files and /dev/null, and it switches a
    terminal to non-blocking mode, which affects stdout too. The thread reads the descriptor itself and not
    ``sys.stdin``, because a thread that is blocked in ``sys.stdin.read`` holds a lock that the interpreter needs at
    exit.

    Use it as ``with LineReader(0) as lines``. A read in progress cannot be cancelled: the thread ends when that read
    returns, or with the process.

    Args:
        descriptor: the file descriptor to read. It is not closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._requests: SimpleQueue[asyncio.Future[bytes] | None] = SimpleQueue()  # None stops the thread
        self._thread = threading.Thread(target=self._serve_requests, name="truebit-async lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._requests.put(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield each line without its line break. A line longer than MAX_LINE is cut, but stays longer than MAX_LINE.

        Raises:
            OSError: the descriptor cannot be read.
        """
        partial_line = bytearray()
        while chunk := await self._read_chunk():
            *complete, rest = chunk.split(b"\n")
            for end_of_line in complete:
                yield bytes(partial_line + end_of_line)
                partial_line.clear()
            partial_line += rest[: MAX_LINE + 1 - len(partial_line)]
        if partial_line:
            yield bytes(partial_line)

    async def _read_chunk(self) -> bytes:
        request: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._requests.put(request)
        return await request

    def _serve_requests(self) -> None:
        while (request := self._requests.get()) is not None:
            try:
                chunk, error = self._read_blocking(), None
            except OSError as caught:
                chunk, error = b"", caught
            with contextlib.suppress(RuntimeError):  # the loop has been closed, so nobody waits for the chunk
                request.get_loop().call_soon_threadsafe(_resolve, request, chunk, error)

    def _read_blocking(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, _CHUNK_SIZE)
            except BlockingIOError:  # another process has switched the descriptor to non-blocking mode
                select.select([self._descriptor], [], [])


def _resolve(request: asyncio.Future[bytes], chunk: bytes, error: OSError | None) -> None:
    if request.done():  # the caller was cancelled
        return
    if error is None:
        request.set_result(chunk)
    else:
        request.set_exception(error)
