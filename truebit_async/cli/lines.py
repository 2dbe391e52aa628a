"""Lines of a file descriptor, each as soon as it is there, while the event loop goes on."""

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

MAX_LINE = 16 * 2**20  # bytes; a line with an answer of the dispatcher fits, and no producer fills the memory
_CHUNK = 2**14  # bytes; a few hundred IDs, which do not hold the event loop for long


class LineReader:
    """Reads lines in a thread of its own, and only as they are asked for.

    Only that works with every kind of stdin: an event loop would refuse files and /dev/null, and would switch a
    terminal, which is stdout too, to non-blocking. The thread reads the bare descriptor: one that is blocked in a
    read of ``sys.stdin`` would hold its lock when the interpreter exits.

    Use it as ``with LineReader(0) as lines``. A read that is under way then cannot be called off; the thread ends
    with it, or with the process.

    Args:
        descriptor: what to read; it is not closed.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._wanted: SimpleQueue[asyncio.Future[bytes] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._serve, name="truebit-async lines", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._wanted.put(None)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield each line without its line break; of one above MAX_LINE, no more than shows that it is too long.

        Raises:
            OSError: the descriptor cannot be read.
        """
        begun = bytearray()
        while chunk := await self._read():
            *lines, rest = chunk.split(b"\n")
            for line in lines:
                begun += line
                yield bytes(begun)
                begun.clear()
            begun += rest[: MAX_LINE + 1 - len(begun)]
        if begun:
            yield bytes(begun)

    async def _read(self) -> bytes:
        wanted: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._wanted.put(wanted)
        return await wanted

    def _serve(self) -> None:
        while (wanted := self._wanted.get()) is not None:
            try:
                chunk, error = self._read_now(), None
            except OSError as caught:
                chunk, error = b"", caught
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile, and with it whoever waited
                wanted.get_loop().call_soon_threadsafe(_resolve, wanted, chunk, error)

    def _read_now(self) -> bytes:
        while True:
            try:
                return os.read(self._descriptor, _CHUNK)
            except BlockingIOError:  # somebody has switched it to non-blocking
                select.select([self._descriptor], [], [])


def _resolve(wanted: asyncio.Future[bytes], chunk: bytes, error: OSError | None) -> None:
    if wanted.done():  # cancelled meanwhile
        return
    if error is None:
        wanted.set_result(chunk)
    else:
        wanted.set_exception(error)
