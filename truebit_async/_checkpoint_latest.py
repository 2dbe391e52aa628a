"""The last record of each execution in one or more checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from truebit_async._checkpoint_lines import Record


def latest_records(paths: Sequence[str], read: Callable[[str], Iterator[Record[Any]]]) -> Iterator[Record[Any]]:
    """Yield one record for each execution: the last one with a final state, or else the last one.

    The files are read twice, first to find which records count. So no record stays in memory.

    Args:
        paths: the checkpoints.
        read: reads one of them.
    """
    keys = _Keys()
    chosen: dict[Hashable, int] = {}  # by key: the position of a record, negative if it has no final state
    position = 0
    counts = []
    for number, path in enumerate(paths):
        start = position
        for record in read(path):
            position += 1
            key = keys.key_of(record, number)
            if record.is_final:
                chosen[key] = position
            elif chosen.get(key, 0) <= 0:
                chosen[key] = -position
        counts.append(position - start)
    position = 0
    for number, (path, count) in enumerate(zip(paths, counts, strict=True)):
        for record in itertools.islice(read(path), count):  # more may have been written meanwhile
            position += 1
            if abs(chosen[keys.key_of(record, number)]) == position:
                yield record


class _Keys:
    """Tells which records are about the same execution, or about the same task of `run_many`."""

    def __init__(self) -> None:
        self._tasks: dict[str, Hashable] = {}  # by the IDs of their executions

    def key_of(self, record: Record[Any], file_number: int) -> Hashable:
        """Return what all records of an execution or a task have in common.

        Args:
            record: the record.
            file_number: the number of its file. Tags are those of one file.
        """
        if record.tag is None:
            return self._tasks.get(record.execution_id, record.execution_id)
        key = (file_number, record.tag)
        if record.execution_id:
            self._tasks[record.execution_id] = key
        return key
