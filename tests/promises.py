"""What the tests of promises measure with."""

from __future__ import annotations

import contextlib
import gc
import json
import selectors
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import attrs
import pytest

from truebit_async import TruebitSession
from truebit_async.events import Listener

SHARED = (type, types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.MethodDescriptorType)
"""What all outcomes have in common, so that keeping one more costs nothing."""


def listening(listener: Listener) -> dict[str, Any]:
    """Return the arguments of a session that one more listener hears."""
    if "listeners" in (TruebitSession.__init__.__kwdefaults__ or {}):
        return {"listeners": (listener,)}
    return {"listener": listener}


# What an object keeps alive


def kept_by(root: object) -> list[object]:
    """Return all that an object keeps alive, but for what is shared by all code."""
    found: dict[int, object] = {}
    pending = [root]
    while pending:
        kept = pending.pop()
        if id(kept) not in found and not isinstance(kept, SHARED):
            found[id(kept)] = kept
            pending += gc.get_referents(kept)
    return list(found.values())


def check_keeps_little(error: BaseException) -> None:
    """Check that an error keeps no frame, no document and fewer than 4 KiB beside the excerpt of a body."""
    kept = kept_by(error)
    frames = [thing for thing in kept if isinstance(thing, types.FrameType | types.TracebackType)]
    assert not frames, f"{type(error).__name__} keeps {len(frames)} frames and tracebacks"
    documents = [thing for thing in kept if isinstance(thing, json.JSONDecodeError) and thing.doc]
    assert not documents, f"{type(error).__name__} keeps the document that could not be decoded"
    excerpts = sum(sys.getsizeof(thing.body_excerpt) for thing in kept if hasattr(thing, "body_excerpt"))
    size = sum(map(sys.getsizeof, kept)) - excerpts
    assert size < 4096, f"{type(error).__name__} keeps {size} bytes"


# How long the loop is held


@attrs.define
class Stopwatch:
    """CPU seconds of this thread, which other processes of a busy machine do not add to.

    Attributes:
        seconds: in all.
        longest_step: of the longest iteration of the event loop.
    """

    seconds: float = 0.0
    longest_step: float = 0.0


@contextlib.contextmanager
def stopwatch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stopwatch]:
    """Measure what is done meanwhile, without collecting garbage. Every loop that selects is measured."""
    watch = Stopwatch()
    started = step_started = time.thread_time()
    select = selectors.DefaultSelector.select

    def timed_select(self: selectors.BaseSelector, timeout: float | None = None) -> Any:
        nonlocal step_started
        watch.longest_step = max(watch.longest_step, time.thread_time() - step_started)
        try:
            return select(self, timeout)  # type: ignore[arg-type]
        finally:
            step_started = time.thread_time()

    gc.collect()
    gc.disable()
    try:
        with monkeypatch.context() as patch:
            patch.setattr(selectors.DefaultSelector, "select", timed_select)
            started = step_started = time.thread_time()
            yield watch
    finally:
        watch.seconds = time.thread_time() - started
        gc.enable()
