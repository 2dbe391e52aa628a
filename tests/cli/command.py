"""The result of the fixture `run`, which runs the command in this process."""

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
        """The text on stderr, without the frames and line breaks that Rich adds."""
        return " ".join(self.err.translate(dict.fromkeys(map(ord, "│╭╮╰╯─"), " ")).split())


Run = Callable[..., Ran]
