"""The last record of each execution in one or more checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from truebit_async._checkpoint_lines import Record

Key = str | tuple[int, str | int]  # an execution; or a task that has none, by its file and its tag


def latest_records(paths: Sequence[str], read: Callable[[str], Iterator[Record[Any]]]) -> Iterator[Record[Any]]:
    """Yield one record for each execution: the last one with a final state, or else the last one.

    The files are read twice, first to find which records count. So no record stays in memory.

    Args:
        paths: the checkpoints.
        read: reads one of them.
    """
    chosen: dict[Key, int] = {}  # the position of a record, negative if it has no final state
    lengths = []
    position = 0
    for file_number, path in enumerate(paths):
        start = position
        for record in read(path):
            position += 1
            key = _key_of(record, file_number)
            if record.is_final or chosen.get(key, 0) <= 0:
                chosen[key] = position if record.is_final else -position
            if record.execution_id and record.tag is not None:
                chosen.pop((file_number, record.tag), None)  # it was refused at first, and has an execution now
        lengths.append(position - start)
    position = 0
    for file_number, (path, length) in enumerate(zip(paths, lengths, strict=True)):
        for record in itertools.islice(read(path), length):  # more may have been written meanwhile
            position += 1
            if abs(chosen.get(_key_of(record, file_number), 0)) == position:
                yield record


def _key_of(record: Record[Any], file_number: int) -> Key:
    return record.execution_id if record.execution_id or record.tag is None else (file_number, record.tag)
