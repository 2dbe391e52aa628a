"""What the scheduler polls."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Generic, Protocol, TypeVar

import attrs

ResultT = TypeVar("ResultT")
ResultT_co = TypeVar("ResultT_co", covariant=True)


class Fetch(Protocol[ResultT_co]):
    """Makes one exchange."""

    def __call__(
        self, execution_id: str, request_timeout: float, /, *, on_new_connection: bool
    ) -> Coroutine[object, object, ResultT_co]:
        """Fetch the state of an execution.

        Args:
            execution_id: a checked execution ID.
            request_timeout: limit of the exchange and of reading its response, in seconds.
            on_new_connection: whether to open a connection for it.

        Raises:
            TruebitError: there is no result.
        """


@attrs.frozen(eq=False)
class Source(Generic[ResultT]):
    """Fetches results for the executions of one kind of task.

    A source and an execution ID are a *target*. Waiters for the same target share its requests.

    Attributes:
        kind: the kind of task, such as ``"function"``; empty if it is about executions of any kind.
        fetch: makes one exchange.
        is_final: whether a result ends a wait.
        has_events: whether listeners hear of its requests.
    """

    kind: str
    fetch: Fetch[ResultT]
    is_final: Callable[[ResultT], bool]
    has_events: bool = True


Target = tuple[Source[Any], str]
"""A source and an execution ID."""
