from __future__ import annotations

import pytest

from truebit_async._protocol import body


@pytest.fixture(params=["orjson", "json"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything holds with and without the extra `speed`."""
    if request.param == "json":
        monkeypatch.setattr(body, "orjson", None)
    else:
        pytest.importorskip("orjson")
