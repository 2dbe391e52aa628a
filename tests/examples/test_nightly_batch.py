from __future__ import annotations

import asyncio
import csv
import json
import os
import pty
import sys
from asyncio.subprocess import PIPE
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from truebit_async.testing import Reply, Simulator

Run = Callable[..., Coroutine[Any, Any, tuple[int | None, str]]]


@pytest.fixture
def command(example: Path, tmp_path: Path) -> list[str]:
    return [sys.executable, str(example), str(tmp_path / "executions.csv")]


@pytest.fixture
def run(command: list[str], environment: dict[str, str]) -> Run:
    """Run the batch; return its exit code and what it said."""

    async def run(*arguments: str | Path) -> tuple[int | None, str]:
        process = await asyncio.create_subprocess_exec(*command, *arguments, stdout=PIPE, stderr=PIPE, env=environment)
        out, err = await process.communicate()
        assert out == b""
        return process.returncode, err.decode()

    return run


def write_csv(path: Path, rows: list[list[str]], encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows(rows)


def read_results(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        table = pyarrow.parquet.read_table(path)
        assert {str(field.type) for field in table.schema} == {"string"}  # every night, whatever the values
        rows: list[dict[str, Any]] = table.to_pylist()
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked(simulator: Simulator) -> list[str | None]:
    return [request.execution_id for request in simulator.requests]


every_format = pytest.mark.parametrize("name", ["results.jsonl", "results.parquet"])


@every_format
async def test_each_row_gains_its_columns(tmp_path: Path, simulator: Simulator, run: Run, name: str) -> None:
    simulator.add("good", output="1764")
    simulator.add("failed", execution_status="failed")
    simulator.add("split", status="Indeterminate")
    rows = [
        ["customer", "execution_id", "note"],
        ["Ärzte, GmbH", "good", "a\nb"],
        ["B", "failed", ""],
        ["C", "split"],  # a short row
        ["D", "missing", "x"],
        ["E", "", "no ID at all"],
        ["F", "good", "once more"],
    ]
    write_csv(tmp_path / "executions.csv", rows, encoding="utf-8-sig")  # as Excel does
    code, said = await run(tmp_path / name)
    assert code == 3, said
    good, failed, split, missing, empty, again = read_results(tmp_path / name)
    assert good == {
        "customer": "Ärzte, GmbH",
        "execution_id": "good",
        "note": "a\nb",
        "truebit_status": "Success",
        "truebit_output": "1764",
        "truebit_error": None,
    }
    assert again == good | {"customer": "F", "note": "once more"}
    assert (split["customer"], split["note"]) == ("C", "")
    assert [row["truebit_status"] for row in (failed, split, missing, empty)] == [
        "Success",
        "Indeterminate",
        None,
        None,
    ]
    assert [row["truebit_output"] for row in (failed, split, missing, empty)] == [None] * 4
    for row, error in ((failed, "agree that it failed"), (split, "indeterminate"), (missing, "404"), (empty, "empty")):
        assert error in row["truebit_error"]
    assert sorted(map(str, asked(simulator))) == ["failed", "good", "missing", "split"]
    assert said.splitlines()[-1] == "5 of 5 finished"


@pytest.mark.full
@every_format
async def test_killed_in_the_middle_and_resumed(
    tmp_path: Path, simulator: Simulator, command: list[str], environment: dict[str, str], run: Run, name: str
) -> None:
    execution_ids = [f"id-{number}" for number in range(40)]
    first_half, second_half = execution_ids[::2], execution_ids[1::2]
    for execution_id in execution_ids:
        simulator.add(execution_id, status="Success" if execution_id in first_half else "Running")
    rows = [[f"row {number}", execution_id] for number, execution_id in enumerate(execution_ids)]
    write_csv(tmp_path / "executions.csv", [["row", "execution_id"], *rows])
    results, checkpoint = tmp_path / name, tmp_path / f"{name}.checkpoint"

    process = await asyncio.create_subprocess_exec(
        *command, results, "--max-rate", "1000", stderr=asyncio.subprocess.DEVNULL, env=environment
    )
    while not checkpoint.exists() or checkpoint.read_bytes().count(b"\n") < len(first_half):
        await asyncio.sleep(0.005)
    process.kill()
    await process.wait()
    assert not results.exists()
    with checkpoint.open("ab") as file:
        file.write(b'{"executionId": "id-1')  # as if it had died while writing

    for execution_id in second_half:
        simulator.add(execution_id)
    simulator.requests.clear()
    code, said = await run(results)
    assert code == 0, said
    assert sorted(map(str, asked(simulator))) == sorted(second_half)
    assert [[row["row"], row["execution_id"]] for row in read_results(results)] == rows
    assert {row["truebit_output"] for row in read_results(results)} == {"42"}
    assert not results.with_name(f"{name}.part").exists()

    simulator.requests.clear()  # and once all is done, there is nothing to ask for
    assert await run(results) == (0, "")
    assert not simulator.requests


@pytest.mark.full
async def test_the_exit_code_says_what_to_do(tmp_path: Path, simulator: Simulator, run: Run) -> None:
    write_csv(tmp_path / "executions.csv", [["execution_id"], ["one"], ["two"]])
    simulator.add("one")
    simulator.script("two", Reply.error(401))
    assert (await run(tmp_path / "results.jsonl"))[0] == 3  # the same command again
    simulator.add("two", status="Error")
    assert (await run(tmp_path / "results.jsonl"))[0] == 4  # somebody should look
    assert (await run(tmp_path / "results.jsonl"))[0] == 4  # a scheduler that tries once more does not hide that
    write_csv(tmp_path / "executions.csv", [["execution_id"], ["one"]])
    assert (await run(tmp_path / "results.jsonl"))[0] == 0  # what failed is not in the list of this night
    assert sorted(map(str, asked(simulator))) == ["one", "two", "two"]


@pytest.mark.full
@every_format
async def test_a_night_without_executions(tmp_path: Path, simulator: Simulator, run: Run, name: str) -> None:
    write_csv(tmp_path / "executions.csv", [["customer", "execution_id"]])
    assert await run(tmp_path / name) == (0, "")
    assert read_results(tmp_path / name) == []
    if name.endswith(".parquet"):
        columns = ["customer", "execution_id", "truebit_status", "truebit_output", "truebit_error"]
        assert pyarrow.parquet.read_schema(tmp_path / name).names == columns


@pytest.mark.full
@pytest.mark.parametrize(
    ("content", "arguments", "said"),
    [
        ("execution_id\n1\n", ["results.xlsx"], "must end in .jsonl or .parquet"),
        ("execution_id\n1\n", ["results.jsonl", "--column", "id"], "no column 'id'"),
        ("execution_id\n1\n", ["results.jsonl", "--max-rate", "0"], "max_rate"),
        ("execution_id\n1,2\n", ["results.jsonl"], "more cells than there are columns"),
        ("execution_id\n1\n", ["no/such/directory.jsonl"], "No such file"),
        ("\xff", ["results.jsonl"], "decode"),
        (f"execution_id\n{'1' * 200_000}\n", ["results.jsonl"], "field larger than field limit"),
        ("", ["results.jsonl"], "no column 'execution_id'"),
        (None, ["results.jsonl"], "No such file"),
    ],
)
async def test_wrong_usage(
    tmp_path: Path,
    simulator: Simulator,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    content: str | None,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "executions.csv").write_text(content, encoding="latin-1")
    code, message = await run(*arguments)
    assert code == 2
    assert said in message
    assert "Traceback" not in message
    assert not simulator.requests


@pytest.mark.full
async def test_jsonl_needs_no_pyarrow(
    tmp_path: Path, simulator: Simulator, run: Run, environment: dict[str, str]
) -> None:
    (tmp_path / "pyarrow.py").write_text("raise ImportError('not installed')")
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    write_csv(tmp_path / "executions.csv", [["execution_id"], ["one"]])
    simulator.add("one")
    assert (await run(tmp_path / "results.jsonl"))[0] == 0
    code, said = await run(tmp_path / "results.parquet")
    assert code == 1
    assert "not installed" in said


@pytest.mark.full
async def test_the_rate_has_a_cap(tmp_path: Path, simulator: Simulator, run: Run) -> None:
    write_csv(tmp_path / "executions.csv", [["execution_id"], *([f"id-{number}"] for number in range(11))])
    for number in range(11):
        simulator.add(f"id-{number}")
    assert (await run(tmp_path / "results.jsonl", "--max-rate", "50"))[0] == 0
    # Without the cap it takes some 10 ms; on their way to a busy server, requests may catch up with each other.
    assert simulator.requests[-1].time - simulator.requests[0].time > 10 / 50 / 2


@pytest.mark.full
async def test_a_terminal_gets_one_line(
    tmp_path: Path, simulator: Simulator, command: list[str], environment: dict[str, str]
) -> None:
    write_csv(tmp_path / "executions.csv", [["execution_id"], ["one"], ["two"]])
    simulator.add("one")
    simulator.add("two")
    terminal, its_end = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command, tmp_path / "results.jsonl", "--max-rate", "5", stderr=its_end, env=environment
    )
    os.close(its_end)
    assert await process.wait() == 0
    assert os.read(terminal, 1000) == b"1 of 2 finished\r2 of 2 finished\r\n"
    os.close(terminal)
