"""Text from servers, libraries and the file system, made safe to print."""

from __future__ import annotations


def one_line(text: str) -> str:
    r"""Return the text on one line, with escapes such as ``\n`` and ``\x1b`` for what is not printable.

    Args:
        text: any text.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)


def bounded_line(text: str, limit: int) -> str:
    """Return the beginning of a text on one line.

    Args:
        text: any text.
        limit: how many characters to return at most.
    """
    return one_line(text[:limit])[:limit]  # escapes make it longer


def shortened(value: object) -> str:
    """Return the repr of a value, at most 100 characters of it."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"  # noqa: PLR2004
