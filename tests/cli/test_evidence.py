"""``truebit-async transcript``, ``invoice`` and ``audit``."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import Any, Literal

import pytest

from tests.cli.command import Run
from truebit_async import audit
from truebit_async.testing import Reply, Simulator

PAYLOADS = Path(__file__).parents[1] / "unit/protocol/payloads"
HUB = "0xE3AcBBB129F14681C315028dB0A156597fb5058B"
OTHER = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TRANSCRIPT, INVOICE = PAYLOADS / "transcript_api.json", PAYLOADS / "invoice_function.json"


@pytest.fixture
def execution_id(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """The ID of an execution of an API task with a secret."""
    monkeypatch.setenv("TRUEBIT_API_KEY", "key-5eC4e7")
    server.deploy_api("ns", "order", lambda call: {"is": len(call)})
    ran = run("run", "api", "ns/order", "--param", "password=s3cret")
    execution_id: str = json.loads(ran.out)["executionId"]
    return execution_id


def show_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")


# transcript and invoice


@pytest.mark.parametrize("command", ["transcript", "invoice"])
def test_the_exact_bytes(run: Run, server: Simulator, execution_id: str, tmp_path: Path, command: str) -> None:
    ran = run(command, execution_id)
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["executionId"] == execution_id
    assert ("s3cret" in ran.out) == (command == "transcript")
    file = tmp_path / "evidence.json"
    assert run(command, execution_id, "--out", str(file)).out == ""
    assert file.read_bytes() == ran.out.encode()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = run(command, execution_id, "--out", str(file))
    assert again.code == 2
    assert f"cannot write {file}: File exists" in again.err


@pytest.mark.parametrize("command", ["transcript", "invoice"])
def test_nothing_is_written_in_another_way_than_it_came(
    run: Run, server: Simulator, command: Literal["transcript", "invoice"]
) -> None:
    body = b'{ "executionId":"id" ,"x":1.0e0 }\n'
    server.script_evidence("id", Reply.raw(200, body), document=command)
    assert run(command, "id").out == body.decode()


def test_a_terminal_shows_no_inputs(run: Run, execution_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    show_on_a_terminal(monkeypatch)
    ran = run("transcript", execution_id)
    assert ran.code == 0
    assert "inputs of tasks are not shown" in ran.err
    shown = json.loads(ran.out)
    assert shown["transcript"][0]["message"]["input"] == "(not shown)"
    assert "s3cret" not in ran.out
    invoice = run("invoice", execution_id)
    assert (json.loads(invoice.out)["executionId"], invoice.err) == (execution_id, "")


def test_there_is_none(run: Run, server: Simulator) -> None:
    ran = run("transcript", "missing")
    assert (ran.code, ran.out) == (3, "")
    assert "execution 'missing': the dispatcher answered 404" in ran.err
    assert run("invoice", "..").code == 2


# audit


def test_an_execution(run: Run, server: Simulator, execution_id: str) -> None:
    assert server.signer is not None
    ran = run("audit", execution_id, "--trust", server.signer)
    assert (ran.code, ran.err) == (0, "")
    transcript, invoice = map(json.loads, ran.out.splitlines())
    assert (transcript["evidence"], invoice["evidence"]) == ("transcript", "invoice")
    assert {transcript["verdict"], invoice["verdict"]} == {"as expected"}
    assert {check["signer"] for check in transcript["checks"] + invoice["checks"]} == {server.signer}
    assert transcript["executionId"] == execution_id
    assert "s3cret" not in ran.out
    ran = run("audit", execution_id, "--trust", HUB)
    assert ran.code == 1
    assert {json.loads(line)["verdict"] for line in ran.out.splitlines()} == {"different"}


def test_one_that_cannot_be_fetched_does_not_hide_the_others(run: Run, server: Simulator, execution_id: str) -> None:
    ran = run("audit", "missing", execution_id, "--trust", HUB)
    assert ran.code == 1
    assert [json.loads(line)["verdict"] for line in ran.out.splitlines()] == ["different", "different"]
    assert ran.err.count("404") == 2
    assert server.signer is not None
    assert run("audit", execution_id, "missing", "--trust", server.signer).code == 3


def test_wrong_addresses_are_found_before_anything_is_fetched(run: Run, server: Simulator) -> None:
    assert run("audit", "missing", "--trust", "0x12").code == 2
    assert not server.requests


def test_a_file_that_cannot_be_written_leaves_nothing(
    run: Run, server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, mode: str) -> Any:
        os.close(descriptor)
        return Path("/dev/full").open("wb")

    server.script_evidence("id", Reply.raw(200, b"{}"))
    monkeypatch.setattr(os, "fdopen", full)
    ran = run("transcript", "id", "--out", str(tmp_path / "out.json"))
    assert ran.code == 2
    assert "No space left on device" in ran.err
    assert not (tmp_path / "out.json").exists()


def test_an_execution_that_is_running(run: Run, server: Simulator) -> None:
    server.add("running", status="Running")
    ran = run("audit", "running")
    assert ran.code == 3
    assert json.loads(ran.out)["evidence"] == "transcript"
    assert "404" in ran.err


@pytest.mark.parametrize(
    ("files", "trusted", "code", "verdicts"),
    [
        ([TRANSCRIPT], [], 0, ["as expected"]),
        ([TRANSCRIPT], [HUB], 0, ["as expected"]),
        ([TRANSCRIPT], [OTHER], 1, ["different"]),
        ([INVOICE], [], 3, ["not compared"]),
        ([INVOICE], [OTHER], 0, ["as expected"]),
        ([TRANSCRIPT, INVOICE], [], 0, ["as expected", "not compared"]),
        ([TRANSCRIPT, INVOICE], [HUB], 1, ["as expected", "different"]),
        ([TRANSCRIPT, INVOICE], [HUB.lower(), OTHER], 0, ["as expected", "as expected"]),
    ],
)
def test_files(run: Run, files: list[Path], trusted: list[str], code: int, verdicts: list[str]) -> None:
    ran = run("audit", *map(str, files), *(part for address in trusted for part in ("--trust", address)))
    assert ran.code == code
    assert [json.loads(line)["verdict"] for line in ran.out.splitlines()] == verdicts


def test_a_table_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    show_on_a_terminal(monkeypatch)
    ran = run("audit", str(PAYLOADS / "transcript_function.json"), str(TRANSCRIPT), "--trust", OTHER)
    assert ran.code == 1
    shown = re.sub(r"\x1b\[[0-9;]*m", "", ran.out)
    assert max(map(len, shown.splitlines())) <= 80
    assert "0xE3Ac…058B" in shown
    assert f"{HUB} made 2 of the signatures" in shown
    assert "nodes asked: 2; nodes that had to agree: 2" in shown
    assert "Not checked:" in shown
    assert "hub" not in shown.lower()


def test_a_signature_that_nobody_can_have_made(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evidence = json.loads(TRANSCRIPT.read_text())
    evidence["transcript"][0]["signature"]["v"] = 99
    file = tmp_path / "\x1b[2J.json"
    file.write_text(json.dumps(evidence))
    show_on_a_terminal(monkeypatch)
    ran = run("audit", str(file))
    assert ran.code == 1
    assert "transcript[0]: v of the signature is neither" in ran.out
    assert "\x1b[2J" not in ran.out


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"hello", "is neither a transcript nor an invoice: it is not JSON"),
        (b'{"summary": 1}', "is neither a transcript nor an invoice: it has no field of one"),
        (b"[]", "neither"),
        (b'{"transcript": 7}', "neither"),
    ],
)
def test_other_files(run: Run, tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "file").write_bytes(content)
    ran = run("audit", str(tmp_path / "file"))
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["audit"], "ID|FILE"),
        (["audit", "nowhere/file"], "there is no such file"),
        (["audit", "missing.json"], "there is no such file"),
        (["audit", "/"], "directory"),
        (["audit", str(TRANSCRIPT), "--trust", "0x12"], "0x and 40 hexadecimal digits"),
        (["audit", ".."], "directory"),
    ],
)
def test_wrong_usage(run: Run, arguments: list[str], text: str) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert text in ran.prose


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("install the extra `audit`")

    monkeypatch.setattr(audit, "check_installed", missing)
    ran = run("audit", str(TRANSCRIPT))
    assert (ran.code, ran.out) == (2, "")
    assert "the extra `audit`" in ran.err


def test_an_invoice_that_cannot_be_fetched_is_said(run: Run, server: Simulator, execution_id: str) -> None:
    server.script_evidence(execution_id, Reply.error(500), document="invoice")
    ran = run("audit", execution_id)
    assert ran.code == 3
    assert "500" in ran.err
