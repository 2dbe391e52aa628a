"""Strikes a secret out of what a server sent, in every form in which JSON, `repr` or a URL can write it."""

from __future__ import annotations

import codecs
import re

from multidict import CIMultiDict

from truebit_async._protocol.messages import Response

_MARK = "***"
_MIN_PARTIAL = 8  # characters; a shorter secret without its ends would be found in ordinary text
_MAX_BACKSLASHES = 4  # in front of a character; the `repr` of a `repr` of JSON has as many
_LONGEST_FORM = _MAX_BACKSLASHES + len("u0041")
_PIECE = 2**14  # bytes that are searched in one go, so that other threads get their turn in between


class Redactor:
    """Strikes out a secret, also without its first character, its last, or both, unless it is short.

    A server or a log may cut it off, and what is left would still give it away.

    Args:
        secret: printable ASCII characters without spaces.
    """

    def __init__(self, secret: str) -> None:
        has_partial_forms = len(secret) >= _MIN_PARTIAL
        parts = re.findall(r"\\+|.", secret)
        ends = {0, len(parts) - 1} if has_partial_forms else set()
        pattern = "".join(_forms(part, missing=1 if at in ends else 0) for at, part in enumerate(parts))
        self._text = re.compile(pattern)
        self._bytes = re.compile(pattern.encode("ascii"))
        self._longest = len(secret) * _LONGEST_FORM
        # What neither a `repr` nor a URL writes differently. Bytes without it need no slow search.
        core = secret[1:-1] if has_partial_forms else secret
        self._plain_part = max(re.findall(r"[\w.~-]*", core, re.ASCII), key=len).encode("ascii")

    def is_in(self, text: str) -> bool:
        """Return whether a text holds the secret."""
        return self._text.search(text) is not None

    def redact(self, text: str) -> str:
        """Return a text without the secret."""
        return self._text.sub(_MARK, text)

    def redact_response(self, response: Response) -> Response:
        """Return a response without the secret in its headers and body; the same one if it is not in it."""
        headers = CIMultiDict((name, self.redact(value)) for name, value in response.headers.items())
        body = self._redact_body(response.body)
        if body is response.body and headers == response.headers:
            return response
        return Response(response.status, headers, body)

    def _redact_body(self, body: bytes | bytearray) -> bytes | bytearray:
        redacted = bytearray()
        kept_from = start = 0
        while start < len(body):
            end = start + _PIECE
            if self._may_be_in(body[start : end + self._longest]):
                while (match := self._bytes.search(body, start, end + self._longest)) and match.start() < end:
                    redacted += body[kept_from : match.start()]
                    redacted += _MARK.encode()
                    kept_from = start = match.end()
            start = max(start, end)
        return redacted + body[kept_from:] if kept_from else body

    def _may_be_in(self, piece: bytes | bytearray) -> bool:
        piece = piece.translate(None, b"\\")
        if self._plain_part in piece:
            return True
        if b"u00" not in piece:
            return False
        text, _ = codecs.raw_unicode_escape_decode(piece.replace(b"u00", rb"\u00"), "ignore")
        return self._plain_part.decode("ascii") in text


def _forms(part: str, *, missing: int) -> str:
    r"""Return a pattern of all forms of a character, or of a row of backslashes.

    The forms are: as it is, ``\u0041``, ``%41``, and with backslashes in front. A row is one part, because a pattern of
    as many parts could match in so many ways that a search would not end.

    Args:
        part: the character, or the row.
        missing: how many characters at its end may be missing.
    """
    char, count = part[0], len(part)
    code = "".join(f"[{digit}{digit.upper()}]" for digit in f"{ord(char):02x}")
    form = f"(?:{re.escape(char)}|u00{code}|%{code})"
    if char == "\\":
        return f"{form}{{{count - missing},{count * (_MAX_BACKSLASHES + 1)}}}"
    form = rf"(?:\\{{0,{_MAX_BACKSLASHES}}}{form})"
    return f"{form}?" if missing else form
