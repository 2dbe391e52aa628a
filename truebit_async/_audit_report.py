"""What an audit finds."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import attrs

from truebit_async._audit_error import AuditError
from truebit_async._protocol.evidence import read_signature
from truebit_async._signers import address_of_key, hash_bytes, is_address, recover
from truebit_async.models.common import Signature

_MAX_PLACES = 10  # that a sentence names
_NOBODY_TRUSTED = "No trusted addresses were given, so anybody may have signed it."
_SENTENCES = {
    "unsigned": "There is no signature",
    "unreadable": "There is a signature that cannot be checked",
    "masked": "The address of the signer is masked",
    "unknown": "A name of the signer is neither a public key nor an address",
    "unnamed": "Nothing tells who should have signed",
    "foreign": "Another execution is named, so nothing shows that the part belongs to this one",
    "unread": "There is an inner message that was not looked into",
}


class Verdict(enum.StrEnum):
    """Whether the signers are the expected ones."""

    AS_EXPECTED = "as expected"
    """Each signer that was compared is the one that the evidence names, and a trusted one if any were given."""
    DIFFERENT = "different"
    """At least one is not, or no key can have made its signature."""
    NOT_COMPARED = "not compared"
    """There was nothing to compare with."""


@attrs.frozen
class SignatureCheck:
    """What a signature tells.

    Attributes:
        where: where it is, such as ``"transcript[0].message"``, or ``"root"``.
        type: the type of the message; None if it has none.
        signed_hash: the hash that is signed, as received, or as made of an invoice; None if there is none.
        signer: the address that has signed it; None if there is a problem.
        claimed_signer: the address that the evidence names; of several, the first that differs. None if it names none
            that can be compared.
        matches_claim: whether both are the same; None if one of them is None.
        is_trusted: whether the signer is a trusted one; None without trusted addresses, or without a signer.
        problem: why no signer was found; None if one was.
        verdict: whether the signer is the expected one.
    """

    where: str
    type: str | None
    signed_hash: str | None
    signer: str | None
    claimed_signer: str | None
    matches_claim: bool | None
    is_trusted: bool | None
    problem: str | None
    verdict: Verdict


@attrs.frozen
class AuditReport:
    """What an audit has found.

    Attributes:
        execution_id: the execution that the evidence names.
        checks: what each signature tells.
        total_solutions: how many nodes were asked, as the transcript tells; None if it does not.
        required_solutions: how many nodes had to agree, as the transcript tells; None if it does not.
        not_checked: what could not be checked, as sentences.
    """

    execution_id: str | None
    checks: tuple[SignatureCheck, ...]
    total_solutions: int | None
    required_solutions: int | None
    not_checked: tuple[str, ...]

    @property
    def verdict(self) -> Verdict:
        """Whether all signers that could be compared are the expected ones. It says nothing of an output."""
        return overall(check.verdict for check in self.checks)


def overall(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of all: one that differs counts most, then one that is as expected."""
    found = set(verdicts)
    return next(
        (verdict for verdict in (Verdict.DIFFERENT, Verdict.AS_EXPECTED) if verdict in found), Verdict.NOT_COMPARED
    )


class Findings:
    """Collects what is found.

    Args:
        trusted: trusted addresses in lower case; None if none were given.
    """

    def __init__(self, trusted: frozenset[str] | None) -> None:
        self._trusted = trusted
        self.checks: list[SignatureCheck] = []
        self._execution_id: str | None = None  # the first that is named
        self._places: dict[str, list[str]] = {name: [] for name in _SENTENCES}

    def check_part(self, where: str, fields: dict[str, Any]) -> None:
        """Check the signature of a part of a transcript, and whether it names the same execution as the first part.

        Args:
            where: where it is.
            fields: the part.
        """
        named = fields.get("executionId")
        if self._execution_id is None and isinstance(named, str):
            self._execution_id = named
        if named is not None and named != self._execution_id:
            self._places["foreign"].append(where)
        message_type, msg_hash, value = fields.get("type"), fields.get("msgHash"), fields.get("signature")
        if value is None:
            self.note_unsigned(where)
            return
        message_type = message_type if isinstance(message_type, str) else None
        signature = read_signature(value)
        if signature is None:
            problem = "the signature is not of the documented form"
        elif not isinstance(msg_hash, str):
            problem = "there is no msgHash that it could be of"
        elif "*" in msg_hash + signature.r + signature.s:
            problem = "the hash or the signature is masked"
        else:
            self.add(where, message_type, msg_hash, signature, self._named_signers(where, fields))
            return
        self.add_unchecked(where, message_type, msg_hash if isinstance(msg_hash, str) else None, problem)

    def add(
        self,
        where: str,
        message_type: str | None,
        signed_hash: str,
        signature: Signature,
        named: Sequence[str],
    ) -> None:
        """Add a signature that can be checked.

        Args:
            where: where it is.
            message_type: the type of the message.
            signed_hash: the hash that is signed, in hexadecimal.
            signature: the signature of it.
            named: the addresses that should have signed.
        """
        signer = matches = is_trusted = problem = None
        claimed = named[0] if named else None
        try:
            signer = recover(hash_bytes(signed_hash), signature)
        except AuditError as error:
            problem = error.reason
        else:
            claimed = next((address for address in named if address.lower() != signer.lower()), claimed)
            matches = None if claimed is None else signer.lower() == claimed.lower()
            is_trusted = None if self._trusted is None else signer.lower() in self._trusted
        if problem is not None or False in (matches, is_trusted):
            verdict = Verdict.DIFFERENT
        else:
            verdict = Verdict.AS_EXPECTED if True in (matches, is_trusted) else Verdict.NOT_COMPARED
        self.checks.append(
            SignatureCheck(where, message_type, signed_hash, signer, claimed, matches, is_trusted, problem, verdict)
        )

    def add_unchecked(self, where: str, message_type: str | None, signed_hash: str | None, problem: str) -> None:
        """Add a signature that cannot be checked because its form or its hash is unusable.

        Args:
            where: where it is.
            message_type: the type of the message.
            signed_hash: the hash to show.
            problem: why.
        """
        self._places["unreadable"].append(where)
        self.checks.append(
            SignatureCheck(
                where, message_type, signed_hash, None, None, None, None, problem, verdict=Verdict.NOT_COMPARED
            )
        )

    def note_unread(self, where: str) -> None:
        """Note that there is an inner message that was not looked into."""
        self._places["unread"].append(where)

    def note_unsigned(self, where: str) -> None:
        """Note that there is no signature."""
        self._places["unsigned"].append(where)

    def sentences(self) -> Iterator[str]:
        """Yield what could not be checked."""
        if self._trusted is None:
            yield _NOBODY_TRUSTED
        for name, places in self._places.items():
            if places:
                more = f" and {len(places) - _MAX_PLACES} more" if len(places) > _MAX_PLACES else ""
                yield f"{_SENTENCES[name]}: {', '.join(places[:_MAX_PLACES])}{more}."

    def _named_signers(self, where: str, fields: dict[str, Any]) -> list[str]:
        """Return the addresses that name the signer and can be compared. If not all can, note why."""
        names = [fields[name] for name in ("publicKey", "senderAddress") if fields.get(name)]
        addresses = [name if is_address(name) else address_of_key(name) for name in names]
        comparable = [address for address in addresses if address is not None]
        if not names or len(comparable) < len(names):
            is_masked = any(isinstance(name, str) and "*" in name for name in names)
            self._places["masked" if is_masked else "unknown" if names else "unnamed"].append(where)
        return comparable
