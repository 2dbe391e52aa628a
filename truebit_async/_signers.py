"""Who made a signature: secp256k1 and keccak-256, by the packages of the extra `audit`."""

from __future__ import annotations

import re

from truebit_async._audit_error import AuditError
from truebit_async.models.common import Signature

_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of the group of secp256k1
_PRIME = 2**256 - 2**32 - 977  # of the field of secp256k1
_V_OF_EVEN_Y = 27

_is_hash = re.compile(r"(?:0[xX])?[0-9a-fA-F]{64}").fullmatch
_is_number = re.compile(r"(?:0[xX])?[0-9a-fA-F]{1,64}").fullmatch
_is_point = re.compile(r"(?:0[xX])?04[0-9a-fA-F]{128}").fullmatch
_is_address = re.compile(r"0[xX][0-9a-fA-F]{40}").fullmatch


def check_installed() -> None:
    """Check that the packages of the extra are there.

    Raises:
        ImportError: they are not.
    """
    try:
        import eth_keys  # noqa: F401, PLC0415
        from Crypto.Hash import keccak  # noqa: F401, PLC0415
    except ImportError as error:
        msg = "an audit needs eth-keys and pycryptodome: install the extra `audit`"
        raise ImportError(msg) from error


def keccak_256(data: bytes) -> bytes:
    """Return the keccak-256 of some bytes, which is not SHA3-256."""
    from Crypto.Hash import keccak  # noqa: PLC0415

    return keccak.new(digest_bits=256, data=data).digest()


def recover(digest: bytes, signature: Signature) -> str:
    """Return the address whose key has signed a digest.

    Args:
        digest: 32 bytes.
        signature: the signature of it.

    Raises:
        AuditError: no key can have made it.
    """
    check_installed()
    from eth_keys.datatypes import Signature as Recoverable  # noqa: PLC0415
    from eth_keys.exceptions import BadSignature  # noqa: PLC0415

    r, s = _number("r", signature.r), _number("s", signature.s)
    if type(signature.v) is not int or signature.v not in {_V_OF_EVEN_Y, _V_OF_EVEN_Y + 1}:
        raise AuditError(None, "v of the signature is neither 27 nor 28")
    try:
        recoverable = Recoverable(vrs=(signature.v - _V_OF_EVEN_Y, r, s))
        point = recoverable.recover_public_key_from_msg_hash(digest).to_bytes()
    except BadSignature:
        point = b""
    if not any(point):  # also the point at infinity, which belongs to no key
        raise AuditError(None, "no key can have made the signature")
    return _address_of(point)


def hash_bytes(text: str) -> bytes:
    """Return the 32 bytes of a hash in hexadecimal.

    Raises:
        AuditError: it is not one.
    """
    if not isinstance(text, str) or not _is_hash(text):
        raise AuditError(None, "the hash is not 32 bytes in hexadecimal")
    return bytes.fromhex(text[-64:])


def address_of_key(public_key: object) -> str | None:
    """Return the address of an uncompressed public key in hexadecimal; None if it is not one."""
    if not isinstance(public_key, str) or not _is_point(public_key):
        return None
    x, y = int(public_key[-128:-64], 16), int(public_key[-64:], 16)
    is_on_curve = x < _PRIME and y < _PRIME and (y * y - x**3 - 7) % _PRIME == 0
    return _address_of(bytes.fromhex(public_key[-128:])) if is_on_curve else None


def is_address(text: object) -> bool:
    """Return whether a value is an address in hexadecimal, with ``0x``, and with all of its digits."""
    return isinstance(text, str) and _is_address(text) is not None


def _number(name: str, text: object) -> int:
    if not isinstance(text, str) or not _is_number(text):
        raise AuditError(None, f"{name} of the signature is not a number of at most 64 hexadecimal digits")
    number = int(text, 16)
    if not 0 < number < _ORDER:
        raise AuditError(None, f"{name} of the signature is outside the range of secp256k1")
    return number


def _address_of(point: bytes) -> str:
    """Return the address of a public key, with the upper case letters of EIP-55."""
    digits = keccak_256(point)[-20:].hex()
    case = keccak_256(digits.encode()).hex()
    return "0x" + "".join(
        digit.upper() if nibble >= "8" else digit for digit, nibble in zip(digits, case, strict=False)
    )
