"""Processes in which every run of an experiment gives the same figures.

A `LearnedWait` draws from the hash of an execution ID. The hash of a text is another one in each process, unless
``PYTHONHASHSEED`` is set. In these processes it is 0.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

_NAME = "PYTHONHASHSEED"


@contextmanager
def alike_processes() -> Iterator[ProcessPoolExecutor]:
    """Start processes, one for each core, when they are needed."""
    before = os.environ.get(_NAME)
    os.environ[_NAME] = "0"  # they inherit it
    try:
        with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as processes:
            yield processes
    finally:
        if before is None:
            del os.environ[_NAME]
        else:
            os.environ[_NAME] = before
