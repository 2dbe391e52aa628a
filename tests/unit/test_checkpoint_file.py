"""The file of a checkpoint: writes that fail, its lock, and how much memory it takes to resume."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from truebit_async import CheckpointError, ClearTextSolution, Execution, ExecutionStatus, Outcome, VerificationStatus
from truebit_async._locked_file import open_locked
from truebit_async.checkpoint import Checkpoint, outcome_as_json, read_checkpoint


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def outcome(execution_id: str, output: str = "42") -> Outcome[Execution]:
    solution = ClearTextSolution(output, ExecutionStatus.SUCCEED)
    return Outcome(execution_id, Execution(execution_id, VerificationStatus.SUCCESS, solution), None, 1, 1.0)


def ids_in(path: Path) -> list[str]:
    return [record.execution_id for record in read_checkpoint(path)]


# Writing


class Disk:
    """Stands between a checkpoint and its file, and misbehaves.

    Args:
        file: the file of the checkpoint.
        writes: what each write does: take so many bytes, or raise.
        truncation: what truncating raises.
    """

    def __init__(self, file: Any, *writes: int | BaseException, truncation: OSError | None = None) -> None:
        self._file = file
        self._writes = list(writes)
        self._truncation = truncation
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        self.calls += 1
        taken = self._writes.pop(0) if self._writes else len(data)
        if isinstance(taken, BaseException):
            raise taken
        written: int = self._file.write(data[:taken])
        return written

    def truncate(self, size: int) -> None:
        if self._truncation is not None:
            raise self._truncation
        self._file.truncate(size)


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond a size, in bytes: the system takes a part of a write, then refuses."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_a_full_disk_leaves_of_a_line_is_cut_back_and_writing_goes_on(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(outcome("a"))
        size = path.stat().st_size
        for room in (0, 1, 50, size - 1):
            with largest_file(size + room), pytest.raises(CheckpointError, match="File too large; fix that, then go"):
                checkpoint.write(outcome("b"))
            assert path.stat().st_size == size
        checkpoint.write(outcome("b"))
    with Checkpoint(path, resume=True) as checkpoint:
        assert checkpoint.mended is None
        assert list(checkpoint.final) == ["a", "b"]


def test_one_outcome_is_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        disk = Disk(checkpoint._file)
        monkeypatch.setattr(checkpoint, "_file", disk)
        checkpoint.write(outcome("a", "x" * 10**6))
    assert disk.calls == 1


def test_a_write_that_takes_only_a_part_is_gone_on_with(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        monkeypatch.setattr(checkpoint, "_file", Disk(checkpoint._file, 7, 1, 20))
        checkpoint.write(outcome("a"))
    assert ids_in(path) == ["a"]


def test_a_part_before_an_error_is_cut_back(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        monkeypatch.setattr(checkpoint, "_file", Disk(checkpoint._file, 10**6, 7, OSError(errno.EIO, "I/O error")))
        checkpoint.write(outcome("a"))
        with pytest.raises(CheckpointError, match="a line could not be written: I/O error; fix that") as caught:
            checkpoint.write(outcome("b"))
        assert isinstance(caught.value.__cause__, OSError)
        checkpoint.write(outcome("c"))
    assert ids_in(path) == ["a", "c"]


def test_what_cannot_be_cut_back_stops_further_writing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(outcome("a"))
        refusal = PermissionError(errno.EPERM, "Operation not permitted")
        disk = Disk(checkpoint._file, 7, OSError(errno.ENOSPC, "No space left"), truncation=refusal)
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "_file", disk)
            with pytest.raises(CheckpointError, match=r"No space left; .* could not be removed either: Operation not"):
                checkpoint.write(outcome("b"))
        size = path.stat().st_size
        with pytest.raises(CheckpointError, match="an earlier write may have left a torn last line; close the file"):
            checkpoint.write(outcome("b"))
        assert path.stat().st_size == size
    with Checkpoint(path, resume=True) as checkpoint:
        assert checkpoint.mended == "the last line was torn, and its 7 bytes were removed"
        checkpoint.write(outcome("b"))
    assert ids_in(path) == ["a", "b"]


def test_nothing_follows_a_write_that_was_interrupted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Checkpoint(path) as checkpoint:
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "_file", Disk(checkpoint._file, 7, KeyboardInterrupt()))
            with pytest.raises(KeyboardInterrupt):
                checkpoint.write(outcome("a"))
        with pytest.raises(CheckpointError, match="may have left a torn last line"):
            checkpoint.write(outcome("b"))
    assert ids_in(path) == []


def test_an_error_at_closing_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closing:
        def close(self) -> None:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")

    checkpoint = Checkpoint(path)
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "_file", Closing())
        with pytest.raises(CheckpointError, match="the last lines may be missing: Disk quota exceeded; resume it once"):
            checkpoint.close()
    checkpoint.close()
    with pytest.raises(ValueError, match="closed file"):
        checkpoint.write(outcome("a"))


@pytest.mark.parametrize("error", [PermissionError(errno.EPERM, "Operation not permitted"), OSError("odd")])
def test_a_torn_line_that_cannot_be_removed_is_told(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    content = f'{outcome_as_json(outcome("a"))}\n{{"executionId": "b'
    path.write_text(content)
    opened = []

    class AppendOnly(Disk):
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            self.close()

    def open_append_only(path: str) -> AppendOnly:
        opened.append(open_locked(path))
        return AppendOnly(opened[-1], truncation=error)

    monkeypatch.setattr("truebit_async.checkpoint.open_locked", open_append_only)
    with pytest.raises(CheckpointError, match=r"its last line is torn and could not be removed: (Oper|odd)") as caught:
        Checkpoint(path, resume=True)
    assert "an append-only file has to be made writable first" in str(caught.value)
    assert caught.value.__cause__ is error
    assert opened[0].closed
    assert path.read_text() == content


# One writer


def test_a_new_file_is_for_its_owner_only(path: Path) -> None:
    umask = os.umask(0)
    try:
        Checkpoint(path).close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("resume", [False, True])
def test_a_second_writer_is_refused_until_the_first_closes(path: Path, resume: bool) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(outcome("a"))
        with pytest.raises(CheckpointError, match="written by another process or Checkpoint; wait for that, or name"):
            Checkpoint(path, resume=resume)
        assert ids_in(path) == ["a"]  # reading is possible
        checkpoint.write(outcome("b"))
    with Checkpoint(path, resume=True) as checkpoint:
        assert list(checkpoint.final) == ["a", "b"]


def test_a_torn_file_is_not_touched_by_a_second_resume(path: Path) -> None:
    path.write_text('{"executionId": "torn')
    with Checkpoint(path, resume=True) as checkpoint:
        checkpoint.write(outcome("a"))
        with path.open("ab") as file:
            file.write(b'{"executionId": "half')  # as if it was in the middle of a write
        content = path.read_bytes()
        with pytest.raises(CheckpointError, match="written by another"):
            Checkpoint(path, resume=True)
        assert path.read_bytes() == content


def test_a_refused_opening_holds_no_lock(path: Path) -> None:
    path.write_text("something else\n")
    for _ in range(2):
        with pytest.raises(CheckpointError, match="line 1 is neither an outcome"):
            Checkpoint(path, resume=True)


WRITER = """
import sys
from truebit_async.checkpoint import Checkpoint
checkpoint = Checkpoint(sys.argv[1], resume=True)
print("open", flush=True)
sys.stdin.read()
"""


def test_another_process_is_refused_until_the_first_is_killed(path: Path) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(CheckpointError, match="written by another process"):
            Checkpoint(path, resume=True)
        process.send_signal(signal.SIGKILL)
        process.wait()
        Checkpoint(path, resume=True).close()


def test_a_program_started_meanwhile_does_not_inherit_the_lock(path: Path) -> None:
    checkpoint = Checkpoint(path)
    command = [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=False) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        checkpoint.close()
        Checkpoint(path).close()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_that_is_renamed_before_it_is_locked_is_not_written(
    path: Path, monkeypatch: pytest.MonkeyPatch, replaced: bool
) -> None:
    flock = fcntl.flock

    def rename_first(file: Any, operation: int) -> None:
        path.rename(path.with_suffix(".old"))
        if replaced:
            path.touch()
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", rename_first)
    message = "it was replaced while it was being opened; try again" if replaced else "No such file"
    with pytest.raises(CheckpointError, match=message):
        Checkpoint(path)


def test_a_file_system_without_locks_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(file: Any, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(CheckpointError, match="No locks available; name another file"):
        Checkpoint(path)


# Memory


@contextlib.contextmanager
def at_most(size: int) -> Iterator[None]:
    """Fail if more memory than so many bytes is taken at any time."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size


def test_resuming_takes_no_more_memory_for_larger_outputs(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        for number in range(40):
            checkpoint.write(outcome(f"id-{number}", "x" * 2**20))
    with at_most(6 * 2**20), Checkpoint(path, resume=True) as checkpoint:  # a line, decoded, and its output
        assert len(checkpoint.final) == 40
    with at_most(6 * 2**20):
        assert sum(1 for _ in read_checkpoint(path)) == 40


def test_what_is_kept_of_an_answer_is_small(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        for number in range(5000):
            checkpoint.write(outcome(f"id-{number}", "x" * 1000))
    with at_most(5000 * 200), Checkpoint(path, resume=True) as checkpoint:
        assert len({id(state) for state in checkpoint.final.values()}) == 1


@pytest.mark.parametrize("end", [b"", b"}", b'\\": null}', b"\0"])
def test_a_long_torn_line_is_not_held_in_memory(path: Path, end: bytes) -> None:
    with Checkpoint(path) as checkpoint:
        checkpoint.write(outcome("a"))
    whole = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(whole)
        file.write(b'{"executionId": "b", "kind": "function", ')
        file.seek(64 * 2**20)  # of zeros, which take no room on the disk
        file.write(b"x" + end)
    with at_most(2**20):
        assert ids_in(path) == ["a"]
    with at_most(2**20), Checkpoint(path, resume=True) as checkpoint:
        assert list(checkpoint.final) == ["a"]
        assert checkpoint.mended is not None
    assert path.stat().st_size == whole


@pytest.mark.parametrize("size", [2**16 - 1, 2**16, 2**16 + 1, 3 * 2**16])
def test_the_last_line_break_is_found_wherever_it_is(path: Path, size: int) -> None:
    line = outcome_as_json(outcome("a")).encode() + b"\n"
    torn = b'{"executionId": "'.ljust(size - len(line), b"x")
    for content in (line + torn, line * 2 + torn, line * 500 + torn[:-1]):
        path.write_bytes(content)
        with Checkpoint(path, resume=True) as checkpoint:
            assert list(checkpoint.final) == ["a"]
        assert path.read_bytes() == content[: content.rindex(b"\n") + 1]


def test_lines_that_are_appended_while_it_is_read_are_left_out(path: Path) -> None:
    with Checkpoint(path) as checkpoint:
        for number in range(3):
            checkpoint.write(outcome(f"id-{number}"))
        records = read_checkpoint(path)
        assert next(records).execution_id == "id-0"
        checkpoint.write(outcome("late"))
        assert [record.execution_id for record in records] == ["id-1", "id-2"]


@pytest.mark.parametrize("content", [bytes(4096), bytes(4096) + b"data", b'{"exec' + bytes(100) + b"data"])
def test_a_file_of_zeros_that_holds_something_else_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="is neither an outcome"):
        Checkpoint(path, resume=True)
    assert path.read_bytes() == content


@pytest.mark.parametrize("torn", [b"{", b'{"exec' + bytes(100_000)])
def test_a_torn_first_line_is_removed_with_its_zeros(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(torn)
    with Checkpoint(path, resume=True) as checkpoint:
        assert checkpoint.mended is not None
    assert path.read_bytes() == b""
