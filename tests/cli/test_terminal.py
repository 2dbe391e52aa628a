"""Output on a terminal: help, completion, colours, and the live display."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pyte
import pytest

import truebit_async
from tests.cli.command import Run
from truebit_async.testing import Simulator

COMMAND = [sys.executable, "-m", "truebit_async"]
COMMANDS = [
    "status", "wait", "results", "run", "transcript", "invoice", "audit", "doctor", "demo", "simulate", "completion"
]  # fmt: skip
BASH = shutil.which("bash") or "bash"
SCRIPTS = str(Path(sys.executable).parent)


def on_a_terminal(*command: str, typed: bytes = b"", rows: int = 50, columns: int = 80, **environment: str) -> str:
    """Run a command on a pseudo-terminal and return its output."""
    kept = {name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "COLUMNS"}}
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
    process = subprocess.Popen(
        command,
        stdin=its,
        stdout=its,
        stderr=its,
        env={**kept, "TERM": "xterm-256color", **environment},
    )
    os.close(its)
    os.write(ours, typed)
    shown = b""
    try:
        while chunk := os.read(ours, 65536):
            shown += chunk
    except OSError:  # Linux raises EIO when the other end is closed
        pass
    finally:
        os.close(ours)
    process.wait(10)
    return shown.decode()


def screen_after(shown: str, rows: int, columns: int) -> list[str]:
    """Return the lines on the screen at the end, and those that were scrolled away."""
    screen = pyte.HistoryScreen(columns, rows, history=10_000)
    pyte.Stream(screen).feed(shown)
    scrolled = ["".join(line[column].data for column in range(columns)) for line in screen.history.top]
    return [*scrolled, *screen.display]


def colours(shown: str) -> list[str]:
    """Return the escape sequences that set a colour, and not those for bold, italic or dim."""
    return [
        code for code in re.findall(r"\x1b\[([\d;]*)m", shown) if re.search(r"(^|;)(3[0-8]|4[0-8]|9\d|10\d)(;|$)", code)
    ]


# Help


def test_help_lists_commands_and_exit_codes(run: Run) -> None:
    ran = run("--help")
    assert ran.code == 0
    for command in COMMANDS:
        assert f" {command} " in ran.out
    for code in (0, 1, 2, 3, 4, 5, 70, 130, 143):
        assert re.search(rf"^  {code} +\w", ran.out, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("columns", [80, 120])
def test_the_help_of_a_command_fits_a_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    ran = run(command, "--help")
    assert ran.code == 0
    assert ("Exit codes:" in ran.out) is (command not in {"run", "completion"})
    assert "…" not in ran.out
    assert "```" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= columns


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("status", "$ truebit-async status --api-key-file key.txt ID | jq .verificationStatus"),
        ("wait", "$ truebit-async wait --from ids.txt --out results.jsonl --resume"),
        ("wait", "$ producer | truebit-async wait --from - | jq -c .clearTextSolution"),
        ("simulate", "$ truebit-async wait --base-url http://127.0.0.1:8080 --from ids.txt"),
    ],
)
def test_examples_are_on_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, command: str, example: str) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert example in [line.strip() for line in run(command, "--help").out.splitlines()]


# Completion


def test_a_command_is_completed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_TRUEBIT_ASYNC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "truebit-async wa")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert run().out.split() == ["plain,wait"]


@pytest.mark.parametrize("words", ["wait --from a", "status --api-key-file a"])
def test_files_are_completed(run: Run, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    monkeypatch.setenv("_TRUEBIT_ASYNC_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"truebit-async {words}")
    monkeypatch.setenv("COMP_CWORD", "3")
    assert run().out.strip() == "file,a"


@pytest.mark.full
def test_bash_completes_with_the_generated_script() -> None:
    script = """
        eval "$(truebit-async completion bash)"
        try() { COMPREPLY=(); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _truebit_async_completion truebit-async; echo "${COMPREPLY[@]}"; }
        try truebit-async wa
        try truebit-async wait --api
        complete -p truebit-async
    """  # noqa: E501
    environment = {**os.environ, "PATH": f"{SCRIPTS}:{os.environ['PATH']}"}
    ran = subprocess.run(
        [BASH, "--norc", "-c", script],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
        timeout=25,
    )
    assert ran.stdout.splitlines() == [
        "wait",
        "--api-key-file",
        "complete -o nosort -F _truebit_async_completion truebit-async",
    ], ran.stderr


# Colours


@pytest.mark.full
@pytest.mark.parametrize("arguments", [["wait", "--base-url", "URL", "id"], ["status", "--base-url", "URL", "id"]])
def test_no_color_is_respected(server: Simulator, arguments: list[str]) -> None:
    server.add("id", polls=2)
    arguments = [server.url if argument == "URL" else argument for argument in arguments]
    assert colours(on_a_terminal(*COMMAND, *arguments))
    assert not colours(on_a_terminal(*COMMAND, *arguments, NO_COLOR="1"))


# The live display

HIDE_CURSOR = "\x1b[?25l"


@pytest.mark.full
def test_no_live_display_while_somebody_types_ids(server: Simulator) -> None:
    server.add("id")
    wait = [*COMMAND, "wait", "--base-url", server.url]
    assert HIDE_CURSOR in on_a_terminal(*wait, "id")
    shown = on_a_terminal(*wait, "--from", "-", typed=b"id\n\x04", NO_COLOR="1")
    assert "reading IDs from stdin, one per line; Ctrl-D ends the input" in shown
    assert "✓ id  42  " in shown
    assert "1 of 1 finished" in shown
    assert HIDE_CURSOR not in shown


@pytest.mark.full
@pytest.mark.parametrize(
    ("options", "rows", "columns"),
    [
        ((), 50, 80),
        *(
            pytest.param(options, rows, columns, marks=pytest.mark.full)
            for options in ((), ("-v",))
            for rows, columns in ((50, 80), (12, 80), (50, 120), (50, 200), (50, 30))
            if (options, rows, columns) != ((), 50, 80)
        ),
    ],
)
def test_a_live_display_erases_no_result_and_is_removed_at_the_end(
    server: Simulator, options: tuple[str, ...], rows: int, columns: int
) -> None:
    ids = ["success-01", "success-02", "error-01", "indeterminate-01", "missing-01"]
    server.add("success-01", output="x" * 200)
    server.add("success-02", polls=1)
    server.add("error-01", polls=1, status="Error")
    server.add("indeterminate-01", polls=1, status="Indeterminate")
    wait = [*COMMAND, "wait", "--format", "json", "--base-url", server.url, *options, *ids]
    shown = on_a_terminal(*wait, rows=rows, columns=columns)
    assert HIDE_CURSOR in shown
    screen = screen_after(shown, rows, columns)
    text = "".join(screen)
    results = [json.JSONDecoder().raw_decode(text, at.start())[0] for at in re.finditer(r'\{"executionId"', text)]
    assert sorted(result["executionId"] for result in results) == sorted(ids)
    assert all(len(result) == 7 for result in results)
    assert "requests/s" not in text
    assert "━" * 30 not in text.partition("5 of 5 finished")[0]
    assert screen[0].startswith("{" if not options else "20")
    if not options:
        assert "" not in [line.strip() for line in screen[: text.index("5 of 5") // columns]]


@pytest.mark.full
@pytest.mark.parametrize(
    ("rest", "is_live"),
    [("| cat", False), ("--out results.jsonl | cat", True), ("> results.jsonl", True), ("> /dev/null", True)],
)
def test_no_live_display_if_results_go_through_a_pipe(
    server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rest: str, is_live: bool
) -> None:
    server.add("id")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(truebit_async.__file__).parents[1]))
    wait = " ".join([*COMMAND, "wait", "--base-url", server.url, "id", rest])
    shown = on_a_terminal(BASH, "--norc", "-c", wait)
    assert "1 of 1 finished" in shown
    assert (HIDE_CURSOR in shown) is is_live
    assert ('"executionId": "id"' in shown) is (rest == "| cat")
