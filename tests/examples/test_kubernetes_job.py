from __future__ import annotations

import asyncio
import os
import sysconfig
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import pytest
import yaml

from truebit_async.checkpoint import latest
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.sharding import Shard
from truebit_async.testing import Simulator

SCRIPTS = Path(sysconfig.get_path("scripts"))
IDS = [f"id-{number}" for number in range(100)]


@pytest.fixture
def job(example: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = yaml.safe_load(example.read_text(encoding="utf-8"))
    return manifest


@pytest.fixture
def container(job: dict[str, Any]) -> dict[str, Any]:
    (container,) = job["spec"]["template"]["spec"]["containers"]
    return dict(container)


@pytest.fixture
def volumes(container: dict[str, Any], tmp_path: Path) -> dict[str, Path]:
    """The folders of the volumes, by where they are in the container; with a file of IDs."""
    folders = {mount["mountPath"]: tmp_path / mount["name"] for mount in container["volumeMounts"]}
    for folder in folders.values():
        folder.mkdir()
    (folders["/ids"] / "ids.txt").write_text("\n".join(IDS))
    return folders


async def run_pod(container: dict[str, Any], volumes: dict[str, Path], url: str, index: int) -> tuple[int | None, str]:
    """Run the command of a pod as Kubernetes does; return its exit code and what it says."""
    words = [*container["command"], *container["args"]]
    words = [word.replace("$(JOB_COMPLETION_INDEX)", str(index)) for word in words]  # as the documentation says
    program, *arguments = [word.replace("/ids/", f"{volumes['/ids']}/") for word in words]
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / program,
        *arguments,
        stdout=PIPE,
        stderr=PIPE,
        cwd=volumes[container["workingDir"]],
        env={**os.environ, "TRUEBIT_API_KEY": "key", "TRUEBIT_BASE_URL": url},
    )
    _, err = await process.communicate()
    return process.returncode, err.decode()


async def test_a_pod_waits_for_its_shard(
    container: dict[str, Any], volumes: dict[str, Path], simulator: Simulator
) -> None:
    mine = sorted(execution_id for execution_id in IDS if execution_id in Shard(3, 16))
    for execution_id in mine:
        simulator.add(execution_id)
    code, said = await run_pod(container, volumes, simulator.url, 3)
    assert code == ExitCode.SUCCEEDED, said
    assert {request.headers["x-api-key"] for request in simulator.requests} == {"key"}
    assert sorted(record.execution_id for record in latest(volumes["/results"] / "results-03-of-16.jsonl")) == mine


@pytest.mark.full
@pytest.mark.timeout(90)  # 17 processes
async def test_all_pods_together_wait_for_each_execution_once(
    job: dict[str, Any], container: dict[str, Any], volumes: dict[str, Path], simulator: Simulator
) -> None:
    for execution_id in IDS:
        simulator.add(execution_id)
    slots = asyncio.Semaphore(4)

    async def run(index: int) -> tuple[int | None, str]:
        async with slots:
            return await run_pod(container, volumes, simulator.url, index)

    ended = await asyncio.gather(*map(run, range(job["spec"]["completions"])))
    assert {code for code, _ in ended} == {ExitCode.SUCCEEDED}, ended
    assert sorted(str(request.execution_id) for request in simulator.requests) == sorted(IDS)
    assert sorted(record.execution_id for record in latest(*volumes["/results"].glob("*.jsonl"))) == sorted(IDS)
    process = await asyncio.create_subprocess_exec(
        SCRIPTS / "truebit-async", "results", *sorted(volumes["/results"].glob("*.jsonl")), stdout=PIPE, stderr=PIPE
    )
    out, err = await process.communicate()
    assert (process.returncode, out.count(b"\n")) == (ExitCode.SUCCEEDED, len(IDS)), err


def test_what_a_retry_can_change_is_retried(job: dict[str, Any], container: dict[str, Any]) -> None:
    def actions(code: ExitCode) -> list[str]:
        """Return what the rules say to a failure with an exit code; nothing means that it is retried."""
        return [
            rule["action"]
            for rule in job["spec"]["podFailurePolicy"]["rules"]
            if (codes := rule.get("onExitCodes")) is not None
            and codes["containerName"] == container["name"]
            and codes["operator"] == "In"
            and code in codes["values"]
        ]

    assert actions(ExitCode.NOT_SUCCEEDED) == actions(ExitCode.USAGE) == ["FailIndex"]
    for code in (ExitCode.NO_FINAL_STATE, ExitCode.TERMINATED, ExitCode.INTERRUPTED):
        assert actions(code) == []
    assert "--resume" in container["args"]
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == 16
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "Never"  # the other fields require both


def test_the_key_is_in_no_field(container: dict[str, Any]) -> None:
    (variable,) = container["env"]
    assert variable["name"] == "TRUEBIT_API_KEY"
    assert variable["valueFrom"].keys() == {"secretKeyRef"}
    assert "value" not in variable


@pytest.mark.full
@pytest.mark.parametrize("version", ["1.33", "1.37"])
def test_kubernetes_knows_every_field(job: dict[str, Any], version: str) -> None:
    import kubernetes_validate  # noqa: PLC0415  # only in the extra dev: its schemas are large

    kubernetes_validate.validate(job, version, strict=True)
    job["spec"]["completionMod"] = job["spec"].pop("completionMode")
    with pytest.raises(kubernetes_validate.ValidationError, match="completionMod"):
        kubernetes_validate.validate(job, version, strict=True)
