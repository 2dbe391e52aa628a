"""`wait --interval learned`: what it learns is kept beside the results, and the summary says what it has gained."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from tests.cli.command import Run
from truebit_async import strategies
from truebit_async._learning import saved
from truebit_async._learning.saved import SavedGroup
from truebit_async._strategy_protocol import PollState
from truebit_async.checkpoint import Checkpoint
from truebit_async.cli.learned import BROKEN_FILE, LearnedInterval
from truebit_async.cli.options import LEARNED_FILE, Budgets
from truebit_async.cli.summary import Summary
from truebit_async.strategies import Gain, LearnedWait, Observation, ProportionalWait
from truebit_async.testing import Reply, Simulator

LEARNED = ["--interval", "learned"]
KEPT = Path(LEARNED_FILE)


class Quick(LearnedWait):
    """With a default that polls after 30 ms, so that tests are quick."""

    def __init__(self, *, key: Callable[[str], str] | None = None) -> None:
        super().__init__(key=key, min_interval=0.01)
        self._default = ProportionalWait(first=0.03, floor=0.03)


@pytest.fixture(autouse=True)
def _quick_and_in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "LearnedWait", Quick)
    monkeypatch.chdir(tmp_path)


def ids_of(server: Simulator, count: int, prefix: str = "id") -> list[str]:
    """Add executions that are found running three times."""
    ids = [f"{prefix}-{number}" for number in range(count)]
    for execution_id in ids:
        server.add(execution_id, polls=3)
    return ids


def completed(path: Path = KEPT) -> int:
    """Return how many executions a file has learned from."""
    return sum(group.completed for group in saved.load(path).values())


def files() -> list[str]:
    return sorted(path.name for path in Path().iterdir() if path.name != "stdin")


# The file


def test_the_next_batch_goes_on_with_what_was_learned(run: Run, server: Simulator) -> None:
    assert run("wait", *ids_of(server, 9, "first"), "--out", "monday.jsonl", *LEARNED).code == 0
    assert (files(), completed()) == ([LEARNED_FILE, "monday.jsonl"], 9)
    assert run("wait", *ids_of(server, 5, "second"), "--out", "tuesday.jsonl", *LEARNED).code == 0
    assert (files(), completed()) == ([LEARNED_FILE, "monday.jsonl", "tuesday.jsonl"], 14)


def test_the_file_is_in_the_directory_of_the_results(run: Run, server: Simulator) -> None:
    Path("there").mkdir()
    assert run("wait", *ids_of(server, 2), "--out", "there/results.jsonl", *LEARNED).code == 0
    assert (files(), completed(Path("there", LEARNED_FILE))) == (["there"], 2)


def test_a_shard_keeps_it_beside_its_results(run: Run, server: Simulator) -> None:
    ids = ids_of(server, 12)
    for index in range(2):
        assert run("wait", *ids, "--shard", f"{index}/2", *LEARNED).code == 0
    assert LEARNED_FILE in files()
    assert completed() == 12


@pytest.mark.parametrize("arguments", [LEARNED, ["--out", "results.jsonl"], [*LEARNED, "--json"]])
def test_nothing_is_kept_without_both_options(run: Run, server: Simulator, arguments: list[str]) -> None:
    assert run("wait", *ids_of(server, 2), *arguments).code == 0
    assert LEARNED_FILE not in files()


BROKEN = [
    ("", "is no file of learned waits: it is empty"),
    ("{", "is no file of learned waits: it is not JSON in UTF-8"),
    ("[]", "is no file of learned waits: the field learnedWaits is missing"),
    ('{"learnedWaits": 0}', "is no file of learned waits: another version of truebit_async has written it"),
    ('{"learnedWaits": 99}', "is no file of learned waits: another version of truebit_async has written it"),
]


@pytest.mark.parametrize(("content", "reason"), BROKEN)
@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_broken_file_is_a_warning_and_is_kept_under_another_name(
    run: Run, server: Simulator, content: str, reason: str, quiet: list[str]
) -> None:
    Path("there").mkdir()
    kept = Path("there", LEARNED_FILE)
    kept.write_text(content)
    ran = run("wait", *ids_of(server, 3), "--out", "there/results.jsonl", *LEARNED, *quiet)
    assert ran.code == 0
    assert [line for line in ran.err.splitlines() if "warning" in line] == [
        f"truebit-async: warning: there/learned-waits.json {reason}; this run learns anew"
    ]
    assert completed(kept) == 3
    assert Path("there", BROKEN_FILE).read_text() == content
    assert len(list(Path("there").iterdir())) == 3
    assert "warning" not in run("wait", *ids_of(server, 2, "more"), "--out", "there/more.jsonl", *LEARNED).err
    assert completed(kept) == 5


def test_a_file_that_cannot_be_read_is_a_warning(run: Run, server: Simulator) -> None:
    KEPT.mkdir()
    ran = run("wait", *ids_of(server, 3), "--out", "results.jsonl", *LEARNED)
    assert ran.code == 0
    assert ran.err.splitlines()[0] == (
        "truebit-async: warning: learned-waits.json cannot be read: Is a directory; this run learns anew"
    )
    assert (completed(), Path(BROKEN_FILE).is_dir()) == (3, True)


def test_a_file_that_can_be_neither_read_nor_replaced_costs_only_what_is_learned(run: Run, server: Simulator) -> None:
    KEPT.mkdir()
    Path(BROKEN_FILE).write_text("older")
    ran = run("wait", *ids_of(server, 3), "--out", "results.jsonl", *LEARNED)
    assert ran.code == 0
    assert [line for line in ran.err.splitlines() if "warning" in line] == [
        "truebit-async: warning: learned-waits.json cannot be read: Is a directory; this run learns anew",
        "truebit-async: warning: cannot write learned-waits.json: Not a directory; what this batch has learned is lost",
    ]
    assert (KEPT.is_dir(), Path(BROKEN_FILE).read_text()) == (True, "older")


def test_a_good_file_that_another_process_wrote_meanwhile_is_not_taken_for_the_broken_one() -> None:
    KEPT.write_text("{")
    learned, summary = LearnedInterval(Budgets(interval="learned"), Path("results.jsonl")), Summary()
    KEPT.replace(BROKEN_FILE)
    LearnedWait().save(KEPT)
    summary.requests = 1
    learned.end(summary)
    assert (completed(), Path(BROKEN_FILE).read_text()) == (0, "{")


@pytest.mark.parametrize("name", [LEARNED_FILE, BROKEN_FILE, f"./{LEARNED_FILE}"])
def test_the_results_must_not_take_its_place(run: Run, server: Simulator, name: str) -> None:
    ran = run("wait", *ids_of(server, 1), "--out", name, *LEARNED)
    assert (ran.code, files()) == (2, [])
    assert "name another --out file" in ran.err
    assert run("wait", "id-0", "--out", name).code == 0


def make_link(path: Path) -> None:
    Path("elsewhere.jsonl").touch()
    path.symlink_to("elsewhere.jsonl")


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to(os.devnull)


@pytest.mark.parametrize("make", [make_link, make_link_to_nothing])
def test_nothing_is_kept_beside_what_is_no_regular_file(
    run: Run, server: Simulator, make: Callable[[Path], None]
) -> None:
    make(Path("results.jsonl"))
    before = files()
    KEPT.write_text("{")
    ran = run("wait", *ids_of(server, 2), "--out", "results.jsonl", *LEARNED)
    assert (ran.code, "warning" in ran.err) == (0, False)
    assert (files(), KEPT.read_text()) == (sorted([*before, LEARNED_FILE]), "{")


def test_a_device_leaves_nothing_beside_it(run: Run, server: Simulator) -> None:
    assert run("wait", *ids_of(server, 2), "--out", os.devnull, *LEARNED).code == 0
    assert not Path(os.devnull).with_name(LEARNED_FILE).exists()


def test_results_in_a_directory_that_is_not_there(run: Run) -> None:
    ran = run("wait", "id", "--out", "stdin/results.jsonl", *LEARNED)
    assert (ran.code, "Not a directory" in ran.err) == (2, True)


# Executions that were submitted long before


def groups() -> dict[str, SavedGroup]:
    """Return the groups in the file by their key. The price of a plan gets better each time it is made."""
    return {key: attrs.evolve(group, price=0.0) for (_, key), group in saved.load(KEPT).items()}


def test_a_run_that_continues_a_file_leaves_what_fresh_runs_have_learned_alone(run: Run, server: Simulator) -> None:
    assert run("wait", *ids_of(server, 9, "first"), "--out", "results.jsonl", *LEARNED, "--resume").code == 0
    fresh = groups()
    assert {key: group.completed for key, group in fresh.items()} == {"": 9}
    for number in (1, 2):
        ids = ids_of(server, 4, f"late-{number}")
        assert run("wait", *ids, "--out", "results.jsonl", *LEARNED, "--resume").code == 0
        resumed = groups()
        assert resumed.pop("resumed").completed == 4 * number
        assert resumed == fresh
    assert run("wait", *ids_of(server, 3, "new"), "--out", "new.jsonl", *LEARNED).code == 0
    assert {key: group.completed for key, group in groups().items()} == {"": 12, "resumed": 8}


@pytest.mark.parametrize(("content", "is_known"), [(None, True), (b"", True), (b"{}\n", False)])
def test_it_polls_by_what_fresh_runs_have_learned_unless_it_continues_a_file(
    content: bytes | None, is_known: bool
) -> None:
    taught = LearnedWait()
    for number in range(64):
        taught.observe(Observation(f"id-{number}", "function", 0.0, None, 1, "pending"))
        taught.observe(Observation(f"id-{number}", "function", 18.0, 0.0, 2, "pending"))
        taught.observe(Observation(f"id-{number}", "function", 20.0, 18.0, 3, "finished"))
    taught.save(KEPT)
    if content is not None:
        Path("results.jsonl").write_bytes(content)
    strategy = LearnedInterval(Budgets(interval="learned"), Path("results.jsonl")).strategy
    assert strategy is not None
    assert (strategy(State(strategy, 0.0)) > 0.5) == is_known  # the default of these tests: 0.03


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_file_that_cannot_be_written_is_a_warning(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, quiet: list[str]
) -> None:
    def save(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Quick, "save", save)
    ran = run("wait", *ids_of(server, 2), "--out", "results.jsonl", *LEARNED, *quiet)
    assert (ran.code, files()) == (0, ["results.jsonl"])
    assert ran.err.splitlines()[0] == (
        "truebit-async: warning: cannot write learned-waits.json: No space left on device; "
        "what this batch has learned is lost"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_kept_after_a_signal(run: Run, server: Simulator, number: signal.Signals) -> None:
    ids = ids_of(server, 3)
    server.add("endless", status="Running")

    results = Path("results.jsonl")

    def stop() -> None:
        while not results.exists() or len(results.read_bytes().splitlines()) < len(ids):
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    stopper = threading.Thread(target=stop)
    stopper.start()
    ran = run("wait", *ids, "endless", "--out", "results.jsonl", *LEARNED)
    stopper.join()
    assert (ran.code, completed()) == (128 + number, 3)


def test_it_is_kept_after_an_execution_without_a_final_state(run: Run, server: Simulator) -> None:
    server.add("endless", status="Running")
    ran = run("wait", *ids_of(server, 3), "endless", "missing", "--deadline=0.5", "--out=results.jsonl", *LEARNED)
    assert (ran.code, completed()) == (3, 3)


def test_it_is_kept_after_a_bug(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(Checkpoint, "write", write)
    assert run("wait", *ids_of(server, 1), "--out=results.jsonl", *LEARNED).code == 70
    assert completed() == 1


def test_a_batch_without_requests_leaves_the_file_alone(run: Run, server: Simulator) -> None:
    arguments = ["wait", *ids_of(server, 2), "--out", "results.jsonl", *LEARNED]
    assert run(*arguments).code == 0
    before = KEPT.stat()
    assert run(*arguments, "--resume").code == 0
    assert (KEPT.stat().st_ino, KEPT.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


# The summary


def test_the_summary_says_what_was_gained(run: Run, server: Simulator) -> None:
    ran = run("wait", *ids_of(server, 20), *LEARNED)
    line = ran.err.splitlines()[-1]
    figures = re.fullmatch(
        r"--interval learned: ends were seen about (\d\.\d) s late on average, with (\d\.\d) requests per execution; "
        r"the default would have taken about (\d\.\d) s and (\d\.\d)",
        line,
    )
    assert figures is not None, line
    assert float(figures[2]) == round(len(server.requests) / 20, 1)


def test_the_json_summary_says_it_too(run: Run, server: Simulator) -> None:
    ids = ids_of(server, 20)
    summary = json.loads(run("wait", *ids, *LEARNED, "--json").out.splitlines()[-1])["summary"]
    learned = summary["learned"]
    names = ["executions", "meanDelaySeconds", "meanRequests", "defaultDelaySeconds", "defaultRequests"]
    assert list(learned) == names
    assert (learned["executions"], learned["meanRequests"]) == (20, summary["requests"] / 20)
    assert 0 < learned["meanDelaySeconds"] < 0.5
    assert 0 < learned["defaultDelaySeconds"] < 0.5
    assert 2 <= learned["defaultRequests"] < 20


def test_the_summary_has_two_lines_on_a_narrow_terminal() -> None:
    summary, console = Summary(), Console(width=80, file=io.StringIO())
    summary.watched, summary.gain = 20, Gain(20, 10.5, 1.04, 11.7, 1.94)
    with console.capture() as capture:
        console.print(summary.as_text(), highlight=False)
    assert [line.rstrip() for line in capture.get().splitlines()[-2:]] == [
        "--interval learned: ends were seen about 1.0 s late on average, with 10.5",
        "requests per execution; the default would have taken about 1.9 s and 11.7",
    ]


def test_the_summary_says_that_it_cannot_say_yet(run: Run, server: Simulator) -> None:
    server.add("ended")  # not counted: nobody saw it running
    for number, count in enumerate((0, 3, 15)):  # what was learned before does not count
        out = f"{number}.jsonl"
        ran = run("wait", *ids_of(server, count, f"id-{number}"), "ended", "--out", out, *LEARNED)
        assert ran.err.splitlines()[-1] == (
            f"--interval learned: too few executions have ended while it watched to say what it gains ({count} of 16)"
        )
    ran = run("wait", *ids_of(server, 15, "other"), *LEARNED, "--json")
    assert json.loads(ran.out.splitlines()[-1])["summary"]["learned"] is None


def test_the_summary_says_nothing_of_it_if_nothing_was_asked(run: Run, server: Simulator) -> None:
    arguments = ["wait", *ids_of(server, 2), "--out", "results.jsonl", *LEARNED, "--resume"]
    assert "--interval learned" in run(*arguments).err
    assert "--interval learned" not in run(*arguments).err


def test_without_the_option_the_summary_says_nothing_of_it(run: Run, server: Simulator) -> None:
    ran = run("wait", *ids_of(server, 20))
    assert (ran.code, "learned" in ran.err) == (0, False)
    ran = run("wait", *ids_of(server, 20, "other"), "--json")
    assert json.loads(ran.out.splitlines()[-1])["summary"]["learned"] is None


# The option


class State(PollState):
    def __init__(self, strategy: object, age: float) -> None:
        self.args = ("new",)
        self.kind, self.wait_strategy, self.is_pending = "function", strategy, True
        self.attempt_number, self.execution_age, self.consecutive_failures, self.seen_at = 4, age, 0, 9.0


def test_before_16_executions_have_ended_it_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategies, "LearnedWait", LearnedWait)
    strategy = LearnedInterval(Budgets(interval="learned"), None).strategy
    assert strategy is not None

    def gaps(wait: LearnedWait | ProportionalWait) -> list[float]:
        random.seed(1)
        return [wait(State(strategy, age)) for age in (0.0, 1.0, 7.0, 19.0, 70.0, 4000.0)]

    for number in range(16):
        assert gaps(strategy) == gaps(ProportionalWait())
        strategy.observe(Observation(f"id-{number}", "function", 0.0, None, 1, "pending"))
        strategy.observe(Observation(f"id-{number}", "function", 20.0, 18.0, 2, "finished"))
    assert gaps(strategy) != gaps(ProportionalWait())


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (
            ["wait", "id", "--interval", "lerned"],
            "'lerned' is neither a duration above zero (90s, 10m, 1h30m, 2d, 1.5h) nor 'learned'",
        ),
        (["wait", "id", "--interval=0"], "'0' is neither a duration above zero"),
        (["wait", "id", "--interval=-1s"], "'-1s' is neither a duration above zero"),
        (["run", "api", "ns/task", *LEARNED], "'learned' is for `truebit-async wait`"),
        (["run", "api", "ns/task", "--interval=Learned"], "'learned' is for `truebit-async wait`"),
        (["run", "api", "ns/task", "--interval=soon"], "'soon' is not a duration above zero"),
        (["status", "id", *LEARNED], "No such option '--interval'"),
    ],
)
def test_where_it_does_not_exist(run: Run, command: list[str], message: str) -> None:
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


@pytest.mark.parametrize("word", ["Learned", "LEARNED"])
def test_capitals_are_accepted(run: Run, server: Simulator, word: str) -> None:
    assert run("wait", *ids_of(server, 1), "--interval", word, "--out", "results.jsonl").code == 0
    assert completed() == 1


def test_the_help_tells_of_it_and_of_the_default(run: Run) -> None:
    text = " ".join(run("wait", "--help").out.split())
    assert "--interval DURATION|learned" in text
    assert "with --out it keeps that in learned-waits.json beside the file" in text
    for command in (["wait"], ["run", "api"], ["run", "function"]):
        text = " ".join(run(*command, "--help").out.split())
        assert "Default: about a fifth of the time it has run so far, from 1s to 8s." in text
    assert "learned" not in text


@pytest.mark.parametrize("arguments", [["--version"], ["wait", "--help"]])
def test_help_and_version_do_not_load_it(arguments: list[str]) -> None:
    script = (
        "import atexit, sys; from truebit_async.cli import main; "
        "atexit.register(lambda: print({'aiohttp', 'truebit_async.strategies'} & sys.modules.keys())); main()"
    )
    ran = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True)
    assert ran.stdout.splitlines()[-1] == "set()"


def test_a_429_suggests_a_longer_interval(run: Run, server: Simulator) -> None:
    server.script("busy", Reply.error(429, "slow down"))
    ran = run("wait", "busy", "--max-errors", "1")
    assert ran.code == 3
    assert "Try later, or lower --max-rate or --max-concurrency, or give a longer --interval." in ran.prose
