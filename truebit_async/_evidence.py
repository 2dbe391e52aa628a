"""What a session does to fetch transcripts and invoices."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from truebit_async._exchange import Exchange, failure_at_deadline
from truebit_async._protocol.evidence import (
    check_transcript_hash,
    invoice_request,
    read_invoice,
    read_transcript,
    read_transcript_by_hash,
    transcript_by_hash_request,
    transcript_request,
)
from truebit_async._protocol.ids import check_execution_id
from truebit_async._protocol.messages import Request, Response
from truebit_async._scheduler.poller import Poller
from truebit_async._scheduler.source import Source
from truebit_async._transport import Transport
from truebit_async.errors import TruebitError, VerificationTimeoutError
from truebit_async.models.evidence import Invoice, Transcript
from truebit_async.policy import PollPolicy

EvidenceT = TypeVar("EvidenceT", Transcript, Invoice)


class Evidence:
    """Fetches transcripts and invoices, of executions of any kind.

    Args:
        transport: sends the requests.
        poller: schedules them.
        policy: their budgets.
    """

    def __init__(self, transport: Transport, poller: Poller, policy: PollPolicy) -> None:
        self._transport = transport
        self._poller = poller
        self._policy = policy

    async def transcript(self, execution_id: str) -> Transcript:
        """Fetch the transcript of an execution: see `TruebitSession.get_transcript`."""
        check_execution_id(execution_id)
        return await self._get(transcript_request, read_transcript, execution_id, execution_id)

    async def transcript_by_hash(self, transcript_hash: str) -> Transcript:
        """Fetch the transcript that has a hash: see `TruebitSession.get_transcript_by_hash`."""
        check_transcript_hash(transcript_hash)
        return await self._get(transcript_by_hash_request, read_transcript_by_hash, transcript_hash, None)

    async def invoice(self, execution_id: str) -> Invoice:
        """Fetch the invoice of an execution: see `TruebitSession.get_invoice`."""
        check_execution_id(execution_id)
        return await self._get(invoice_request, read_invoice, execution_id, execution_id)

    async def _get(
        self,
        request: Callable[[str], Request],
        read: Callable[[str, Response, float], EvidenceT],
        wanted: str,
        execution_id: str | None,
    ) -> EvidenceT:
        exchange = Exchange(self._transport, self._poller, request, read)
        source = Source("", exchange.fetch, lambda _: True, has_events=False)
        try:
            return await self._poller.get_state(source, wanted, self._policy)
        except VerificationTimeoutError as error:
            failure = failure_at_deadline(error, execution_id, "before there was a response")
        except TruebitError as error:
            failure = error
        failure.execution_id, failure.kind = execution_id, None  # the scheduler has names for what is no execution
        raise failure
