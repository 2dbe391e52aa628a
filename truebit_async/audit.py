"""Who signed what in a transcript or an invoice, offline (extra ``audit``).

An audit tells which addresses have signed, and whether they are those that the evidence names and those that you trust.
It does not prove an output: how a signed hash is made of its message is not documented. Whoever can change a transcript
can also name a key of their own in it, so pass the addresses that you trust.

Each signature takes about 10 ms, or 0.1 ms if the package ``coincurve`` is installed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from truebit_async._audit_error import AuditError
from truebit_async._audit_report import AuditReport, Findings, SignatureCheck, Verdict
from truebit_async._canonical_json import canonical_json, parse_exactly
from truebit_async._protocol.body import explain, parse_json
from truebit_async._protocol.evidence import parse_invoice, parse_transcript, read_signature
from truebit_async._signers import check_installed, hash_bytes, is_address, keccak_256, recover
from truebit_async.models.common import Signature
from truebit_async.models.evidence import COMPLETED, Invoice, Transcript

__all__ = [
    "AuditError",
    "AuditReport",
    "SignatureCheck",
    "Verdict",
    "audit_invoice",
    "audit_transcript",
    "hash_signer",
    "invoice_signer",
    "read_invoice",
    "read_transcript",
]

_HASHES = "How a msgHash is made is not documented, so nothing shows that a signed hash belongs to its message."
_INVOICES = "The form in which an invoice is signed is not documented. It was inferred from published invoices."
_CUT_OFF = f"There is no message of type {COMPLETED}, so the end of the transcript may be missing."
_NO_TOTALS = "No message tells how many nodes were asked, and how many had to agree."
_TOTALS_DIFFER = "The messages tell different numbers of nodes. Those of the first are reported."

EvidenceT = TypeVar("EvidenceT", Transcript, Invoice)


def read_transcript(raw: bytes) -> Transcript:
    """Read a transcript from a file, without the extra ``audit``.

    Args:
        raw: the whole file, as ``raw`` of a transcript.

    Raises:
        AuditError: it is not a transcript.
    """
    return _parse(parse_transcript, raw)


def read_invoice(raw: bytes) -> Invoice:
    """Read an invoice from a file, without the extra ``audit``.

    Args:
        raw: the whole file, as ``raw`` of an invoice.

    Raises:
        AuditError: it is not an invoice.
    """
    return _parse(parse_invoice, raw)


def hash_signer(msg_hash: str, signature: Signature) -> str:
    """Return the address that has signed the hash of a message.

    Args:
        msg_hash: 32 bytes in hexadecimal, with or without ``0x``.
        signature: the signature of them.

    Raises:
        AuditError: the hash or the signature cannot be one.
        ImportError: the extra ``audit`` is not installed.
    """
    return recover(hash_bytes(msg_hash), signature)


def invoice_signer(raw: bytes) -> str:
    """Return the address that has signed an invoice.

    What is signed is the keccak-256 of the invoice without ``accounting_signature``, written as ``JSON.stringify``
    does, with the outermost keys sorted. Any change of a value leads to another address. White space, the form of a
    number, and what else ``accounting_signature`` holds are not signed.

    Args:
        raw: the exact body of the invoice, as ``raw`` of an `Invoice`.

    Raises:
        AuditError: it is not an invoice with a signature, or cannot be written in that form.
        ImportError: the extra ``audit`` is not installed.
    """
    check_installed()
    digest, signature = _signed_invoice(raw)
    return recover(digest, signature)


def audit_transcript(transcript: Transcript | bytes, trusted: Iterable[str] = ()) -> AuditReport:
    """Find out who signed the parts of a transcript: the whole, each message, and each inner message.

    A part names its signer by ``publicKey`` and ``senderAddress``. If it has both, the signer must be both.

    Args:
        transcript: a transcript, or its exact body. Of a `Transcript`, ``raw`` is audited.
        trusted: the addresses that are trusted to sign, those of nodes included; none leaves that out.

    Raises:
        AuditError: the bytes are not a transcript.
        ImportError: the extra ``audit`` is not installed.
        TypeError: ``trusted`` is not an iterable of str.
        ValueError: ``trusted`` has something that is no address.
    """
    check_installed()
    found = Findings(_check_trusted(trusted))
    raw = transcript.raw if isinstance(transcript, Transcript) else transcript
    parsed = read_transcript(raw)
    totals: list[tuple[int, int]] = []
    for where, fields in _parts_of(parsed, found):
        found.check_part(where, fields)
        totals += _totals_of(fields)
    total, required = totals[0] if totals else (None, None)
    sentences = [_HASHES, *found.sentences()]
    if not any(message.type == COMPLETED for message in parsed.messages):
        sentences.append(_CUT_OFF)
    if not totals:
        sentences.append(_NO_TOTALS)
    if len(set(totals)) > 1:
        sentences.append(_TOTALS_DIFFER)
    return AuditReport(parsed.execution_id, tuple(found.checks), total, required, tuple(sentences))


def audit_invoice(invoice: Invoice | bytes, trusted: Iterable[str] = ()) -> AuditReport:
    """Find out who signed an invoice. An invoice does not tell who should have.

    Args:
        invoice: an invoice, or its exact body. Of an `Invoice`, ``raw`` is audited.
        trusted: the addresses that are trusted to sign; none leaves that out.

    Raises:
        AuditError: the bytes are not an invoice.
        ImportError: the extra ``audit`` is not installed.
        TypeError: ``trusted`` is not an iterable of str.
        ValueError: ``trusted`` has something that is no address.
    """
    check_installed()
    found = Findings(_check_trusted(trusted))
    raw = invoice.raw if isinstance(invoice, Invoice) else invoice
    parsed = read_invoice(raw)
    if parse_json(raw).get("accounting_signature") is None:
        found.note_unsigned("root")
    else:
        _check_invoice(raw, found)
    return AuditReport(parsed.execution_id, tuple(found.checks), None, None, (_INVOICES, *found.sentences()))


def _check_invoice(raw: bytes, found: Findings) -> None:
    try:
        digest, signature = _signed_invoice(raw)
    except AuditError as error:
        found.add_unchecked("root", None, None, error.reason)
    else:
        found.add("root", None, digest.hex(), signature, [])


def _parse(parse: Callable[[bytes], EvidenceT], raw: bytes) -> EvidenceT:
    if not isinstance(raw, bytes):
        msg = f"raw must be bytes, not {type(raw).__name__}"
        raise TypeError(msg)
    try:
        return parse(raw)
    except (ValueError, RecursionError) as error:
        problem = explain(error)
    raise AuditError(None, problem)  # not in the block above: a JSONDecodeError holds the whole body


def _parts_of(transcript: Transcript, found: Findings) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "root", parse_json(transcript.raw)
    for at, message in enumerate(transcript.messages):
        where = f"transcript[{at}]"
        yield where, message.fields
        if message.message is not None:
            yield f"{where}.message", message.message
            if message.message.get("message") is not None:
                found.note_unread(f"{where}.message")
        elif message.fields.get("message") is not None:
            found.note_unread(where)


def _totals_of(fields: dict[str, Any]) -> list[tuple[int, int]]:
    """Return how many nodes were asked and how many had to agree, if this part tells both."""
    found = fields.get("econParams")
    if not isinstance(found, dict):
        return []
    total, required = found.get("totalSolutions"), found.get("requiredSolutions")
    if type(total) is int and type(required) is int and 1 <= required <= total:
        return [(total, required)]
    return []


def _signed_invoice(raw: bytes) -> tuple[bytes, Signature]:
    """Return the digest of an invoice, and the signature of it."""
    try:
        fields = parse_exactly(raw)
    except ValueError as error:
        problem = str(error)
    else:
        value = fields.pop("accounting_signature", None)
        signature = read_signature(value)
        if signature is not None:
            return keccak_256(canonical_json(fields)), signature
        problem = "there is no accounting_signature" if value is None else "accounting_signature is not {v, r, s}"
    raise AuditError(None, problem)


def _check_trusted(trusted: Iterable[str]) -> frozenset[str] | None:
    if isinstance(trusted, str | bytes) or not isinstance(trusted, Iterable):
        msg = f"trusted must be an iterable of addresses, not {type(trusted).__name__}"
        raise TypeError(msg)
    addresses = set()
    for address in trusted:
        if not isinstance(address, str):
            msg = f"trusted: each address must be a str, not {type(address).__name__}"
            raise TypeError(msg)
        if not is_address(address):
            msg = f"trusted: each address must be 0x and 40 hexadecimal digits, not {address!r}"
            raise ValueError(msg)
        addresses.add(address.lower())
    return frozenset(addresses) or None
