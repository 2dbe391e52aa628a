"""The last record of each execution in one or more checkpoints."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

from truebit_async._checkpoint_lines import Record

_NO_FINAL_STATE = 2**62
"""Lowers the rank of a record without a final state below that of any record with one."""


def latest_records(paths: Sequence[str], read: Callable[[str], Iterator[Record[Any]]]) -> Iterator[Record[Any]]:
    """Yield one record for each execution: the last one with a final state, or else the last one.

    The files are read twice, first to find which records count. So no record stays in memory.

    Args:
        paths: the checkpoints.
        read: reads one of them.
    """
    lengths = [0 for _ in paths]
    best: dict[Hashable, int] = {}  # the highest rank among the records of each execution, by its key
    tasks: dict[str, Hashable] = {}  # the keys of executions that `run_many` has submitted, by their IDs

    def ranked(stops: Sequence[int | None]) -> Iterator[tuple[int, Record[Any], Hashable, int]]:
        positions = itertools.count()
        for number, (path, stop) in enumerate(zip(paths, stops, strict=True)):
            for record in itertools.islice(read(path), stop):
                key: Hashable = record.execution_id if record.tag is None else (number, record.tag)
                rank = next(positions) - (0 if record.is_final else _NO_FINAL_STATE)
                yield number, record, key, rank

    for number, record, key, rank in ranked([None for _ in paths]):
        lengths[number] += 1
        best[key] = max(rank, best.get(key, rank))
        if record.tag is not None and record.execution_id:
            tasks[record.execution_id] = key
    for execution_id, key in tasks.items():  # it may have records without a tag, too
        best[key] = max(best[key], best.get(execution_id, best[key]))
    for _, record, key, rank in ranked(lengths):  # more may have been written meanwhile
        if rank == best[tasks.get(record.execution_id, key) if record.tag is None else key]:
            yield record
