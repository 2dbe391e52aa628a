from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, LocalCluster

from examples import dask_batch
from tests.simulator_thread import simulator_thread
from truebit_async.checkpoint import Checkpoint
from truebit_async.sharding import Shard, shard_of
from truebit_async.testing import Simulator

KEY = "the-secret-key"
IDS = [f"id-{number}" for number in range(24)]
EARLY, LATE = IDS[::2], IDS[1::2]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """A Simulator in another thread, in the environment of all processes."""
    with simulator_thread() as simulator:
        monkeypatch.setenv("TRUEBIT_BASE_URL", simulator.url)
        monkeypatch.setenv("TRUEBIT_API_KEY", KEY)
        monkeypatch.setenv("PYTHONWARNINGS", "error")
        yield simulator


@pytest.fixture
def half_done(server: Simulator, tmp_path: Path) -> Simulator:
    """A Simulator where half of the IDs are final, and a file with all IDs."""
    for execution_id in EARLY:
        server.add(execution_id)
    for execution_id in LATE:
        server.add(execution_id, status="Running")
    (tmp_path / "ids.txt").write_text("".join(f"{execution_id}\n" for execution_id in [*IDS, IDS[0]]))
    return server


@pytest.fixture
def cluster(half_done: Simulator) -> Iterator[LocalCluster]:
    with LocalCluster(processes=True, n_workers=2, threads_per_worker=8, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def command(example: Path, tmp_path: Path) -> list[str | Path]:
    return [sys.executable, example, tmp_path / "ids.txt", tmp_path / "results", "--shards", "4", "--max-rate", "1000"]


@contextmanager
def running(*command: str | Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as driver:
        try:
            yield driver
        finally:
            driver.kill()


def read_lines(driver: subprocess.Popen[str], count: int) -> list[str]:
    """Return the IDs of the next lines that a driver prints."""
    assert driver.stdout is not None
    return [json.loads(driver.stdout.readline())["executionId"] for _ in range(count)]


def rest(driver: subprocess.Popen[str]) -> tuple[int, list[str], str]:
    """Return the exit code of a driver, the IDs of the lines that it prints until then, and what it says."""
    out, err = driver.communicate(timeout=20)
    return driver.returncode, [json.loads(line)["executionId"] for line in out.splitlines()], err


def finish(simulator: Simulator) -> None:
    """Let the other half end, and forget the requests until now."""
    simulator.requests.clear()
    for execution_id in LATE:
        simulator.add(execution_id)


def on_disk(directory: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in directory.glob("*.jsonl"))


def asked(simulator: Simulator) -> Counter[str | None]:
    return Counter(request.execution_id for request in simulator.requests)


def test_outcomes_come_while_others_still_run_and_the_graph_has_no_key(half_done: Simulator, tmp_path: Path) -> None:
    with (
        LocalCluster(processes=False, n_workers=2, threads_per_worker=4, dashboard_address=None) as cluster,
        Client(cluster) as client,
    ):
        records = dask_batch.run_batch(client, tmp_path / "ids.txt", tmp_path, 4, max_rate=1000)
        assert sorted(next(records).execution_id for _ in EARLY) == sorted(EARLY)
        graph = pickle.dumps([task.run_spec for task in cluster.scheduler.tasks.values()])
        assert graph.count(b"ids.txt") >= 1
        assert KEY.encode() not in graph
        finish(half_done)
        assert sorted(record.execution_id for record in records) == sorted(LATE)
    assert {request.headers["x-api-key"] for request in half_done.requests} == {KEY}
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == [Shard(i, 4).file_name for i in range(4)]


@pytest.mark.full
def test_the_exit_code_counts_what_is_on_disk(
    server: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    server.add("good")
    ids, results = tmp_path / "ids.txt", tmp_path / "results"
    ids.write_text("good bad")

    def run() -> tuple[int, list[tuple[str, bool]]]:
        code = dask_batch.main()
        lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return code, sorted((line["executionId"], line["error"] is None) for line in lines)

    with LocalCluster(processes=False, n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster:
        arguments = ["dask_batch.py", str(ids), str(results), "--shards", "2"]
        monkeypatch.setattr(sys, "argv", [*arguments, "--scheduler", cluster.scheduler_address])
        assert run() == (3, [("bad", False), ("good", True)])  # not found
        server.add("bad", execution_status="failed")
        assert run() == run() == (4, [("bad", True), ("good", True)])
        ids.write_text("good")
        assert run() == (0, [("good", True)])
        assert asked(server) == {"good": 1, "bad": 2}
        ids.write_text("good more")
        with Checkpoint(results / Shard(shard_of("more", 2), 2).file_name, resume=True):  # by somebody else
            code, _ = run()
        assert code == 3


@pytest.mark.full
@pytest.mark.parametrize("arguments", [["--shards", "0"], ["--max-rate", "nan"], ["--max-rate", "0"], ["no-such-file"]])
def test_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    (tmp_path / "ids.txt").touch()
    files = [arguments.pop() if len(arguments) == 1 else str(tmp_path / "ids.txt"), str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["dask_batch.py", *files, *arguments])
    with pytest.raises(SystemExit) as caught:
        dask_batch.main()
    assert caught.value.code == 2
    assert "error: " in capsys.readouterr().err


@pytest.mark.full
def test_a_worker_is_killed(
    half_done: Simulator, cluster: LocalCluster, command: list[str | Path], tmp_path: Path
) -> None:
    with running(*command, "--scheduler", cluster.scheduler_address) as driver:
        assert sorted(read_lines(driver, len(EARLY))) == sorted(EARLY)
        assert on_disk(tmp_path / "results") == len(EARLY)
        victim = cluster.workers[0]  # the process that watches it starts another one
        assert cluster.scheduler is not None
        assert cluster.scheduler.workers[victim.worker_address].processing
        os.kill(victim.pid, signal.SIGKILL)
        finish(half_done)
        code, lines, said = rest(driver)
    assert (code, sorted(lines)) == (0, sorted(LATE)), said
    assert asked(half_done).keys() == set(LATE)  # nothing that was on disk
    assert on_disk(tmp_path / "results") == len(IDS)


def kill_and_resume(simulator: Simulator, command: list[str | Path], while_it_is_dead: Callable[[], None]) -> None:
    """Kill a driver in the middle of the batch, and run the same command again."""
    with running(*command) as driver:
        read_lines(driver, len(EARLY))
    while_it_is_dead()
    finish(simulator)
    with running(*command) as driver:
        code, lines, said = rest(driver)
    assert (code, sorted(lines)) == (0, sorted(IDS)), said
    assert asked(simulator).keys() == set(LATE)  # nothing that was on disk


@pytest.mark.full
def test_a_driver_is_killed_with_its_own_cluster(
    half_done: Simulator, command: list[str | Path], tmp_path: Path
) -> None:
    kill_and_resume(half_done, command, lambda: None)
    assert on_disk(tmp_path / "results") == len(IDS)


@pytest.mark.full
def test_a_driver_is_killed_and_its_tasks_go_on(
    half_done: Simulator, cluster: LocalCluster, command: list[str | Path], tmp_path: Path
) -> None:
    scheduler = cluster.scheduler
    assert scheduler is not None

    def check_tasks() -> None:
        while scheduler.clients.keys() != {"fire-and-forget"}:  # until it has noticed
            time.sleep(0.005)
        assert [task.state for task in scheduler.tasks.values()] == ["processing"] * 4

    kill_and_resume(half_done, [*command, "--scheduler", cluster.scheduler_address], check_tasks)
    assert on_disk(tmp_path / "results") == len(IDS)
