"""Who signed what. The transcripts and invoices were published with the dispatcher's documentation."""

from __future__ import annotations

import copy
import json
import pickle
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from eth_keys.datatypes import PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from truebit_async import Signature, audit
from truebit_async.audit import AuditError, AuditReport, SignatureCheck, Verdict, hash_signer, invoice_signer

PAYLOADS = Path(__file__).parent / "protocol" / "payloads"
HUB = "0xE3AcBBB129F14681C315028dB0A156597fb5058B"
OTHER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
KEY = PrivateKey(b"\x01" * 32)
ADDRESS = KEY.public_key.to_checksum_address()
POINT = KEY.public_key.to_bytes()
HASH = "5a" * 32
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ADDRESS_OF_1 = "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"  # of the private key 1
PRIME = 2**256 - 2**32 - 977
GENERATOR = PrivateKey((1).to_bytes(32, "big")).public_key.to_bytes()


def payload(name: str) -> bytes:
    return (PAYLOADS / f"{name}.json").read_bytes()


def sign(msg_hash: str = HASH, key: PrivateKey = KEY) -> dict[str, Any]:
    made = key.sign_msg_hash(bytes.fromhex(msg_hash))
    return {"v": made.v + 27, "r": f"{made.r:064x}", "s": f"{made.s:064x}"}


def signed(**fields: object) -> dict[str, Any]:
    return {"msgHash": HASH, "signature": sign(), **fields}


def body_of(*messages: dict[str, Any], **fields: object) -> bytes:
    return json.dumps({"transcript": messages, **fields}).encode()


def check_of(message: dict[str, Any], trusted: tuple[str, ...] = ()) -> SignatureCheck:
    (check,) = audit.audit_transcript(body_of(message), trusted).checks
    return check


def sentence(report: AuditReport, beginning: str) -> str | None:
    found = [text for text in report.not_checked if text.startswith(beginning)]
    assert len(found) <= 1
    return found[0] if found else None


# One signature


SIGNATURE = Signature(**sign())


@pytest.mark.parametrize("msg_hash", [HASH, "0x" + HASH, "0X" + HASH.upper()])
@pytest.mark.parametrize("prefix", ["", "0x"])
def test_the_signer_of_a_hash(msg_hash: str, prefix: str) -> None:
    signature = attrs.evolve(SIGNATURE, r=prefix + SIGNATURE.r, s=prefix + SIGNATURE.s.upper())
    assert hash_signer(msg_hash, signature) == ADDRESS


def test_leading_zeros_may_be_missing() -> None:
    for number in range(2000):  # until an r begins with a zero
        msg_hash = f"{number:064x}"
        made = sign(msg_hash)
        if made["r"].startswith("0"):
            assert hash_signer(msg_hash, Signature(made["v"], made["r"].lstrip("0"), made["s"])) == ADDRESS
            return
    raise AssertionError


@pytest.mark.parametrize("msg_hash", ["", "5a", "5a" * 33, "zz" * 32, " " + HASH, HASH + "\n", 7, None])
def test_what_is_no_hash_is_refused(msg_hash: Any) -> None:
    with pytest.raises(AuditError, match="the hash is not 32 bytes in hexadecimal"):
        hash_signer(msg_hash, SIGNATURE)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"v": 26}, "v of the signature is neither 27 nor 28"),
        ({"v": 29}, "v of the signature is neither 27 nor 28"),
        ({"v": 0}, "v of the signature is neither 27 nor 28"),
        ({"v": 2**70}, "v of the signature is neither 27 nor 28"),
        ({"v": True}, "v of the signature is neither 27 nor 28"),
        ({"v": 27.0}, "v of the signature is neither 27 nor 28"),
        ({"r": ""}, "r of the signature is not a number"),
        ({"r": "0x"}, "r of the signature is not a number"),
        ({"r": "-1"}, "r of the signature is not a number"),
        ({"r": "1_0"}, "r of the signature is not a number"),
        ({"r": "٣"}, "r of the signature is not a number"),
        ({"r": "f" * 65}, "r of the signature is not a number"),
        ({"s": 7}, "s of the signature is not a number"),
        ({"r": "0"}, "r of the signature is outside the range"),
        ({"s": "0" * 64}, "s of the signature is outside the range"),
        ({"r": f"{ORDER:064x}"}, "r of the signature is outside the range"),
        ({"s": "f" * 64}, "s of the signature is outside the range"),
        ({"r": "5"}, "no key can have made the signature"),  # no point of the curve has x = 5
    ],
)
def test_what_is_no_signature_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(AuditError, match=reason):
        hash_signer(HASH, attrs.evolve(SIGNATURE, **changes))


def test_the_point_at_infinity_is_no_key() -> None:
    x, y = GENERATOR[:32].hex(), GENERATOR[32:]
    signature = Signature(27 + y[-1] % 2, x, HASH)  # the key would be (s - hash) / r times the generator
    with pytest.raises(AuditError, match="no key can have made"):
        hash_signer(HASH, signature)


# Invoices


def test_the_published_invoices() -> None:
    assert invoice_signer(payload("invoice_api")) == HUB
    assert invoice_signer(payload("invoice_function")) == OTHER
    (check,) = audit.audit_invoice(payload("invoice_api")).checks
    assert check.signed_hash == "4f8a8ce3c6267690a250907798d2ae8cff75b74a05124e10bf4b576dcafaf44c"


def test_white_space_and_the_order_of_keys_do_not_matter_but_values_do() -> None:
    fields = json.loads(payload("invoice_function"))
    assert invoice_signer(json.dumps(dict(reversed(fields.items())), indent=2).encode()) == OTHER
    fields["lineItem"][0]["peak_memory_used"] += 1
    assert invoice_signer(json.dumps(fields).encode()) != OTHER


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "it is not JSON"),
        (b"{}", "there is no accounting_signature"),
        (b'{"accounting_signature": null}', "there is no accounting_signature"),
        (b'{"accounting_signature": "27"}', "accounting_signature is not {v, r, s}"),
        (b'{"accounting_signature": {"v": 27, "r": "1"}}', "accounting_signature is not {v, r, s}"),
        (b'{"accounting_signature": {"v": 27, "r": "1", "s": "0"}}', "s of the signature is outside"),
        (b'{"a": 1, "a": 2}', "a key twice"),
        (b'{"a": 1e999}', "too large for JavaScript"),
    ],
)
def test_what_has_no_signer_is_refused(raw: bytes, reason: str) -> None:
    with pytest.raises(AuditError, match=reason):
        invoice_signer(raw)


@pytest.mark.parametrize(
    ("trusted", "verdict"),
    [
        ([], Verdict.NOT_COMPARED),
        ([HUB], Verdict.AS_EXPECTED),
        ([OTHER, HUB.lower()], Verdict.AS_EXPECTED),
        (["0x" + HUB[2:].upper()], Verdict.AS_EXPECTED),
        (iter([OTHER]), Verdict.DIFFERENT),
    ],
)
@pytest.mark.parametrize("is_read", [True, False])
def test_the_report_on_an_invoice(trusted: Any, verdict: Verdict, is_read: bool) -> None:
    raw = payload("invoice_api")
    report = audit.audit_invoice(audit.read_invoice(raw) if is_read else raw, copy.copy(trusted))
    assert report.verdict is verdict
    assert report.execution_id == "e7e444fa-96c5-45c9-9c65-dd9f8edfdafd"
    assert [(check.where, check.signer, check.claimed_signer) for check in report.checks] == [("root", HUB, None)]
    assert sentence(report, "The form in which an invoice is signed is not documented")
    assert (sentence(report, "No trusted addresses") is not None) is (trusted == [])


@pytest.mark.parametrize(
    ("raw", "verdict", "problem"),
    [
        (b"{}", Verdict.NOT_COMPARED, None),
        (
            b'{"accounting_signature": {"v": 27, "r": "5", "s": "1"}, "a": 1, "a": 2}',
            Verdict.NOT_COMPARED,
            "an object in it has a key twice",
        ),
        (
            b'{"accounting_signature": {"v": 27, "r": "5", "s": "1"}}',
            Verdict.DIFFERENT,
            "no key can have made the signature",
        ),
    ],
)
def test_the_report_on_an_invoice_without_a_signer(raw: bytes, verdict: Verdict, problem: str | None) -> None:
    report = audit.audit_invoice(raw, [HUB])
    assert report.verdict is verdict
    assert [check.problem for check in report.checks] == ([] if problem is None else [problem])
    assert (sentence(report, "There is no signature") is not None) == (problem is None)
    assert (sentence(report, "There is a signature that") is not None) == (problem == "an object in it has a key twice")


# Transcripts


def test_the_published_transcript_of_an_api_task() -> None:
    report = audit.audit_transcript(payload("transcript_api"))
    outer, inner = report.checks
    assert outer == SignatureCheck(
        "transcript[0]",
        "api_task_created",
        "d6f80a07d2998701afeb0cde3aa4954d6525750b53bf12a34d91f7dc51580d9b",
        HUB,
        HUB,
        matches_claim=True,
        is_trusted=None,
        problem=None,
        verdict=Verdict.AS_EXPECTED,
    )
    assert (inner.where, inner.type, inner.signer) == ("transcript[0].message", "dispatch_api_task", HUB)
    assert (inner.claimed_signer, inner.matches_claim) == (None, None)
    assert (report.total_solutions, report.required_solutions) == (None, None)
    assert sentence(report, "The address of the signer is masked") == (
        "The address of the signer is masked: transcript[0].message."
    )
    assert sentence(report, "There is no signature") == "There is no signature: root."
    assert sentence(report, "There is no message of type execution_completed")
    assert sentence(report, "No message tells how many nodes")
    assert report.verdict is Verdict.AS_EXPECTED


def test_the_published_transcripts_of_function_tasks() -> None:
    report = audit.audit_transcript(payload("transcript_function"), [HUB])
    assert [(check.where, check.signer) for check in report.checks] == [("transcript[0].message", HUB)]
    assert (report.total_solutions, report.required_solutions, report.verdict) == (2, 2, Verdict.AS_EXPECTED)
    report = audit.audit_transcript(audit.read_transcript(payload("transcript_nonconsensus")), [HUB])
    assert [check.signer for check in report.checks] == ["0xd70C3454aaD1B7ec660a064d8b1FE5708d898d84"]
    assert (report.total_solutions, report.required_solutions, report.verdict) == (4, 4, Verdict.DIFFERENT)


def test_the_whole_may_be_signed_too() -> None:
    raw = body_of({"type": "execution_completed"}, **signed())
    report = audit.audit_transcript(raw, [ADDRESS])
    assert [(check.where, check.type, check.is_trusted) for check in report.checks] == [("root", None, True)]
    assert sentence(report, "There is no message of type execution_completed") is None


CLAIMS: list[tuple[dict[str, object], str | None, bool | None]] = [
    ({}, None, None),
    ({"publicKey": "04" + POINT.hex()}, ADDRESS, True),
    ({"publicKey": "0x04" + POINT.hex().upper()}, ADDRESS, True),
    ({"publicKey": "04" + GENERATOR.hex(), "senderAddress": ADDRESS}, ADDRESS_OF_1, False),
    ({"senderAddress": ADDRESS.lower()}, ADDRESS.lower(), True),
    ({"publicKey": "04" + POINT.hex(), "senderAddress": OTHER}, OTHER, False),
    ({"publicKey": "04" + POINT.hex(), "senderAddress": ADDRESS}, ADDRESS, True),
    ({"sequencerAddress": ADDRESS}, None, None),  # nothing tells whether the sequencer signs
    ({"publicKey": "", "senderAddress": None}, None, None),
    ({"publicKey": "04" + "11" * 64, "senderAddress": ADDRESS}, ADDRESS, True),  # not on the curve
    ({"publicKey": "04" + "ff" * 64}, None, None),
    ({"publicKey": f"04{PRIME + 1:064x}{pow(8, (PRIME + 1) // 4, PRIME):064x}"}, None, None),  # x = 1 is on the curve
    ({"publicKey": "04**", "senderAddress": "0x" + "*" * 36 + ADDRESS[-4:]}, None, None),
    ({"publicKey": 7, "senderAddress": [ADDRESS]}, None, None),
]  # fmt: skip


@pytest.mark.parametrize(("claim", "claimed", "matches"), CLAIMS)
def test_the_signer_that_the_evidence_names(
    claim: dict[str, object], claimed: str | None, matches: bool | None
) -> None:
    check = check_of(signed(**claim))
    assert (check.signer, check.claimed_signer, check.matches_claim) == (ADDRESS, claimed, matches)
    expected = {None: Verdict.NOT_COMPARED, True: Verdict.AS_EXPECTED, False: Verdict.DIFFERENT}
    assert check.verdict is expected[matches]
    assert check_of(signed(**claim), (ADDRESS,)).verdict is (
        Verdict.DIFFERENT if matches is False else Verdict.AS_EXPECTED
    )
    assert check_of(signed(**claim), (OTHER,)).verdict is Verdict.DIFFERENT


@pytest.mark.parametrize(
    ("fields", "verdict", "problem"),
    [
        ({"signature": "27"}, Verdict.NOT_COMPARED, "the signature is not of the documented form"),
        ({"signature": {}}, Verdict.NOT_COMPARED, "the signature is not of the documented form"),
        ({"signature": sign() | {"v": "27"}}, Verdict.NOT_COMPARED, "the signature is not of the documented form"),
        ({"msgHash": None}, Verdict.NOT_COMPARED, "there is no msgHash that it could be of"),
        ({"msgHash": 7}, Verdict.NOT_COMPARED, "there is no msgHash that it could be of"),
        ({"msgHash": "5a**"}, Verdict.NOT_COMPARED, "the hash or the signature is masked"),
        ({"signature": sign() | {"r": "5a**"}}, Verdict.NOT_COMPARED, "the hash or the signature is masked"),
        ({"signature": sign() | {"s": "5a**"}}, Verdict.NOT_COMPARED, "the hash or the signature is masked"),
        ({"msgHash": "5a"}, Verdict.DIFFERENT, "the hash is not 32 bytes in hexadecimal"),
        ({"signature": sign() | {"v": 29}}, Verdict.DIFFERENT, "v of the signature is neither 27 nor 28"),
    ],
)
def test_a_signature_without_a_signer(fields: dict[str, Any], verdict: Verdict, problem: str) -> None:
    message = signed(type="x", publicKey="04" + POINT.hex()) | fields
    report = audit.audit_transcript(body_of(message), [ADDRESS])
    (check,) = report.checks
    assert (check.signer, check.matches_claim, check.is_trusted) == (None, None, None)
    assert (check.type, check.problem, check.verdict, report.verdict) == ("x", problem, verdict, verdict)
    is_listed = sentence(report, "There is a signature that cannot be checked") is not None
    assert is_listed is (verdict is Verdict.NOT_COMPARED)


def test_one_that_differs_decides() -> None:
    good, bad, unknown = signed(senderAddress=ADDRESS), signed(senderAddress=OTHER), signed()
    assert audit.audit_transcript(body_of(good, bad, unknown)).verdict is Verdict.DIFFERENT
    assert audit.audit_transcript(body_of(good, unknown)).verdict is Verdict.AS_EXPECTED
    assert audit.audit_transcript(body_of(unknown)).verdict is Verdict.NOT_COMPARED
    assert audit.audit_transcript(body_of({}), [ADDRESS]).verdict is Verdict.NOT_COMPARED


def test_what_is_always_said() -> None:
    report = audit.audit_transcript(b"{}", [ADDRESS])
    assert sentence(report, "How a msgHash is made is not documented, so nothing shows that a signed hash belongs to")
    assert "hub" not in repr(report).lower()
    assert "proven" not in repr(report)


def test_a_sentence_names_few_places() -> None:
    report = audit.audit_transcript(body_of(*[{}] * 20))
    places = ", ".join(["root", *(f"transcript[{at}]" for at in range(9))])
    assert sentence(report, "There is no signature") == f"There is no signature: {places} and 11 more."


def test_messages_about_another_execution_are_listed() -> None:
    messages: list[dict[str, Any]] = [
        {"executionId": "other", "message": {"executionId": "id"}},
        {"message": {"executionId": "third"}},
    ]
    report = audit.audit_transcript(body_of(*messages, executionId="id"))
    assert (
        sentence(report, "Another")
        == "Another execution is named, so nothing shows that the part belongs to this one: transcript[0], "
        "transcript[1].message."
    )
    # Without an ID of the whole, the first that is named counts.
    assert str(sentence(audit.audit_transcript(body_of(*messages)), "Another")).endswith(
        "this one: transcript[0].message, transcript[1].message."
    )
    listed = audit.audit_transcript(body_of({"executionId": ["other"]}, executionId="id"))
    assert sentence(listed, "Another") is not None
    assert sentence(audit.audit_transcript(body_of({"executionId": "id"}, executionId="id")), "Another") is None


@pytest.mark.parametrize(
    ("message", "where"),
    [
        ({"message": [{}]}, "transcript[0]"),
        ({"message": "{}"}, "transcript[0]"),
        ({"message": {"message": {}}}, "transcript[0].message"),
        ({"message": {}}, None),
        ({}, None),
    ],
)
def test_an_inner_message_that_is_not_looked_into_is_listed(message: dict[str, Any], where: str | None) -> None:
    found = sentence(audit.audit_transcript(body_of(message)), "There is an inner message")
    assert found == (None if where is None else f"There is an inner message that was not looked into: {where}.")


def test_a_name_that_cannot_be_compared_is_listed_beside_one_that_can() -> None:
    key = "02" + "11" * 32
    message = signed(senderAddress="0x" + "33" * 20, publicKey=key)
    report = audit.audit_transcript(body_of(message))
    assert report.checks[0].claimed_signer == "0x" + "33" * 20
    assert sentence(report, "A name of the signer") is not None


def test_numbers_of_nodes_that_contradict_each_other_are_listed() -> None:
    def asked(total: int, required: int) -> dict[str, Any]:
        return {"econParams": {"totalSolutions": total, "requiredSolutions": required}}

    report = audit.audit_transcript(body_of(asked(9, 9), asked(1, 1)))
    assert (report.total_solutions, report.required_solutions) == (9, 9)
    assert sentence(report, "The messages tell different numbers") is not None
    same = audit.audit_transcript(body_of(asked(3, 2), asked(3, 2)))
    assert sentence(same, "The messages tell different numbers") is None
    impossible = audit.audit_transcript(body_of(asked(-9, 10**18), asked(1, 2)))
    assert impossible.total_solutions is None
    assert sentence(impossible, "No message tells how many") is not None


@pytest.mark.parametrize(
    ("params", "totals"),
    [
        ({"totalSolutions": 3, "requiredSolutions": 2}, (3, 2)),
        ({"totalSolutions": "3", "requiredSolutions": True}, (None, None)),
        ([], (None, None)),
    ],
)
def test_how_many_nodes_took_part(params: object, totals: tuple[int | None, int | None]) -> None:
    report = audit.audit_transcript(body_of({}, {"message": {"econParams": params}}, {"message": {}}))
    assert (report.total_solutions, report.required_solutions) == totals


# Bad arguments


@pytest.mark.parametrize("trusted", ["0x" + "5a" * 20, b"0x", 7, None, [b"0x" + b"5a" * 20], [None]])
def test_what_is_no_iterable_of_str_is_refused(trusted: Any) -> None:
    for call in (audit.audit_transcript, audit.audit_invoice):
        with pytest.raises(TypeError, match=r"^trusted"):
            call(b"{}", trusted)


@pytest.mark.parametrize("address", ["", "5a" * 20, "0x" + "5a" * 19, "0x" + "5a" * 21, "0x" + "zz" * 20, HUB + "\n"])
def test_what_is_no_address_is_refused(address: str) -> None:
    for call in (audit.audit_transcript, audit.audit_invoice):
        with pytest.raises(ValueError, match=r"^trusted"):
            call(b"{}", [HUB, address])


@pytest.mark.parametrize("raw", [b"", b"[]", b"[" * 200, b'{"transcript": 1, "lineItem": 1}', b"\xff"])
@pytest.mark.parametrize(
    "read", [audit.read_transcript, audit.read_invoice, audit.audit_transcript, audit.audit_invoice]
)
def test_bytes_that_are_no_evidence_are_refused(read: Any, raw: bytes) -> None:
    with pytest.raises(AuditError) as caught:
        read(raw)
    assert str(caught.value) == f"audit: {caught.value.reason}"
    assert caught.value.__context__ is None


def test_a_text_is_not_taken_for_bytes() -> None:
    with pytest.raises(TypeError, match="raw must be bytes, not str"):
        audit.read_transcript("{}")  # type: ignore[arg-type]


def test_the_error_names_its_execution_and_pickles() -> None:
    error = AuditError("id", "two\nlines")
    assert str(error) == r"execution 'id': two\nlines"
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301


@pytest.mark.parametrize("missing", ["eth_keys", "Crypto.Hash"])
def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    assert audit.read_transcript(b"{}").messages == ()
    for call in (
        lambda: hash_signer(HASH, SIGNATURE),
        lambda: invoice_signer(payload("invoice_api")),
        lambda: audit.audit_transcript(b"{}"),
        lambda: audit.audit_invoice(b"{}"),
    ):
        with pytest.raises(ImportError, match=r"install the extra .audit."):
            call()


# Anything

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([HASH, "04" + POINT.hex(), ADDRESS, "0x**", "f" * 64, "0" * 64])
)
NAMES = st.sampled_from(
    [
        "type",
        "executionId",
        "message",
        "msgHash",
        "signature",
        "publicKey",
        "senderAddress",
        "v",
        "r",
        "s",
        "econParams",
    ]
)
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5))
SIGNATURES = st.fixed_dictionaries(
    {"v": st.sampled_from([27, 28, 29]) | LEAVES, "r": st.sampled_from([HASH, "1"]) | LEAVES, "s": LEAVES}
)
MESSAGES = st.dictionaries(NAMES, JSON | SIGNATURES, max_size=6)


@settings(max_examples=100)
@given(st.lists(MESSAGES, max_size=3), MESSAGES, st.sampled_from([(), (ADDRESS,)]))
def test_whatever_a_transcript_holds_it_is_audited(
    messages: list[dict[str, Any]], root: dict[str, Any], trusted: tuple[str, ...]
) -> None:
    report = audit.audit_transcript(body_of(*messages, **root), trusted)
    assert isinstance(report.verdict, Verdict)
    assert all((check.signer is None) is (check.problem is not None) for check in report.checks)
