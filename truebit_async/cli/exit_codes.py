"""The exit codes of the command."""

from __future__ import annotations

import enum


class ExitCode(enum.IntEnum):
    """The exit codes of the command, as documented in its reference."""

    SUCCEEDED = 0
    NOT_SUCCEEDED = 1
    USAGE = 2
    NO_FINAL_STATE = 3
    UNCERTAIN = 4
    NOT_SUBMITTED = 5
    BUG = 70  # EX_SOFTWARE in sysexits.h
    INTERRUPTED = 130  # 128 and the number of SIGINT
    TERMINATED = 143  # 128 and the number of SIGTERM

    @property
    def is_interruption(self) -> bool:
        """Whether somebody stopped the command."""
        return self in (ExitCode.INTERRUPTED, ExitCode.TERMINATED)
