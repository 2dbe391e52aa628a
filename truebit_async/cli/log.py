"""The log of the package, for ``--verbose``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator

from truebit_async._text import one_line


@contextlib.contextmanager
def log_to(print_line: Callable[[str], None]) -> Iterator[None]:
    """Print every log record of the package inside the ``with`` block.

    Args:
        print_line: prints one line. It is called several times for a record with a traceback.
    """
    logger, handler = logging.getLogger("truebit_async"), _Handler(print_line)
    handler.setFormatter(_OneLineFormatter("%(asctime)s %(levelname)s %(message)s"))
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)


class _OneLineFormatter(logging.Formatter):
    """Escapes line breaks in a message, so that text of a server cannot imitate another record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name in `logging`
        return one_line(super().formatMessage(record))


class _Handler(logging.Handler):
    def __init__(self, print_line: Callable[[str], None]) -> None:
        super().__init__()
        self._print_line = print_line

    def emit(self, record: logging.LogRecord) -> None:
        for line in self.format(record).split("\n"):
            self._print_line(line)
