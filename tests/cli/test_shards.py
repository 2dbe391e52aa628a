"""`wait --shard`: several processes share a list of IDs."""

from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.command import Run
from truebit_async.checkpoint import read_checkpoint
from truebit_async.cli import sessions
from truebit_async.session import TruebitSession
from truebit_async.sharding import Shard
from truebit_async.testing import Reply, Simulator

IDS = [f"id-{number}" for number in range(60)]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def ids(server: Simulator) -> str:
    """A file with IDs; some occur twice."""
    for execution_id in IDS:
        server.add(execution_id)
    Path("ids.txt").write_text("\n".join([*IDS, *IDS[:7], ""]))
    return "ids.txt"


def written(path: str) -> list[str]:
    return [record.execution_id for record in read_checkpoint(path)]


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


@pytest.mark.parametrize("count", [1, 2, 7])
@pytest.mark.parametrize("source", ["file", "stdin", "arguments"])
def test_all_shards_together_wait_for_every_id_once(
    run: Run, server: Simulator, ids: str, count: int, source: str
) -> None:
    arguments = {"file": ["--from", ids], "stdin": ["--from", "-"], "arguments": IDS}[source]
    for index in range(count):
        ran = run("wait", *arguments, "--shard", f"{index}/{count}", "--json", stdin=Path(ids).read_bytes())
        assert ran.code == 0
        summary = json.loads(ran.out)["summary"]
        file = f"results-{index:02}-of-{count:02}.jsonl"
        assert summary["total"] == len(written(file))
        assert json.loads(Path(file).with_suffix(".summary.json").read_text())["summary"]["total"] == summary["total"]
        assert all(execution_id in Shard(index, count) for execution_id in written(file))
    assert Counter(request.execution_id for request in server.requests) == dict.fromkeys(IDS, 1)
    merged = run("results", *sorted(map(str, Path().glob("results-*.jsonl"))))
    assert (merged.code, set(merged.lines)) == (0, set(IDS))


def test_the_file_may_be_named(run: Run, ids: str) -> None:
    assert run("wait", "--from", ids, "--shard", "1/2", "--out", "part.jsonl").code == 0
    assert files() == ["ids.txt", "part.jsonl", "part.summary.json", "stdin"]


@pytest.mark.parametrize(("count", "rate"), [(1, 100.0), (4, 25.0)])
def test_the_rate_is_that_of_all_shards(
    run: Run, ids: str, monkeypatch: pytest.MonkeyPatch, count: int, rate: float
) -> None:
    rates = []

    def note(*args: object, max_rate: float | None, **kwargs: object) -> TruebitSession:
        rates.append(max_rate)
        return TruebitSession(*args, max_rate=max_rate, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(sessions, "TruebitSession", note)
    assert run("wait", "--from", ids, "--shard", f"0/{count}", "--max-rate", "100").code == 0
    assert rates == [rate]


def test_malformed_lines_are_counted_by_the_first_shard_only(run: Run, ids: str) -> None:
    with Path(ids).open("a") as file:
        file.write("not an id\n[1]\n")
    codes, malformed = [], []
    for index in range(3):
        ran = run("wait", "--from", ids, "--shard", f"{index}/3", "--json")
        codes.append(ran.code)
        malformed.append(json.loads(ran.out)["summary"]["malformed"])
        assert (f"{ids}:68: " in ran.err) is (index == 0)
    assert (codes, malformed) == ([3, 0, 0], [2, 0, 0])


def test_a_shard_without_ids_is_a_success(run: Run, server: Simulator, ids: str) -> None:
    Path(ids).write_text("id-0\n")
    empty = next(index for index in range(3) if "id-0" not in Shard(index, 3))
    ran = run("wait", "--from", ids, "--shard", f"{empty}/3")
    assert (ran.code, ran.err) == (0, f"no ID of the input belongs to shard {empty}/3\n")
    assert run("wait", "--from", ids, "--shard", f"{empty}/3", "--resume", "-q").err == ""
    assert not server.requests
    assert Path(f"results-0{empty}-of-03.summary.json").exists()


def test_a_shard_is_resumed(run: Run, server: Simulator, ids: str) -> None:
    arguments = ["wait", "--from", ids, "--shard", "0/2"]
    mine = [execution_id for execution_id in IDS if execution_id in Shard(0, 2)]
    server.script(mine[0], Reply.error(404), Reply.success("later"))
    assert run(*arguments).code == 3
    assert json.loads(Path("results-00-of-02.summary.json").read_text())["summary"]["exitCode"] == 3
    ran = run(*arguments)
    assert (ran.code, "give --resume" in ran.err) == (2, True)
    assert Path("results-00-of-02.summary.json").exists()  # nothing has begun
    server.requests.clear()
    ran = run(*arguments, "--resume", "--json")
    assert (ran.code, json.loads(ran.out)["summary"]["skipped"]) == (0, len(mine) - 1)
    assert [request.execution_id for request in server.requests] == [mine[0]]
    assert json.loads(Path("results-00-of-02.summary.json").read_text())["summary"]["exitCode"] == 0


def test_a_stopped_shard_has_no_summary(run: Run, server: Simulator, ids: str) -> None:
    for execution_id in IDS:
        server.script(execution_id, Reply.error(401))
    Path("results-00-of-02.summary.json").write_text("of an earlier run")
    ran = run("wait", "--from", ids, "--shard", "0/2", "--resume")
    assert ran.code == 2
    assert ran.err.endswith("to continue results-00-of-02.jsonl, run the same command with --resume\n")
    assert not Path("results-00-of-02.summary.json").exists()


def test_a_summary_that_cannot_be_replaced(run: Run, server: Simulator, ids: str) -> None:
    Path("results-00-of-02.summary.json").mkdir()
    ran = run("wait", "--from", ids, "--shard", "0/2")
    assert ran.code == 2
    assert re.search(r"results-00-of-02\.summary\.json: it cannot be replaced: \w+", ran.err)
    assert not server.requests


def test_a_full_disk_under_the_summary(run: Run, ids: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = Path.write_text

    def write(path: Path, *args: str, **kwargs: str) -> int:
        if path.name.endswith(".summary.json"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real_write(path, *args, **kwargs)

    monkeypatch.setattr(Path, "write_text", write)
    ran = run("wait", "--from", ids, "--shard", "0/2")
    assert ran.code == 3
    message = "cannot write results-00-of-02.summary.json: No space left on device; all results are in the --out file"
    assert ran.err.splitlines()[-1] == f"truebit-async: {message}"


@pytest.mark.parametrize("shard", ["2/2", "1", "1/0", "-1/2", "a/b", "1/2/3", "0/1 ", ""])
def test_what_is_no_shard(run: Run, server: Simulator, shard: str) -> None:
    ran = run("wait", "id", f"--shard={shard}")
    assert (ran.code, ran.out) == (2, "")
    assert f"{shard!r} is not a shard; write INDEX/COUNT, for 16 shards from 0/16 to 15/16" in ran.err
    assert not server.requests
    assert files() == ["stdin"]


def test_another_number_of_shards_is_a_warning(run: Run, server: Simulator, ids: str) -> None:
    run("wait", "--from", ids, "--shard", "0/2")
    ran = run("wait", "--from", ids, "--shard", "0/3", "-q")
    assert (
        ran.err == "warning: results-00-of-02.jsonl belongs to another number of shards; its IDs are waited for again\n"
    )
