"""Messages show control characters as escapes: names and texts cannot control the terminal."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.cli.command import Ran, Run
from truebit_async.cli.bugs import report_bug
from truebit_async.cli.log import log_to
from truebit_async.cli.output import print_to_stderr
from truebit_async.cli.progress import BatchProgress
from truebit_async.testing import Reply, Simulator

EVIL = "a\x1b[31m\r\x9b2J\N{RIGHT-TO-LEFT OVERRIDE}\x7fz"
"""An escape sequence, a carriage return, a C1 control sequence, a bidirectional override and DEL."""

ESCAPED = r"a\x1b[31m\r\x9b2J\u202e\x7fz"
CONTROL_CHARACTERS = set(EVIL) - set(ESCAPED)


def assert_is_escaped(ran: Ran, code: int) -> None:
    assert ran.code == code
    assert ESCAPED in re.sub(r"[\s│]", "", ran.err)  # Rich may have broken the line
    assert not CONTROL_CHARACTERS & set(ran.out + ran.err)


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a file that does not exist yet, in the current folder."""
    monkeypatch.chdir(tmp_path)
    return EVIL


@pytest.mark.parametrize(
    "arguments",
    [
        ["wait", "--from", EVIL],
        ["wait", "id", "--out", f"{EVIL}/missing"],
        ["wait", "id", "--out", f"{EVIL}/missing", "--resume"],
        ["wait", "id", "--api-key-file", EVIL],
        ["status", "id", "--api-key-file", EVIL],
    ],
    ids=ascii,
)
def test_a_missing_file(run: Run, server: Simulator, evil: str, arguments: list[str]) -> None:
    assert_is_escaped(run(*arguments), 2)


@pytest.mark.parametrize("option", ["--from", "--out", "--api-key-file"])
def test_an_unreadable_file(run: Run, server: Simulator, evil: str, option: str) -> None:
    Path(evil).mkdir()
    assert_is_escaped(run("wait", "id", option, evil), 2)


@pytest.mark.parametrize("content", [b"", b"\x1b[31m", b"two\nlines"])
def test_a_file_without_a_valid_key(run: Run, server: Simulator, evil: str, content: bytes) -> None:
    Path(evil).write_bytes(content)
    assert_is_escaped(run("wait", "id", "--api-key-file", evil), 2)


def test_a_file_without_ids(run: Run, server: Simulator, evil: str) -> None:
    Path(evil).write_bytes(b"")
    assert_is_escaped(run("wait", "--from", evil), 2)


def test_a_malformed_line(run: Run, server: Simulator, evil: str) -> None:
    Path(evil).write_text(f"{{\n{EVIL}\n", encoding="utf-8")
    assert_is_escaped(run("wait", "--from", evil), 3)


def test_a_file_name_that_is_not_utf_8(run: Run, server: Simulator) -> None:
    ran = run("wait", "--from", os.fsdecode(b"\xff\x1b"))
    assert ran.code == 2
    assert r"\udcff\x1b" in ran.err


@pytest.mark.parametrize("content", [b"", b"dear diary\n"], ids=["not empty", "not a checkpoint"])
def test_an_out_file_that_is_no_checkpoint(run: Run, server: Simulator, evil: str, content: bytes) -> None:
    Path(evil).write_bytes(content or b"{}")
    assert_is_escaped(run("wait", "id", "--out", evil, *(["--resume"] if content else [])), 2)


def test_an_out_file_with_a_torn_line(run: Run, server: Simulator, evil: str) -> None:
    server.add("id")
    Path(evil).write_bytes(b'{"executionId": "b", "verif')
    assert_is_escaped(run("wait", "id", "--out", evil, "--resume"), 0)


def test_an_interruption(run: Run, server: Simulator, evil: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_: asyncio.Runner, command: Any) -> None:
        command.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(asyncio.Runner, "run", interrupted)
    assert_is_escaped(run("wait", "id", "--out", evil), 130)


@pytest.mark.parametrize(
    "arguments",
    [
        [EVIL],
        [f"--{EVIL}"],
        ["wait", f"--{EVIL}"],
        ["status", "id", EVIL],
        ["simulate", "--port", EVIL],
        ["wait", "id", "--base-url", EVIL],
        ["wait", "id", "--deadline", EVIL],
        ["wait", "id", "--not-found-grace", EVIL],
        ["status", EVIL],
    ],
    ids=ascii,
)
def test_a_usage_error(run: Run, server: Simulator, arguments: list[str]) -> None:
    ran = run(*arguments)
    assert ran.code == 2
    assert "Traceback" not in ran.err
    assert not CONTROL_CHARACTERS & set(ran.err)


@pytest.mark.parametrize("variable", ["TRUEBIT_BASE_URL", "TRUEBIT_API_KEY"])
def test_a_wrong_value_in_the_environment(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, EVIL)
    ran = run("status", "id")
    assert ran.code == 2
    assert not CONTROL_CHARACTERS & set(ran.err)


@pytest.mark.parametrize("arguments", [["status"], ["status", "-v"], ["wait"], ["wait", "-v"]], ids=" ".join)
def test_the_text_of_a_server(run: Run, server: Simulator, arguments: list[str]) -> None:
    server.script("id", Reply.error(403, EVIL))
    ran = run(*arguments, "id")
    assert ran.code == 2
    assert not CONTROL_CHARACTERS & set(ran.out + ran.err)


@pytest.mark.parametrize("command", ["status", "wait"])
def test_the_output_of_an_execution_is_valid_json(run: Run, server: Simulator, command: str) -> None:
    server.add("id", output=EVIL)
    ran = run(command, "id")
    assert ran.code == 0
    assert json.loads(ran.out)["clearTextSolution"]["output"] == EVIL
    assert not CONTROL_CHARACTERS & set(ran.out)


def test_a_message(capsys: pytest.CaptureFixture[str]) -> None:
    print_to_stderr(f"{EVIL}\n{EVIL}")
    BatchProgress(Console(stderr=True, width=20), live=False).print_message(f"{EVIL}\n{EVIL}")
    assert capsys.readouterr().err.splitlines() == [rf"{ESCAPED}\n{ESCAPED}"] * 2


def test_a_bug_report_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    report_bug(LookupError(EVIL))
    err = capsys.readouterr().err
    assert err.count(f"LookupError: {ESCAPED}\n") == 2
    assert err.count("\n") == 7
    assert not CONTROL_CHARACTERS & set(err)


def test_a_log_record_is_one_line_and_its_traceback_keeps_its_lines() -> None:
    lines: list[str] = []
    logger = logging.getLogger("truebit_async")
    with log_to(lines.append):
        logger.info("first\n%s", "second")
        try:
            raise LookupError
        except LookupError:
            logger.exception("failed")
    message, failed, *frames = lines
    assert message.endswith(r" INFO first\nsecond")
    assert failed.endswith(" ERROR failed")
    assert frames[0] == "Traceback (most recent call last):"
    assert frames[-1] == "LookupError"
