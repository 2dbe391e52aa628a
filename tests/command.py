"""What the command printed when it ran in this process, for the fixture `run`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs


@attrs.frozen
class Ran:
    code: int
    out: str
    err: str

    @property
    def lines(self) -> dict[str, dict[str, Any]]:
        parsed = [json.loads(line) for line in self.out.splitlines()]
        return {line["executionId"]: line for line in parsed}

    @property
    def prose(self) -> str:
        """What it said on stderr, without the frames and line breaks of a terminal."""
        return " ".join(self.err.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())


Run = Callable[..., Ran]
