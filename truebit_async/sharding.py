"""Shards of a batch. The hash of an execution ID determines its shard.

The hash is stable: it is the same in every process, on every machine and in every version of Python. So N copies of a
program, each with its own shard, wait for every ID exactly once.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Self

import attrs

from truebit_async._arguments import check_count

__all__ = ["Shard", "shard_of"]

_SMALLEST_WIDTH = 2  # digits of an index in a file name
_match_shard = re.compile(r"([0-9]{1,9})/([0-9]{1,9})").fullmatch
_match_file_name = re.compile(r"results-([0-9]{1,9})-of-([0-9]{1,9})\.jsonl").fullmatch


def shard_of(execution_id: str, shards: int) -> int:
    """Return the shard of an execution: the first 8 bytes of the SHA-256 of its ID in UTF-8, modulo ``shards``.

    Args:
        execution_id: the execution.
        shards: how many shards there are.

    Returns:
        The index of the shard, from 0 to ``shards - 1``.

    Raises:
        TypeError: ``execution_id`` is not a str, or ``shards`` is not an int.
        ValueError: ``shards`` is below 1.
    """
    if not isinstance(execution_id, str):
        msg = f"execution_id must be a str, not {type(execution_id).__name__}"
        raise TypeError(msg)
    check_count("shards", shards)
    digest = hashlib.sha256(execution_id.encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") % shards


@attrs.frozen
class Shard:
    """One shard of a batch. ``execution_id in shard`` tells whether an execution belongs to it.

    Attributes:
        index: its number, from 0 to ``count - 1``.
        count: how many shards there are.

    Raises:
        TypeError: a number is not an int.
        ValueError: there is no such shard.
    """

    index: int
    count: int

    def __attrs_post_init__(self) -> None:
        check_count("count", self.count)
        if isinstance(self.index, bool) or not isinstance(self.index, int):
            msg = f"index must be a whole number, not {type(self.index).__name__}"
            raise TypeError(msg)
        if not 0 <= self.index < self.count:
            msg = f"index must be from 0 to {self.count - 1}, not {self.index}"
            raise ValueError(msg)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the shard that a text such as ``3/16`` names.

        Args:
            text: the index and the count, with a slash between them.

        Raises:
            ValueError: the text is not a valid shard.
        """
        shard = cls._of_match(_match_shard(text))
        if shard is None:
            msg = f"{text!r} is not a shard; write INDEX/COUNT, for 16 shards from 0/16 to 15/16"
            raise ValueError(msg)
        return shard

    @classmethod
    def of_file(cls, path: str | os.PathLike[str]) -> Self | None:
        """Return the shard that the name of a file stands for; None if the name is not like ``file_name``.

        Args:
            path: the file.
        """
        return cls._of_match(_match_file_name(Path(path).name))

    @classmethod
    def _of_match(cls, match: re.Match[str] | None) -> Self | None:
        if match is None:
            return None
        index, count = map(int, match.groups())
        return cls(index, count) if index < count else None

    @property
    def file_name(self) -> str:
        """The name of the checkpoint of this shard, such as ``results-03-of-16.jsonl``."""
        width = max(_SMALLEST_WIDTH, len(str(self.count)))
        return f"results-{self.index:0{width}}-of-{self.count:0{width}}.jsonl"

    def __contains__(self, execution_id: str) -> bool:
        return shard_of(execution_id, self.count) == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"
