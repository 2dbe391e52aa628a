"""The options for load and patience."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.cli.command import Run
from truebit_async import PollPolicy, TruebitSession
from truebit_async.cli import sessions
from truebit_async.cli.options import Budgets, Connection
from truebit_async.testing import Reply, Simulator


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The arguments of the session that a command makes."""
    arguments: dict[str, Any] = {}

    def record(*args: Any, **kwargs: Any) -> TruebitSession:
        arguments.update(kwargs)
        return TruebitSession(*args, **kwargs)

    monkeypatch.setattr(sessions, "TruebitSession", record)
    monkeypatch.setattr(sessions, "PollPolicy", PollPolicy)
    return arguments


ALL = ["--deadline=2m", "--not-found-grace=1s", "--request-timeout=5s", "--max-errors=7", "--interval=10s",
       "--max-rate=20.5", "--max-concurrency=3"]  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [["wait", "id"], ["run", "function", "demo/square", "--input=7", "--total-solutions=3", "--required-solutions=2"]],
    ids=["wait", "run"],
)
def test_every_budget_reaches_the_session(
    run: Run, server: Simulator, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", "key")
    server.add("id")
    server.deploy_function("demo", "square", str)
    assert run(*command, *ALL).code == 0
    policy = given["policy"]
    assert (policy.deadline, policy.not_found_grace, policy.request_timeout) == (120.0, 1.0, 5.0)
    assert (policy.max_consecutive_errors, given["max_rate"], given["max_concurrency"]) == (7, 20.5, 3)
    gaps = [policy.wait(None) for _ in range(100)]
    assert 8 <= min(gaps) < 9
    assert 11 < max(gaps) <= 12


def test_without_options_the_defaults_are_those_of_the_library(
    run: Run, server: Simulator, given: dict[str, Any]
) -> None:
    server.add("id")
    assert run("wait", "id").code == 0
    default = PollPolicy()
    for name in ("deadline", "not_found_grace", "request_timeout", "max_consecutive_errors"):
        assert getattr(given["policy"], name) == getattr(default, name)
    assert (given["max_rate"], given["max_concurrency"]) == (None, 64)


def test_a_shard_takes_its_part_of_the_rate(server: Simulator, given: dict[str, Any]) -> None:
    sessions.make_session(Connection(server.url, None, verbose=False), Budgets(max_rate=32.0), shards=16)
    assert given["max_rate"] == 2.0


def test_the_rate_is_kept(run: Run, server: Simulator) -> None:
    for number in range(8):
        server.add(f"id-{number}")
    assert run("wait", *(f"id-{number}" for number in range(8)), "--max-rate", "20").code == 0
    times = [request.time for request in server.requests]
    assert times[-1] - times[0] >= 7 / 20 * 0.9


def test_max_errors(run: Run, server: Simulator) -> None:
    server.script("id", *[Reply.error(500, "down")] * 3, Reply.success("up"))
    assert run("wait", "id", "--max-errors", "2").code == 3
    server.script("id", *[Reply.error(500, "down")] * 3, Reply.success("up"))
    assert run("wait", "id", "--max-errors", "4").code == 0


@pytest.mark.parametrize(
    ("option", "value"),
    [
        *itertools.product(["--max-rate"], ["0", "-1", "nan", "inf", "fast", "1e400"]),
        *itertools.product(["--max-concurrency", "--max-errors"], ["0", "-1", "2.5", "many"]),
        *itertools.product(["--deadline", "--request-timeout"], ["0", "-1s", "soon"]),
    ],
)
def test_wrong_values(run: Run, option: str, value: str) -> None:
    ran = run("wait", "id", f"{option}={value}")
    assert (ran.code, ran.out) == (2, "")
    assert f"Invalid value for '{option}': '{value}' is not a" in ran.err


@pytest.mark.parametrize("others", [["--json"], ["--out", "out.jsonl"], ["--shard", "0/2"]])
def test_a_format_that_would_be_ignored_is_refused(run: Run, others: list[str]) -> None:
    ran = run("wait", "id", "--format", "text", *others)
    assert (ran.code, ran.out) == (2, "")
    assert "--format goes neither with --json nor with --out or --shard" in ran.err
