"""Reports of unexpected exceptions."""

from __future__ import annotations

import json
import platform
import re
from importlib.metadata import version

import pytest

import truebit_async
from tests.cli.command import Run
from truebit_async.cli.bugs import report_bug
from truebit_async.cli.wait import Wait
from truebit_async.testing import Simulator

KEY = r"it's-a\key"


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object) -> None:
        unseen = "-".join(["only", "in", "a", "variable"])  # noqa: F841, FLY002
        try:
            raise KeyError(KEY)
        except KeyError as error:
            msg = f"with {KEY}"
            raise LookupError(msg) from error

    monkeypatch.setenv("TRUEBIT_API_KEY", KEY)
    monkeypatch.setattr(Wait, "_wait", fail)


@pytest.mark.usefixtures("broken")
def test_a_report_has_everything_a_bug_report_needs(run: Run, server: Simulator) -> None:
    ran = run("wait", "--json", "id")
    assert ran.code == 70
    assert ran.out == ""
    first, *_, versions, _, last = ran.err.splitlines()
    assert first == "truebit-async: this is a bug in truebit-async: LookupError: with ***"
    assert "Traceback (most recent call last)" in ran.err
    assert "test_bugs.py" in ran.err
    assert f"truebit_async {truebit_async.__version__}" in versions
    assert platform.python_version() in versions
    assert f"aiohttp {version('aiohttp')}" in versions
    assert f"{platform.system()} {platform.release()} {platform.machine()}" in versions
    assert last == "Please report this bug, and include the text above."


@pytest.mark.usefixtures("broken")
def test_a_report_shows_neither_the_key_nor_local_variables(run: Run, server: Simulator) -> None:
    ran = run("wait", "id")
    assert KEY not in ran.err
    assert repr(KEY) not in ran.err
    assert 'KeyError: "***"' in ran.err
    assert "only-in-a-variable" not in ran.err


@pytest.mark.usefixtures("broken")
def test_without_a_key_nothing_is_replaced(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRUEBIT_API_KEY")
    assert KEY in run("wait", "id").err


@pytest.mark.parametrize("key", ["plain", "it's", 'say "so"', "a\\b", "'\"\\"])
def test_the_key_is_replaced_however_often_it_was_quoted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", key)
    once = f"{key!r} {json.dumps(key)}"
    report_bug(LookupError(f"<{key}> {once} {once!r} {json.dumps(once)!r}"))
    shown = capsys.readouterr().err.splitlines()[0].partition("<")[2]
    assert set(re.sub(r"[\\'\" >]", "", shown)) == {"*"}


def test_reporting_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("subprocess.Popen.__init__", lambda *_, **__: pytest.fail("a process was started"))
    report_bug(LookupError())
