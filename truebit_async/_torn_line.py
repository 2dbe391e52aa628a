"""The last line of a checkpoint file, which a crash may have torn."""

from __future__ import annotations

import io
import json
import os

_BLOCK = 2**16  # bytes
_BEGINNING = b'{"executionId": "'  # of every line
_ENDINGS = (b'"error": null}', b'"}}')  # of every line, without its line break: there is no error, or there is one


def may_be_torn(file: io.FileIO, start: int) -> bool:
    """Return whether what follows the last line break may be removed: the beginning of a line, then perhaps zeros.

    A crash of the machine may leave zeros. A file of nothing else is not ours.
    """
    if file.seek(0, os.SEEK_END) <= start:  # there is nothing; a device such as /dev/full could be read for ever
        return True
    file.seek(start)
    beginning = file.read(len(_BEGINNING))
    if beginning == _BEGINNING:
        return True
    text = beginning.rstrip(b"\0")
    if not _BEGINNING.startswith(text) or (start == 0 and not text):
        return False
    while block := file.read(_BLOCK):
        if block.strip(b"\0"):
            return False
    return True


def end_of_last_line(file: io.FileIO) -> int:
    """Return the offset after the last line break. Blocks are read from the end, since a torn line may be very long."""
    start = file.seek(0, os.SEEK_END)
    while start > 0:
        end, start = start, max(start - _BLOCK, 0)
        file.seek(start)
        found = file.read(end - start).rfind(b"\n")
        if found >= 0:
            return start + found + 1
    return 0


def unterminated_line(file: io.FileIO, start: int) -> bytes | None:
    """Return what follows the last line break if it is a whole line; None if it is torn, or nothing."""
    longest = max(map(len, _ENDINGS))
    file.seek(max(start, file.seek(0, os.SEEK_END) - longest))
    if not file.read(longest).endswith(_ENDINGS):
        return None  # without reading it, since it may be very long
    file.seek(start)
    line = file.readall()
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return None
    return line
