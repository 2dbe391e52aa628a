"""Reads a response as that to a request for the status of the function task `id`."""

from __future__ import annotations

import json
from typing import Any

from multidict import CIMultiDict

from truebit_async._protocol.functions import read_status
from truebit_async._protocol.messages import Response
from truebit_async.models import Execution

NOW = 1_700_000_000.0  # Tue, 14 Nov 2023 22:13:20 GMT


def read(body: bytes | dict[str, Any], status: int = 200, **headers: str) -> Execution:
    """Read a response. What is not bytes is a JSON object, which names the execution unless it says otherwise."""
    raw = body if isinstance(body, bytes) else json.dumps({"executionId": "id", **body}).encode()
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return read_status("id", Response(status, named, raw), NOW)
