"""What can go wrong in an audit."""

from __future__ import annotations

import attrs

from truebit_async._text import one_line
from truebit_async.errors import TruebitError


@attrs.define(slots=False, repr=False)
class AuditError(TruebitError):
    """There is no signer, or what was given is no evidence: see `truebit_async.audit`.

    Attributes:
        reason: what is wrong.
    """

    reason: str

    def __str__(self) -> str:
        return f"{'audit' if self.execution_id is None else self._subject}: {one_line(self.reason)}"
