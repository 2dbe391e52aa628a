"""Whether the dispatcher can be reached, for messages while a batch runs."""

from __future__ import annotations

from truebit_async.errors import RequestTimeoutError, TransportError, TruebitError

_FAILURES_BEFORE_MESSAGE = 3  # in a row; a single connection may break


class ConnectionState:
    """Notices when requests get no response any more, and when they do again.

    Attributes:
        lost_at: the time of the first in the current series of failed requests, in seconds; None while the dispatcher
            answers, or while too few requests have failed.
    """

    def __init__(self) -> None:
        self.lost_at: float | None = None
        self._failures = 0
        self._first_at = 0.0

    def take(self, error: TruebitError | None, now: float) -> str | None:
        """Take the result of a request, and return a message if that changes the state.

        Args:
            error: why the request failed; None if it did not.
            now: the time, in seconds.
        """
        if not isinstance(error, TransportError):
            self._failures = 0
            if self.lost_at is None:
                return None
            seconds, self.lost_at = now - self.lost_at, None
            return f"the dispatcher answers again, after {seconds:.0f} s"
        if self._failures == 0:
            self._first_at = now
        self._failures += 1
        if self._failures < _FAILURES_BEFORE_MESSAGE or self.lost_at is not None:
            return None
        self.lost_at = self._first_at
        detail = "requests take too long" if isinstance(error, RequestTimeoutError) else error.detail
        return f"no response from the dispatcher: {detail}; the command keeps trying"
