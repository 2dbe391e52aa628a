"""Everything that can go wrong, as one tree.

::

    TruebitError
    ├─ InvalidExecutionIdError (ValueError)   the ID cannot be one; no request was sent
    ├─ ApiError                               the dispatcher answered with an error status
    │  ├─ BadRequestError                     400
    │  ├─ AuthenticationError                 401, 403
    │  ├─ PaymentRequiredError                402
    │  ├─ ExecutionNotFoundError              404
    │  ├─ RateLimitedError                    429
    │  └─ ServerError                         5xx
    ├─ UnexpectedResponseError                the response is not one the API documents
    │  ├─ DecodeError                         not JSON, or not the documented shape
    │  ├─ UnknownStatusError                  the status is missing or not documented
    │  ├─ ExecutionIdMismatchError            the reply does not name the execution asked for
    │  ├─ ResponseTooLargeError               the body exceeded max_response_bytes
    │  └─ RedirectError                       redirects are never followed
    ├─ TransportError                         no response, or one that was cut off
    │  ├─ RequestTimeoutError (TimeoutError)  one exchange ran past request_timeout
    │  └─ SubmissionUncertainError            nobody knows whether a submission has arrived
    ├─ VerificationTimeoutError (TimeoutError)  the deadline of the whole wait passed
    ├─ VerificationFailedError                there is no verified success
    │  ├─ StillRunningError                   the status is Running
    │  ├─ IndeterminateError                  verificationStatus Indeterminate
    │  └─ ExecutionFailedError                Error, or a Success with a failed run
    ├─ MissingApiKeyError, SubmissionLimitError  no request was sent
    ├─ SessionClosedError                     the session was closed
    └─ CheckpointError, NoFinalStateError, AuditError  of checkpoints and audits

Every error has an ``execution_id``, a ``kind`` and ``may_have_run``. Its text is one line: what happened, to which
execution, what to do. Text from a server is quoted with escapes. All errors pickle and copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs

from truebit_async._text import one_line, shortened

if TYPE_CHECKING:
    from truebit_async.models import AnyExecution

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BadRequestError",
    "DecodeError",
    "ExecutionFailedError",
    "ExecutionIdMismatchError",
    "ExecutionNotFoundError",
    "IndeterminateError",
    "InvalidExecutionIdError",
    "MissingApiKeyError",
    "PaymentRequiredError",
    "RateLimitedError",
    "RedirectError",
    "RequestTimeoutError",
    "ResponseTooLargeError",
    "ServerError",
    "SessionClosedError",
    "StillRunningError",
    "SubmissionLimitError",
    "SubmissionUncertainError",
    "TransportError",
    "TruebitError",
    "UnexpectedResponseError",
    "UnknownStatusError",
    "VerificationFailedError",
    "VerificationTimeoutError",
]


@attrs.define(slots=False, repr=False)  # a class with slots cannot also derive from a builtin exception with a layout
class TruebitError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        execution_id: the execution it is about; None when it is about none.
        kind: the kind of task of that execution, such as ``"function"``; None when it is about none, or not known.
        may_have_run: whether it ended a submission whose task may run, and be billed, all the same.
        hint: what to do about it, unless the task may run.
    """

    execution_id: str | None
    kind: str | None = attrs.field(default=None, kw_only=True)
    may_have_run: bool = attrs.field(default=False, kw_only=True)
    hint: ClassVar[str] = ""
    _what: ClassVar[str] = "something went wrong"

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed a little later; a wait then goes on polling."""
        return False

    @property
    def _subject(self) -> str:
        return f"execution {self.execution_id!r}" if self.execution_id else "submission" if self.kind else "request"

    @property
    def _way_out(self) -> str:
        """What to do."""
        uncertain = "The task may run, and be billed; submit it again only if it may run twice."
        return uncertain if self.may_have_run else self.hint

    def __str__(self) -> str:
        return f"{self._subject}: {self._what}. {self._way_out}"

    def __repr__(self) -> str:
        fields = (f"{field.name}={getattr(self, field.name)!r}" for field in attrs.fields(type(self)))
        return f"{type(self).__name__}({', '.join(fields)})"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).__new__, (type(self),), self.__dict__  # BaseException would pass all fields by position


@attrs.define(slots=False, repr=False)
class InvalidExecutionIdError(TruebitError, ValueError):
    """The value cannot be an execution ID, so no request was sent.

    Attributes:
        reason: what is wrong with it.
    """

    reason: str
    hint = "Pass the executionId that submit() or the API's execute call returned."

    def __str__(self) -> str:
        return f"{shortened(self.execution_id)} is not an execution ID: {self.reason}. {self.hint}"


@attrs.define(slots=False, repr=False)
class ApiError(TruebitError):
    """The dispatcher answered with an error status.

    Attributes:
        status: the HTTP status code, 400 to 599.
        message: the ``message`` of the documented error body, at most 1,024 characters; None without one.
        retry_after: seconds the server asks to wait (its ``Retry-After``); None when it does not say.
        request_id: the ``X-Request-Id`` header of the response, for a report to the operator; None without one.
    """

    status: int
    message: str | None = None
    retry_after: float | None = None
    request_id: str | None = None
    hint = "See the message; the request itself may be wrong."

    @property
    def is_transient(self) -> bool:
        """True for 408, 429 and every 5xx, unless the task of a submission may have run."""
        return (self.status in (408, 429) or self.status >= 500) and not self.may_have_run

    @property
    def requested_pause(self) -> float:
        """Seconds for which the server asked for no requests at all (``retry_after`` of a 429 or 503); otherwise 0."""
        return (self.retry_after or 0.0) if self.status in (429, 503) else 0.0

    def __str__(self) -> str:
        said = f" ({self.message!r})" if self.message else ""
        retry_after = "" if self.retry_after is None else f", retry after {self.retry_after:g} s"
        request = f" Request ID: {self.request_id!r}." if self.request_id else ""
        return f"{self._subject}: the dispatcher answered {self.status}{said}{retry_after}. {self._way_out}{request}"


class BadRequestError(ApiError):
    """400: the dispatcher does not accept the request."""

    hint = "Check the execution ID, or the name, the kind and the fields of the task, and the base URL."


class AuthenticationError(ApiError):
    """401 or 403: the API key is missing, wrong, or not allowed to see this execution."""

    hint = "Check the API key: pass api_key=... or set TRUEBIT_API_KEY."


class PaymentRequiredError(ApiError):
    """402: the account has no credit."""

    hint = "Top up the account the API key belongs to."


class ExecutionNotFoundError(ApiError):
    """404: the dispatcher does not know the execution, its evidence, or the task."""

    hint = "Check the ID, the kind of task, and whether it ended. A wait may allow PollPolicy(not_found_grace=SECONDS)."


class RateLimitedError(ApiError):
    """429: too many requests."""

    hint = "Poll less: lower max_rate or max_concurrency, or give PollPolicy a longer wait."


class ServerError(ApiError):
    """5xx: the dispatcher, or something in front of it, failed."""

    hint = "The server may recover: try later, or allow more PollPolicy(max_consecutive_errors=...)."


@attrs.define(slots=False, repr=False)
class UnexpectedResponseError(TruebitError):
    """The response is not one the API documents.

    Attributes:
        status: the HTTP status code.
        detail: what is wrong with the response.
        body_excerpt: the beginning of the body, at most 1 KiB; bytes that are not UTF-8 show as U+FFFD.
    """

    status: int
    detail: str
    body_excerpt: str
    hint = "Is the base URL that of a dispatcher? If so, report this to truebit_async."

    def __str__(self) -> str:
        body = f" The body begins {self.body_excerpt[:200]!r}." if self.body_excerpt else ""
        return f"{self._subject}: unexpected response with status {self.status}: {self.detail}. {self._way_out}{body}"


class DecodeError(UnexpectedResponseError):
    """The body is not JSON, or not the documented shape."""


@attrs.define(slots=False, repr=False)
class UnknownStatusError(UnexpectedResponseError):
    """The status is missing, or is not one the API documents.

    Attributes:
        received_status: what was there, at most 1,024 characters; None when nothing was.
    """

    received_status: str | None
    hint = "A newer API may know it: update truebit_async, or set PollPolicy(unknown_status='keep_waiting')."


@attrs.define(slots=False, repr=False)
class ExecutionIdMismatchError(UnexpectedResponseError):
    """The reply does not name the execution that was asked for, so it was refused.

    Attributes:
        received_id: the ``executionId`` of the reply, at most 1,024 characters; None if a final reply has none.
    """

    received_id: str | None
    hint = "A cache or proxy on the way may mix up responses."


@attrs.define(slots=False, repr=False)
class ResponseTooLargeError(UnexpectedResponseError):
    """The body, after decompression, exceeded ``max_response_bytes``; the rest was not read.

    Attributes:
        max_response_bytes: the limit, in bytes. That of transcripts and invoices is fixed.
    """

    max_response_bytes: int
    hint = "If such an output is expected, raise max_response_bytes of the session (evidence has a fixed limit)."


@attrs.define(slots=False, repr=False)
class RedirectError(UnexpectedResponseError):
    """The dispatcher answered with a redirect, which is never followed: the API key would travel along.

    Attributes:
        location: the ``Location`` header, at most 1,024 characters; None without one.
    """

    location: str | None
    hint = "If the new address is to be trusted, make it the base_url."


@attrs.define(slots=False, repr=False)
class TransportError(TruebitError):
    """There was no response: DNS, connect, TLS, reset, or a body that broke off. The cause is in ``__cause__``.

    Attributes:
        detail: what failed.
        connection_was_stale: whether a used connection broke, or sent what is not HTTP, in place of this response.
    """

    detail: str
    connection_was_stale: bool = attrs.field(default=False, kw_only=True)
    hint = "Check the base URL and the network."
    _prefix: ClassVar[str] = "no response: "

    @property
    def is_transient(self) -> bool:
        """True, since the network may recover, unless the task of a submission may have run."""
        return not self.may_have_run

    def __str__(self) -> str:
        return f"{self._subject}: {self._prefix}{one_line(self.detail)}. {self._way_out}"


@attrs.define(slots=False, repr=False)
class RequestTimeoutError(TransportError, TimeoutError):
    """One exchange, from connect to a response that is read, ran past ``PollPolicy.request_timeout``.

    Attributes:
        request_timeout: the limit, in seconds.
    """

    request_timeout: float
    hint = "Check the network and the load of this process, or raise PollPolicy(request_timeout=...)."
    _prefix = ""


class SubmissionUncertainError(TransportError):
    """A submission may have been sent, and no response came. It may have arrived, so it is not repeated."""

    _prefix = "it may have arrived: "


@attrs.define(slots=False, repr=False)
class VerificationTimeoutError(TruebitError, TimeoutError):
    """The deadline of the whole wait passed without a final state. The execution may still finish: wait again.

    Attributes:
        deadline: the budget that ran out, in seconds (``PollPolicy.deadline``).
        last_execution: the last state seen; None when no poll got one.
        last_error: the last failed poll; None when none failed. Also the ``__cause__``.
        polls: how many polls were answered or failed.
        elapsed: seconds since the wait began.
    """

    deadline: float
    last_execution: AnyExecution[object] | None
    last_error: TruebitError | None
    polls: int
    elapsed: float
    hint = "Wait again with the same ID, or allow a longer deadline."

    def __str__(self) -> str:
        state = self.last_execution
        last = "its status was never seen" if state is None else f"last seen {state.status.value}"
        failed = f", last failure: {self.last_error}" if self.last_error is not None else ""
        seen = f"(polls: {self.polls}, {last}{failed})"
        return f"{self._subject}: not verified within the deadline of {self.deadline:g} s {seen}. {self.hint}"


@attrs.define(slots=False, repr=False)
class VerificationFailedError(TruebitError):
    """There is no verified success.

    Attributes:
        execution: the state.
        detail: what is wrong with it.
    """

    execution: AnyExecution[object]
    detail: str

    def __str__(self) -> str:
        return f"{self._subject} {one_line(self.detail)}. {self.hint}"


class StillRunningError(VerificationFailedError):
    """The status is Running: there is no final state yet."""

    hint = "Use wait_for_verification() to wait for its final state."


class IndeterminateError(VerificationFailedError):
    """verificationStatus is Indeterminate: the nodes reached no consensus."""

    hint = "Submit it again, with a larger limit or fewer required solutions."


class ExecutionFailedError(VerificationFailedError):
    """The status is Error, or a Success says that the run failed."""

    hint = "Check the task and its input, then submit it again."


class MissingApiKeyError(TruebitError):
    """A submission needs an API key, and the session has none. No request was sent."""

    hint = "Pass api_key=... to the session, or set TRUEBIT_API_KEY."
    _what = "it needs an API key"


class SubmissionLimitError(TruebitError):
    """``max_submissions`` of `run_many` was reached before this task. It was not submitted."""

    hint = "Raise the limit, and resume the batch."
    _what = "max_submissions was reached before it"


class SessionClosedError(TruebitError):
    """The session was closed before or during the call."""

    hint = "Open a new TruebitSession, and close it only after its waits."
    _what = "the session is closed"
