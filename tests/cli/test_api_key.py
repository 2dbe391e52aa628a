"""The option --api-key-file: the key is sent to the dispatcher, and appears nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.command import Run
from truebit_async.cli.api_key import read_api_key
from truebit_async.cli.wait import Wait
from truebit_async.testing import Simulator

KEY = "hunter2-but-longer"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", "from-the-environment")


@pytest.mark.parametrize("command", ["status", "wait"])
@pytest.mark.parametrize("ending", ["", "\n", "\r\n"])
def test_the_key_of_the_file_is_sent(run: Run, server: Simulator, tmp_path: Path, command: str, ending: str) -> None:
    server.add("id")
    (tmp_path / "key").write_bytes(f"{KEY}{ending}".encode())
    ran = run(command, "-v", "--api-key-file", str(tmp_path / "key"), "id")
    assert ran.code == 0
    assert [request.headers["x-api-key"] for request in server.requests] == [KEY]
    assert KEY not in ran.out + ran.err


def test_without_the_option_the_key_of_the_environment_is_sent(run: Run, server: Simulator) -> None:
    server.add("id")
    assert run("status", "id").code == 0
    assert [request.headers["x-api-key"] for request in server.requests] == ["from-the-environment"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; write the key into it"),
        (b"\n", "is empty; write the key into it"),
        (f"{KEY}\n\n".encode(), "printable ASCII"),
        (f"{KEY} \n".encode(), "printable ASCII"),
        (f"{KEY}\nsecond line".encode(), "printable ASCII"),
        (f"{KEY}é".encode(), "printable ASCII"),
        (f"\x00{KEY}".encode(), "printable ASCII"),
    ],
)
def test_a_file_without_a_valid_key_is_refused(run: Run, tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "key").write_bytes(content)
    ran = run("wait", "--api-key-file", str(tmp_path / "key"), "id")
    assert ran.code == 2
    assert "'--api-key-file'" in ran.prose
    assert message in ran.prose
    assert KEY not in ran.err
    with pytest.raises(ValueError, match=message) as caught:
        read_api_key(str(tmp_path / "key"))
    assert KEY not in str(caught.value)
    assert str(tmp_path / "key") in str(caught.value)


@pytest.mark.parametrize(("path", "message"), [("/no/such/file", "No such file"), ("/", "directory"), ("-", "No such")])
def test_an_unreadable_key_file_is_refused(run: Run, path: str, message: str) -> None:
    ran = run("status", "--api-key-file", path, "id")
    assert ran.code == 2
    assert f"cannot read {path}: " in ran.prose
    assert message in ran.prose


def test_a_bug_report_does_not_show_the_key(
    run: Run, server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        msg = f"leaked {KEY}"
        raise LookupError(msg)

    (tmp_path / "key").write_text(KEY)
    monkeypatch.setattr(Wait, "_wait", fail)
    ran = run("wait", "--api-key-file", str(tmp_path / "key"), "id")
    assert ran.code == 70
    assert "LookupError: leaked ***" in ran.err
    assert KEY not in ran.out + ran.err
    assert (
        os.environ["TRUEBIT_API_KEY"] == "from-the-environment"
    )  # a changed variable would be inherited by other processes
