"""Reading lines from a file descriptor, on asyncio and on uvloop."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from truebit_async.cli import lines as cli_lines
from truebit_async.cli.ids import IdParser
from truebit_async.cli.lines import MAX_LINE, LineReader
from truebit_async.cli.runner import UsageProblem

RunOnLoop = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run_on_loop(request: pytest.FixtureRequest) -> RunOnLoop:
    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=request.param) as runner:
            return runner.run(asyncio.wait_for(main, 10))

    return run


@pytest.fixture
def pipe() -> Iterator[list[int]]:
    """The two ends of a pipe. A test that closes an end removes it from the list."""
    ends = list(os.pipe())
    yield ends
    for end in ends:
        os.close(end)


async def all_of(lines: AsyncIterator[bytes]) -> list[bytes]:
    return [line async for line in lines]


def reader_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "truebit-async lines"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"\n", [b""]),
        (b"a\n\nb\r\nc", [b"a", b"", b"b\r", b"c"]),
        (b"x" * 100_000 + b"\ny", [b"x" * 100_000, b"y"]),
    ],
)
def test_lines_of_a_file(run_on_loop: RunOnLoop, tmp_path: Path, content: bytes, expected: list[bytes]) -> None:
    (tmp_path / "file").write_bytes(content)
    with (tmp_path / "file").open("rb") as file, LineReader(file.fileno()) as lines:
        assert run_on_loop(all_of(aiter(lines))) == expected


def test_a_line_is_yielded_before_the_next_one_arrives(run_on_loop: RunOnLoop, pipe: list[int]) -> None:
    async def main() -> None:
        with LineReader(pipe[0]) as reader:
            lines = aiter(reader)
            os.write(pipe[1], b"a\nb")
            assert await anext(lines) == b"a"
            second = asyncio.ensure_future(anext(lines))
            await asyncio.sleep(0.05)
            assert not second.done()
            os.write(pipe[1], b"c\n")
            assert await second == b"bc"
            os.close(pipe.pop())
            assert [line async for line in lines] == []

    run_on_loop(main())


def test_a_pipe_in_non_blocking_mode(run_on_loop: RunOnLoop, pipe: list[int]) -> None:
    async def main() -> None:
        os.set_blocking(pipe[0], False)
        with LineReader(pipe[0]) as reader:
            line = asyncio.ensure_future(anext(aiter(reader)))
            await asyncio.sleep(0.05)
            os.write(pipe[1], b"a\n")
            assert await line == b"a"

    run_on_loop(main())


def test_data_that_was_not_requested_stays_in_the_pipe(run_on_loop: RunOnLoop, pipe: list[int]) -> None:
    async def main() -> None:
        with LineReader(pipe[0]) as reader:
            os.write(pipe[1], b"a\n")
            assert await anext(aiter(reader)) == b"a"
            os.write(pipe[1], b"b\n")
            await asyncio.sleep(0.05)
        assert os.read(pipe[0], 10) == b"b\n"

    run_on_loop(main())


def test_an_endless_line_is_cut_just_above_the_limit(
    run_on_loop: RunOnLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_lines, "MAX_LINE", 30_000)
    (tmp_path / "file").write_bytes(b"x" * 1_000_000 + b"\nshort")
    with (tmp_path / "file").open("rb") as file, LineReader(file.fileno()) as lines:
        long, short = run_on_loop(all_of(aiter(lines)))
    assert 30_000 < len(long) < 50_000
    assert short == b"short"


def test_a_failed_read_raises(run_on_loop: RunOnLoop, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        with LineReader(descriptor) as lines, pytest.raises(IsADirectoryError):
            run_on_loop(all_of(aiter(lines)))
    finally:
        os.close(descriptor)


def test_a_silent_pipe_does_not_delay_the_end_and_the_thread_ends_after_its_read(
    run_on_loop: RunOnLoop, pipe: list[int]
) -> None:
    async def main() -> None:
        with LineReader(pipe[0]) as lines:
            await asyncio.wait_for(all_of(aiter(lines)), 0.05)

    started = time.monotonic()
    with pytest.raises(TimeoutError):
        run_on_loop(main())
    assert time.monotonic() - started < 1
    (thread,) = reader_threads()
    assert thread.daemon
    os.write(pipe[1], b"too late\n")  # the loop has been closed
    thread.join(5)
    assert not reader_threads()


def test_data_for_a_cancelled_read_is_dropped(run_on_loop: RunOnLoop, pipe: list[int]) -> None:
    unhandled: list[dict[str, Any]] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
        with LineReader(pipe[0]) as lines:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(all_of(aiter(lines)), 0.05)
            os.write(pipe[1], b"too late\n")
            await asyncio.sleep(0.05)

    run_on_loop(main())
    assert unhandled == []
    for thread in reader_threads():
        thread.join(5)
    assert not reader_threads()


def test_a_line_that_is_too_long_is_malformed() -> None:
    reports: list[str] = []
    parser = IdParser("ids", reports.append)
    assert parser.parse(b"x" * (MAX_LINE + 1)) is None
    assert parser.parse(b"id") == "id"
    assert reports == ["ids:1: the line is longer than 16 MiB"]


async def test_a_failed_read_names_the_source() -> None:
    async def fail() -> AsyncIterator[bytes]:
        yield b"id"
        raise OSError(5, "Input/output error")

    ids = IdParser("stdin", print).stream(["first"], fail())
    assert [await anext(ids), await anext(ids)] == ["first", "id"]
    with pytest.raises(UsageProblem, match="cannot read IDs from stdin: Input/output error"):
        await anext(ids)
