"""The log of the package on stderr, for ``-v``. A live display on the same console makes way for its lines."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from rich.console import Console


@contextlib.contextmanager
def log_to(console: Console) -> Iterator[None]:
    """Show every poll, back-off, pause and finish while the context lasts."""
    logger, handler = logging.getLogger("truebit_async"), _ConsoleHandler(console)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    level_before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level_before)


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(self.format(record), highlight=False, markup=False, soft_wrap=True)
