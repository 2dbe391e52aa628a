"""The evidence of a `Simulator`: transcripts and invoices after the published examples, signed by a key of its own.

This module does not share code with the modules that read evidence, so that a mistake in one of them does not hide in
the other. Its hashes of messages are SHA-256 of the compact JSON; how the real dispatcher makes them is not known.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal
from urllib.parse import unquote

import attrs

from truebit_async.testing.replies import Reply

_HUB = "0x" + "5e" * 20  # the sequencer where nothing is signed
_PAYER = "0x" + "9a" * 20
_NODE = "0x" + "5a" * 20
_STEPS = 6839448
_MAX_NODES = 10  # that are named one by one
_MAX_KEY = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364140  # of secp256k1

Document = Literal["transcript", "transcript_by_hash", "invoice"]
Fields = dict[str, Any]
_Parts = tuple[str, Fields | None, Fields]
"""Of a message: its type, the inner message, and more fields."""

_find_execution = re.compile("/task/([^/]+)/(transcript|transcriptInvoice)").fullmatch
_find_hash = re.compile("/task/hash/([^/]+)/transcript").fullmatch


@attrs.frozen
class ExecutionFacts:
    """What evidence tells of an execution.

    Attributes:
        kind: the kind of task.
        execution_id: the execution.
        task: the fields of the submission.
        output: the output; None if there is none.
        created_at: when it was created, in seconds since the epoch.
        bodies: what was sent already. To sign it takes long, and evidence does not change.
    """

    kind: str
    execution_id: str
    task: Mapping[str, Any]
    output: str | Mapping[str, object] | None
    created_at: float = attrs.field(factory=time.time)
    bodies: dict[tuple[str, bool], bytes] = attrs.field(factory=dict)


def evidence_target(path: str) -> tuple[Document, str] | None:
    """Return which document a path asks for, and the decoded ID or hash in it; None if it is another endpoint.

    Args:
        path: the path as it was sent.
    """
    if match := _find_hash(path):
        return "transcript_by_hash", unquote(match[1])
    if match := _find_execution(path):
        return "invoice" if match[2] == "transcriptInvoice" else "transcript", unquote(match[1])
    return None


class EvidenceReplies:
    """Answers requests for evidence.

    Args:
        find: returns what is known of an execution, and whether it is over; None if it is not known.
    """

    def __init__(self, find: Callable[[str], tuple[ExecutionFacts, bool] | None]) -> None:
        self._find = find
        self._scripts: dict[tuple[Document, str], deque[Reply]] = {}
        self._ids: dict[str, str] = {}  # by transcript hash
        self._signer: Signer | None = None
        self._lock = threading.Lock()

    @property
    def signer(self) -> Signer:
        """Signs everything. It is made when it is first asked for, because that takes long."""
        with self._lock:
            if self._signer is None:
                self._signer = Signer()
            return self._signer

    def script(self, document: Document, key: str, replies: Iterable[Reply]) -> None:
        """Answer requests for a document with these replies in order, and then repeat the last one."""
        self._scripts[document, key] = deque(replies)

    async def reply_to(self, document: Document, key: str) -> Reply:
        """Return the reply to a request.

        Args:
            document: which document is asked for.
            key: the execution ID, or the transcript hash.
        """
        if script := self._scripts.get((document, key)):
            return script.popleft() if len(script) > 1 else script[0]
        is_by_hash = document == "transcript_by_hash"
        execution_id = self._ids.get(key.lower().removeprefix("0x")) if is_by_hash else key
        found = None if execution_id is None else self._find(execution_id)
        if found is None or (document == "invoice" and not found[1]):
            return Reply.error(404, f"there is no {document.partition('_')[0]} for {key}")
        return Reply.raw(200, await asyncio.to_thread(self._body, document, *found))

    def _body(self, document: Document, facts: ExecutionFacts, is_over: bool) -> bytes:  # noqa: FBT001
        name = document.partition("_")[0]
        body = facts.bodies.get((name, is_over))
        if body is not None:
            return body
        if name == "invoice":
            fields = invoice_of(facts, self.signer)
        else:
            fields = transcript_of(facts, self.signer, is_over=is_over)
            if is_over:
                self._ids[fields["transcript"][-1]["transcriptHash"]] = facts.execution_id
        body = facts.bodies[name, is_over] = _compact(fields)
        return body


class Signer:
    """Signs with a random key, or not at all if the packages of the extra ``audit`` are missing."""

    def __init__(self) -> None:
        try:
            from Crypto.Hash import keccak  # noqa: PLC0415
            from eth_keys.datatypes import PrivateKey  # noqa: PLC0415
        except ImportError:
            self._key = None
        else:
            self._key = PrivateKey((1 + secrets.randbelow(_MAX_KEY)).to_bytes(32, "big"))
            self._keccak = keccak

    @property
    def address(self) -> str | None:
        """The address of the key; None without one."""
        return None if self._key is None else self._key.public_key.to_checksum_address()

    def sign_message(self, fields: Fields) -> Fields:
        """Return a message with its hash, its signature and the key."""
        digest = hashlib.sha256(_compact(fields)).digest()
        signed = {**fields, "msgHash": digest.hex()}
        if self._key is not None:
            signed["signature"] = self._sign(digest)
            signed["publicKey"] = "04" + self._key.public_key.to_bytes().hex()
        return {**signed, "sequencerAddress": self.address or _HUB}

    def sign_invoice(self, fields: Fields) -> Fields:
        """Return an invoice with its signature."""
        if self._key is None:
            return fields
        # Python and JavaScript write the numbers of these invoices alike.
        digest = self._keccak.new(digest_bits=256, data=_compact(dict(sorted(fields.items())))).digest()
        return {**fields, "accounting_signature": self._sign(digest)}

    def _sign(self, digest: bytes) -> Fields:
        assert self._key is not None  # noqa: S101  # the callers have checked it
        made = self._key.sign_msg_hash(digest)
        return {"v": made.v + 27, "r": f"{made.r:064x}", "s": f"{made.s:064x}"}


def transcript_of(facts: ExecutionFacts, signer: Signer, *, is_over: bool) -> Fields:
    """Return the transcript of an execution, as far as it has come.

    Args:
        facts: what it is about.
        signer: signs it.
        is_over: whether the execution has a final status.
    """
    parts = _api_messages(facts) if facts.kind == "api" else _function_messages(facts)
    messages = [_message(facts, signer, *part) for part in (parts if is_over else parts[:1])]
    if is_over:
        transcript_hash = hashlib.sha256(_compact(messages)).hexdigest()
        messages.append(_message(facts, signer, "execution_completed", None, {"transcriptHash": transcript_hash}))
    whole = {"executionId": facts.execution_id, "transcript": messages, "timestamp": _milliseconds(facts)}
    return signer.sign_message(whole)


def invoice_of(facts: ExecutionFacts, signer: Signer) -> Fields:
    """Return the invoice of an execution.

    Args:
        facts: what it is about.
        signer: signs it.
    """
    if facts.kind == "api":
        work: Fields = {"totalTransferredBytes": {"request": 0, "response": len(_compact(facts.output))}}
        price, nodes = {"byteGasPrice": 0.0002}, 0
    else:
        work = {"total_steps_computed": _STEPS, "peak_memory_used": 17}
        price, nodes = {"stepGasPrice": 0.0005}, facts.task["totalSolutions"]
    charge = {"operation": "charge", "account": _PAYER, **work}
    payment = {"operation": "pay", "account": _NODE, **work}
    invoice = {
        "executionId": facts.execution_id,
        "taskId": _task_id(facts),
        "taskCreated_timeStamp": _milliseconds(facts),
        "invoiceId": str(int(hashlib.sha256(facts.execution_id.encode()).hexdigest()[:16], 16)),
        **price,
        "lineItem": [charge, *[payment] * min(nodes, _MAX_NODES)],
    }
    return signer.sign_invoice(invoice)


def _message(facts: ExecutionFacts, signer: Signer, message_type: str, inner: Fields | None, fields: Fields) -> Fields:
    message = {"type": message_type, "executionId": facts.execution_id, **fields, "timestamp": _milliseconds(facts)}
    if inner is not None:
        message["message"] = signer.sign_message({"executionId": facts.execution_id, **inner})
    return signer.sign_message(message)


def _function_messages(facts: ExecutionFacts) -> list[_Parts]:
    task = facts.task
    total, required = task["totalSolutions"], task["requiredSolutions"]
    timeout = task.get("executionTimeout", 30000)
    created = {
        "type": "dispatch_task",
        "taskId": _task_id(facts),
        "limits": {"gas": "60000000000", "call": "65536", "frame": "524288", "memory": "1024"},
        "econParams": {
            "reward": "0",
            "requiredSolutions": required,
            "totalSolutions": total,
            "executionTimeout": timeout,
        },
        "workers": {"selectionStrategy": "default", "setNodes": [_NODE] * min(total, _MAX_NODES)},
        "input": task["input"],
    }
    outcomes: list[_Parts] = [("node_outcome", {"type": "outcome"}, {})] * min(total, _MAX_NODES)
    revealed = {"type": "solutions", "output": facts.output}
    return [("task_created", created, {}), *outcomes, ("solutions_revealed", revealed, {})]


def _api_messages(facts: ExecutionFacts) -> list[_Parts]:
    created = {
        "type": "dispatch_api_task",
        "taskId": _task_id(facts),
        "executionTimeout": facts.task.get("executionTimeout", 30000),
        "input": facts.task["input"],
    }
    return [("api_task_created", created, {}), ("api_outcome", {"type": "outcome", "output": facts.output}, {})]


def default_task(kind: str) -> Fields:
    """Return the fields of the submission of an execution that was added without one.

    Args:
        kind: the kind of task.
    """
    return {"input": {}} if kind == "api" else {"input": "", "totalSolutions": 1, "requiredSolutions": 1}


def _task_id(facts: ExecutionFacts) -> str:
    name = f"{facts.kind}/{facts.task.get('namespace', '')}/{facts.task.get('taskName', '')}"
    return f"{'api' if facts.kind == 'api' else 'rs'}_{hashlib.sha256(name.encode()).hexdigest()}"


def _milliseconds(facts: ExecutionFacts) -> int:
    return int(facts.created_at * 1000)


def _compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")
