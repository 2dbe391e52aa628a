"""Ctrl-C and SIGTERM at any moment, in separate processes."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.simulator_process import simulator_process
from truebit_async.checkpoint import read_checkpoint
from truebit_async.cli import runner
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.runner import run
from truebit_async.testing import Simulator

COMMAND = [sys.executable, "-m", "truebit_async"]
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


def add_a_few(simulator: Simulator) -> None:
    simulator.add("quick")
    simulator.add("endless", status="Running")
    simulator.deploy_function("ns", "slow", str, running_for=600)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with simulator_process(add_a_few) as url:
        yield url


def start(url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONWARNINGS": "error", "TRUEBIT_BASE_URL": url, "TRUEBIT_API_KEY": "key"}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.full), signal.SIGTERM])
def test_a_stopped_batch_says_how_to_continue(url: str, tmp_path: Path, number: signal.Signals) -> None:
    out = tmp_path / "results.jsonl"
    process = start(url, "wait", "quick", "endless", "--out", str(out), "--json")
    while not out.exists() or not out.read_bytes().endswith(b"\n"):
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    shown, messages = process.communicate(timeout=10)
    assert process.returncode == CODES[number]
    assert json.loads(shown)["summary"]["exitCode"] == CODES[number]
    what = "interrupted" if number is signal.SIGINT else "terminated"
    assert messages == f"truebit-async: {what}; to continue {out}, run the same command with --resume\n"
    assert [record.execution_id for record in read_checkpoint(out)] == ["quick"]


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.full)])
def test_a_stopped_run_names_its_execution(url: str, number: signal.Signals) -> None:
    arguments = ["run", "function", "ns/slow", "--input", "7", "--total-solutions", "3", "--required-solutions", "2"]
    process = start(url, *arguments)
    assert process.stderr is not None
    execution_id = process.stderr.readline().split()[-1]
    process.send_signal(number)
    _, messages = process.communicate(timeout=10)
    assert process.returncode == CODES[number]
    assert f"to wait again: truebit-async wait {execution_id}\n" in messages
    assert "not submitted" not in messages


@pytest.mark.full
@pytest.mark.parametrize("number", CODES)
def test_it_can_be_stopped_from_its_first_line_on(url: str, number: signal.Signals) -> None:
    """Before that line, Python itself handles the signals."""
    announce = "import truebit_async.cli as cli; print('started', flush=True); cli.main()"
    for milliseconds in range(0, 400, 20):
        process = subprocess.Popen(
            [sys.executable, "-c", announce, "wait", "--base-url", url, "endless"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        time.sleep(milliseconds / 1000 + 0.002)
        process.send_signal(number)
        with process:
            _, messages = process.communicate(timeout=10)
        assert "Traceback" not in messages
        if process.returncode == -signal.SIGTERM:  # it came before its handler
            assert (number, messages) == (signal.SIGTERM, "")
            continue
        assert process.returncode == CODES[number], messages
        assert messages.splitlines()[-1].startswith(
            "truebit-async: interrupted" if number is signal.SIGINT else "truebit-async: terminated"
        )


IN_A_CALLBACK = """
import signal, sys, weakref
from truebit_async import cli
from truebit_async.cli import app

def run_command():
    reference = weakref.ref(type("Module", (), {})(), lambda _: signal.raise_signal(int(sys.argv[1])))
    print("went on", flush=True)

app.run_command = run_command
cli.main()
"""


@pytest.mark.parametrize("number", CODES)
def test_a_signal_in_a_callback_that_raises_nothing(number: signal.Signals) -> None:
    """Python ignores what such a callback raises. Importing a module calls some."""
    ran = subprocess.run([sys.executable, "-c", IN_A_CALLBACK, str(int(number))], capture_output=True, text=True)  # noqa: PLW1510
    what = "interrupted" if number is signal.SIGINT else "terminated"
    assert ran.stderr == f"truebit-async: {what} while no request was under way\n"
    assert (ran.returncode, ran.stdout) == (CODES[number], "")


@pytest.mark.parametrize("number", CODES)
def test_a_signal_before_anything_runs(monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    monkeypatch.setattr(os, "write", lambda *_: (_ for _ in ()).throw(BrokenPipeError))
    handlers = [signal.getsignal(number) for number in CODES]
    module = importlib.import_module("truebit_async.cli.app")
    monkeypatch.setattr(module, "run_command", lambda: signal.raise_signal(number))
    from truebit_async.cli import main  # noqa: PLC0415

    with pytest.raises(SystemExit):
        main()
    assert codes == [CODES[number]]
    assert [signal.getsignal(number) for number in CODES] == handlers


def test_ctrl_c_just_before_or_after_the_loop_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(**_: object) -> None:
        raise click.Abort  # made by Click of a KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("truebit_async.cli.app").app, "main", interrupt)
    from truebit_async.cli import main  # noqa: PLC0415

    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 130
    assert capsys.readouterr().err == "truebit-async: interrupted\n"


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    async def receive() -> ExitCode:
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        return ExitCode.SUCCEEDED

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        code = run(receive).code
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == ExitCode.SUCCEEDED


def test_sigterm_while_the_loop_runs(capsys: pytest.CaptureFixture[str]) -> None:
    async def receive_sigterm() -> ExitCode:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        await asyncio.Event().wait()
        return ExitCode.SUCCEEDED

    handler = signal.getsignal(signal.SIGTERM)
    assert run(receive_sigterm).report() == ExitCode.TERMINATED
    assert capsys.readouterr().err == "truebit-async: terminated\n"
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_command_that_is_cancelled_by_something_else_is_a_bug() -> None:
    async def cancelled() -> ExitCode:
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        run(cancelled)


def test_a_loop_without_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loop(asyncio.SelectorEventLoop):
        def add_signal_handler(self, *_: object) -> None:
            raise NotImplementedError

    async def succeed() -> ExitCode:
        return ExitCode.SUCCEEDED

    monkeypatch.setattr(runner, "_loop_factory", lambda: Loop)
    assert run(succeed).report() == ExitCode.SUCCEEDED
