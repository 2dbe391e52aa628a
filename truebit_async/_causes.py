"""The exceptions that an exception holds on to."""

from __future__ import annotations

from collections.abc import Iterator


def with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception, and its causes, contexts and members, each once: they may form a cycle."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        link = pending.pop()
        if link is not None and id(link) not in seen:
            seen.add(id(link))
            yield link
            pending += (link.__cause__, link.__context__)
            if isinstance(link, BaseExceptionGroup):
                pending += link.exceptions
