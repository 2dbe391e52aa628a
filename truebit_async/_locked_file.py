"""A file that one writer at a time appends to."""

from __future__ import annotations

import contextlib
import io
import os
import stat
import sys

from truebit_async._checkpoint_errors import CheckpointError

if sys.platform == "win32":  # pragma: no cover
    import msvcrt
else:
    import fcntl


def open_locked(path: str) -> io.FileIO:
    """Open a file for reading and appending, and lock it until it is closed. It is made with mode 0600 if need be.

    Args:
        path: the file.

    Raises:
        CheckpointError: somebody else has locked it, or it is a pipe or a terminal.
        OSError: it cannot be opened, or its file system supports no locks.
    """
    with contextlib.ExitStack() as stack:
        # Unbuffered, so that a line is either with the operating system or known not to be.
        file = stack.enter_context(open(path, "ab+", buffering=0, opener=_open_private))
        if not file.seekable():
            raise CheckpointError(None, path, "it is not a regular file; name another file")
        status = os.fstat(file.fileno())
        if stat.S_ISREG(status.st_mode):  # a device such as /dev/null takes any number of writers
            if not _lock(file):
                detail = "it is being written by another process or Checkpoint; wait for that, or name another file"
                raise CheckpointError(None, path, detail)
            named = os.stat(path)  # noqa: PTH116  # a path as str
            if (named.st_dev, named.st_ino) != (status.st_dev, status.st_ino):
                # It was renamed before it was locked. Another writer may open and lock what the path leads to now.
                raise CheckpointError(None, path, "it was replaced while it was being opened; try again")
        stack.pop_all()
    return file


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _lock(file: io.FileIO) -> bool:
    """Lock a file until it is closed. Return False if somebody else has locked it."""
    try:
        if sys.platform == "win32":  # pragma: no cover
            # Others cannot read a byte that is locked, so this is one far beyond the end of any checkpoint.
            file.seek(2**40)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter on Windows
        return False
    return True
