"""``--interval learned``: polls when an end is likely, and keeps what it learns in a file beside the results."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from truebit_async.cli.hints import in_terms_of_the_command
from truebit_async.cli.options import LEARNED_FILE, Budgets
from truebit_async.cli.output import print_to_stderr
from truebit_async.cli.runner import UsageProblem
from truebit_async.cli.summary import Summary

if TYPE_CHECKING:
    from truebit_async.strategies import LearnedWait

BROKEN_FILE = f"{LEARNED_FILE}.broken"

_RESUMED = "resumed"  # the key of executions that were submitted long before the run


class LearnedInterval:
    """What a batch learns, if ``--interval learned`` was given.

    A file that cannot be read is only a warning: the batch is worth more than what was learned.

    Args:
        budgets: the options.
        out: the file with the results, before it is opened; None keeps nothing, and so does what is no regular file.
            If it has content, the batch continues it (or is refused), and the ages of the executions are unknown. So
            they are a group of their own, which neither uses nor changes what other batches have learned.

    Attributes:
        strategy: decides when to poll; None without that option.

    Raises:
        UsageProblem: the results would take the place of what was learned.
    """

    def __init__(self, budgets: Budgets, out: Path | None) -> None:
        self.strategy: LearnedWait | None = None
        self._path: Path | None = None
        if budgets.interval != "learned":
            return
        from truebit_async.strategies import LearnedWait  # noqa: PLC0415  # it takes some milliseconds

        if out is not None and out.name in (LEARNED_FILE, BROKEN_FILE):
            msg = f"{out} is where --interval learned keeps what it learns; name another --out file"
            raise UsageProblem(msg)
        size = None if out is None else _size(out)
        self.strategy = LearnedWait(key=(lambda _: _RESUMED) if size else None)
        if out is None or size is None:
            return
        self._path = out.parent / LEARNED_FILE
        problem = _problem(self.strategy.load, self._path)
        if problem is not None:
            print_to_stderr(f"truebit-async: warning: {problem}; this run learns anew")

    def end(self, summary: Summary) -> None:
        """Keep what was learned, and sum up what was gained. A file that cannot be written is only a warning.

        Args:
            summary: of the batch. If it has not waited for any execution, the file stays as it is.
        """
        if self.strategy is None or not summary.requests:
            return
        summary.gain = self.strategy.gain()
        groups = self.strategy._groups.values()  # noqa: SLF001  # below 16, `gain` says nothing, and nor does `describe`
        summary.watched = sum(group.ends.count for group in groups)
        if self._path is None:
            return
        from truebit_async._learning import saved  # noqa: PLC0415  # as above

        try:
            # It is read again: another process may have written a good file in place of a broken one meanwhile.
            if _problem(saved.load, self._path) is not None:
                self._path.replace(self._path.with_name(BROKEN_FILE))
            self.strategy.save(self._path)
        except OSError as error:
            print_to_stderr(
                f"truebit-async: warning: cannot write {self._path}: {error.strerror or error}; "
                "what this batch has learned is lost"
            )


def _problem(load: Callable[[Path], object], path: Path) -> str | None:
    """Load a file if there is one. Return what is wrong with it, if anything is."""
    try:
        load(path)
    except FileNotFoundError:  # this is the first batch
        return None
    except OSError as error:
        return f"{path} cannot be read: {error.strerror or error}"
    except ValueError as error:
        return in_terms_of_the_command(str(error)).rstrip(".")
    return None


def _size(out: Path) -> int | None:
    """Return the size that a regular file has or, if there is no file yet, will have; None for anything else.

    A link counts as something else: ``/dev/stdout`` is one, and may lead to a regular file.
    """
    try:
        status = out.lstat()
    except FileNotFoundError:
        return 0
    except OSError:  # the checkpoint says what is wrong
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
