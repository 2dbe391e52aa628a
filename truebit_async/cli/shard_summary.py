"""The summary of a shard on disk, beside its checkpoint. It tells that the shard was waited for to its end."""

from __future__ import annotations

from pathlib import Path

from truebit_async.checkpoint import CheckpointError
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.output import OutputError
from truebit_async.cli.summary import Summary


class ShardSummary:
    """A file such as ``results-03-of-16.summary.json``. It is there if the last wait for the shard reached its end.

    Args:
        checkpoint: the path of the checkpoint.
    """

    def __init__(self, checkpoint: Path) -> None:
        self._path = checkpoint.with_suffix(".summary.json")

    @property
    def is_finished(self) -> bool:
        """Whether the shard was waited for to its end."""
        return self._path.is_file()

    def begin(self) -> None:
        """Remove the file, since a wait for the shard begins.

        Raises:
            CheckpointError: it cannot be removed.
        """
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            raise CheckpointError(None, str(self._path), f"it cannot be replaced: {error.strerror or error}") from error

    def end(self, summary: Summary, exit_code: ExitCode) -> None:
        """Write the file, since the wait has reached its end.

        Args:
            summary: the summary of the wait.
            exit_code: the exit code of the command.

        Raises:
            OutputError: it cannot be written.
        """
        try:
            self._path.write_text(summary.as_json(exit_code) + "\n", encoding="utf-8")
        except OSError as error:
            msg = f"cannot write {self._path}: {error.strerror or error}; all results are in the --out file"
            raise OutputError(msg) from error
