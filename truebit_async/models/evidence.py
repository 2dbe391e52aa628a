"""What a dispatcher tells of the history and the price of an execution, as frozen attrs classes.

The fields mirror the published transcripts and invoices in snake_case. No document lists all fields of all messages. So
a field that is absent, or not what the documents show, is None here, and ``raw`` keeps what was received.
"""

from __future__ import annotations

import attrs

from truebit_async._text import shortened
from truebit_async.models.apis import TransferredBytes
from truebit_async.models.common import Signature

__all__ = ["Invoice", "LineItem", "Transcript", "TranscriptMessage"]

COMPLETED = "execution_completed"
"""The type of the last message of a transcript."""


@attrs.frozen
class TranscriptMessage:
    """A message of a transcript. Its repr shows only its type and its ID: a message holds the input of the task.

    Attributes:
        type: what it tells, such as ``"task_created"``. Any type is kept.
        execution_id: the execution that it names.
        message: the inner message, a JSON object.
        msg_hash: the hash that is signed. How it is made is not documented.
        signature: the signature of it.
        public_key: the key of the signer, an uncompressed point of secp256k1 in hexadecimal.
        sequencer_address: the address of the sequencer.
        timestamp: when it was made. Its unit is not documented.
        fields: the whole message as it was received, a JSON object.
    """

    type: str | None = attrs.field(default=None, repr=shortened)
    execution_id: str | None = attrs.field(default=None, repr=shortened)
    message: dict[str, object] | None = attrs.field(default=None, repr=False, hash=False)
    msg_hash: str | None = attrs.field(default=None, repr=False)
    signature: Signature | None = attrs.field(default=None, repr=False)
    public_key: str | None = attrs.field(default=None, repr=False)
    sequencer_address: str | None = attrs.field(default=None, repr=False)
    timestamp: int | None = attrs.field(default=None, repr=False)
    fields: dict[str, object] = attrs.field(factory=dict, repr=False, hash=False)


def _types_of(messages: tuple[TranscriptMessage, ...]) -> str:
    return f"<{len(messages)}: {shortened([message.type for message in messages[:10]])}>"


@attrs.frozen
class Transcript:
    """The messages about one execution: see ``TruebitSession.get_transcript``.

    Its repr shows only types and IDs. ``messages`` and ``raw`` hold the input of the task, secrets included.

    Attributes:
        execution_id: the execution that it names.
        messages: the messages, in the order received.
        timestamp: when it was made. Its unit is not documented.
        msg_hash: the hash that is signed. How it is made is not documented.
        signature: the signature of it.
        raw: the exact body, decompressed.
    """

    execution_id: str | None = attrs.field(repr=shortened)
    messages: tuple[TranscriptMessage, ...] = attrs.field(repr=_types_of)
    timestamp: int | None = attrs.field(repr=False)
    msg_hash: str | None = attrs.field(repr=False)
    signature: Signature | None = attrs.field(repr=False)
    raw: bytes = attrs.field(repr=False)

    @property
    def hash(self) -> str | None:
        """The ``transcriptHash`` of the message of type ``execution_completed``; None if there is none."""
        for message in self.messages:
            if message.type == COMPLETED:
                for fields in (message.fields, message.message or {}):
                    if isinstance(value := fields.get("transcriptHash"), str):
                        return value
        return None


@attrs.frozen
class LineItem:
    """An item of an invoice.

    Attributes:
        operation: what happens to the account. The API's schema has Pay, Charge and Penalty, its examples are in lower
            case.
        account: the address of the account.
        total_steps_computed: how many steps a function task took.
        peak_memory_used: how much memory it used. The unit is not documented.
        total_transferred_bytes: the traffic of an API task.
    """

    operation: str | None = None
    account: str | None = None
    total_steps_computed: int | None = None
    peak_memory_used: int | None = None
    total_transferred_bytes: TransferredBytes | None = None


@attrs.frozen
class Invoice:
    """What an execution costs, and who gets it: see ``TruebitSession.get_invoice``.

    Attributes:
        execution_id: the execution that it names.
        task_id: the task.
        task_created_time_stamp: when the task was created, in milliseconds since the epoch.
        invoice_id: the number of the invoice, in decimal digits.
        step_gas_price: the price per step of a function task. The currency is not documented.
        byte_gas_price: the price per byte of an API task. The currency is not documented.
        accounting_signature: the signature of the invoice: see ``truebit_async.audit.invoice_signer``.
        line_items: the items, in the order received.
        raw: the exact body, decompressed.
    """

    execution_id: str | None
    task_id: str | None
    task_created_time_stamp: int | None
    invoice_id: str | None
    step_gas_price: float | None
    byte_gas_price: float | None
    accounting_signature: Signature | None
    line_items: tuple[LineItem, ...]
    raw: bytes = attrs.field(repr=False)
