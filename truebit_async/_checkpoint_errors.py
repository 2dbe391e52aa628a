"""What can go wrong with a checkpoint."""

from __future__ import annotations

import attrs

from truebit_async._text import one_line
from truebit_async.errors import TruebitError


@attrs.define(slots=False, repr=False)
class CheckpointError(TruebitError):
    """A checkpoint file cannot be used: see `truebit_async.checkpoint`.

    Attributes:
        path: the file.
        detail: what is wrong with it, and what to do.
    """

    path: str
    detail: str

    def __str__(self) -> str:
        return f"checkpoint {one_line(self.path)}: {one_line(self.detail)}"


@attrs.frozen
class RecordedError:
    """What a line keeps of an error.

    Attributes:
        type: the name of its class.
        message: its text.
    """

    type: str
    message: str


@attrs.define(slots=False, repr=False)
class NoFinalStateError(TruebitError):
    """The checkpoint holds no final state for the execution: the wait that it records ended with an error.

    Attributes:
        error: what the line keeps of that error.
    """

    error: RecordedError

    def __str__(self) -> str:
        recorded = f"{self.error.type} ({self.error.message!r})"
        return f"{self._subject}: the checkpoint holds no final state: {recorded}. Resume the batch."
