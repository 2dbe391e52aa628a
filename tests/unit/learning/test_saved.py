"""What was learned, as a file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from tests.unit.learning.simulated import FakeState, found
from truebit_async._learning import saved
from truebit_async._learning.ages import COUNT
from truebit_async._learning.saved import SavedGroup
from truebit_async.strategies import LearnedWait, Observation

GROUP = SavedGroup(20, 18.5, 0.25, [20.0, 19.5, 12.25], [0.0, 0.5])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "waits.json"


def taught() -> LearnedWait:
    wait, rng = LearnedWait(key=lambda execution_id: execution_id[:1]), Random(1)
    for execution_id in ("a1", "b1"):
        group = wait._group("function", execution_id)
        for _ in found(group, (rng.uniform(4, 9) for _ in range(100)), rng):
            pass
    return wait


def gaps(wait: LearnedWait) -> list[float]:
    return [
        wait(FakeState(age, execution_id=execution_id, wait_strategy=wait))
        for execution_id in ("a1", "b1")
        for age in (0.0, 3.0, 5.5, 8.0)
    ]


def test_a_round_trip(path: Path) -> None:
    groups = {("function", ""): GROUP, ("api", "ü\ud800\n"): SavedGroup(0, 0.0, 1.0, [], [])}
    saved.save(path, groups)
    assert saved.load(path) == groups
    assert list(saved.load(path)) == list(groups)


def test_a_round_trip_without_any_group(path: Path) -> None:
    wait = taught()
    LearnedWait().save(path)
    wait.load(path)
    assert wait.describe() == ()


def test_what_was_loaded_decides_the_same(path: Path) -> None:
    wait, again = taught(), LearnedWait(key=lambda execution_id: execution_id[:1])
    wait.save(path)
    again.load(path)
    once_more = LearnedWait(key=lambda execution_id: execution_id[:1])
    again.save(path)
    once_more.load(path)
    assert gaps(again) == pytest.approx(gaps(wait), rel=0.1)
    assert gaps(once_more) == pytest.approx(gaps(again), rel=0.1)
    names = [(each.kind, each.key, each.completed) for each in again.describe()]
    assert names == [("function", "a", 100), ("function", "b", 100)]


def test_every_file_can_be_loaded(path: Path) -> None:
    """Sums of rounded numbers may come out a little below zero."""
    draw = Random(1)
    for _ in range(10):
        learned = LearnedWait()
        for number in range(3):
            before, age = None, 0.0
            for polls in range(1, 5):
                what = "finished" if polls == 4 else "pending"
                observation = Observation(f"id-{number}", "function", age, before, polls, what)  # type: ignore[arg-type]
                learned.observe(observation)
                before, age = age, age + draw.uniform(0.01, 0.1)
        learned.save(path)
        LearnedWait().load(path)


def test_the_budget_stays_as_it_is(path: Path) -> None:
    taught().save(path)
    wait = LearnedWait(effort=5, min_interval=2, max_interval=3)
    wait.load(path)
    assert wait._terms.effort == 5
    assert all(2 <= gap <= 3 for gap in gaps(wait))


def test_numbers_keep_six_digits_and_zeros_at_the_end_are_left_out(path: Path) -> None:
    group = SavedGroup(3, 1 / 3, 2 / 3, [1 / 7, 0.0, 12345.678, *[0.0] * (COUNT - 3)], [0.0] * COUNT)
    saved.save(path, {("function", ""): group})
    loaded = saved.load(path)[("function", "")]
    assert (loaded.passes, loaded.ends) == ([0.142857, 0, 12345.7], [])
    assert (loaded.total, loaded.price) == (1 / 3, 2 / 3)


@pytest.mark.full
def test_a_thousand_groups_fit(path: Path) -> None:
    passes = [123.456789 + number for number in range(COUNT)]
    groups = {
        ("function", f"{number:04}" + "\U0001f600" * 196): SavedGroup(999, 499.99999, 1.2345, passes, passes)
        for number in range(saved.MAX_GROUPS)
    }
    saved.save(path, groups)
    assert len(saved.load(path)) == 1000
    assert path.stat().st_size < 8 * 2**20


def document(**changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {
        "kind": "function",
        "key": "",
        "completed": 20,
        "total": 18.5,
        "price": 0.25,
        "passes": [20, 19.5],
        "ends": [0, 0.5],
    }
    record = {name: value for name, value in (record | changes).items() if value is not ...}
    return {"learnedWaits": 1, "bins": {"first": 0.25, "ratio": 1.06, "count": COUNT}, "groups": [record]}


def write(path: Path, value: Any) -> None:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")


def test_the_format(path: Path) -> None:
    write(path, document())
    assert saved.load(path) == {("function", ""): SavedGroup(20, 18.5, 0.25, [20, 19.5], [0, 0.5])}


def refused(path: Path, reason: str) -> None:
    wait = LearnedWait()
    groups = wait._groups
    group = wait._group("function", "id")
    with pytest.raises(ValueError, match=reason) as caught:
        wait.load(path)
    assert str(caught.value).startswith(f"{path} is no file of learned waits: ")
    assert str(caught.value).endswith(". Delete it to learn anew.")
    assert caught.value.__cause__ is None
    assert wait._groups is groups
    assert groups == {("function", ""): group}


WRONG_VALUES: dict[str, list[Any]] = {
    "kind": [..., None, 7, "x" * 201],
    "key": [..., None, ["a"], "x" * 201],
    "completed": [..., None, -1, 1.5, True, "20"],
    "total": [..., None, -1, True, "20", [], math.nan, math.inf, 1e10, 10**400],
    "price": [..., None, -0.1, False, "1", math.nan, -math.inf, 1e300],
    "passes": [..., None, 7, {}, "text", [None], [-1e-9], [math.nan], [math.inf], [True], [1e300], [0] * (COUNT + 1)],
    "ends": [..., None, ["1"], [[1]], [10**400], [-1], [math.nan], [0] * (COUNT + 1)],
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_a_field_that_is_missing_or_wrong(path: Path, name: str) -> None:
    for value in WRONG_VALUES[name]:
        write(path, document(**{name: value}))
        refused(path, rf"{name} of groups\[0\] is missing or wrong")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "it is empty"),
        (" \n", "it is empty"),
        ("{", "it is not JSON"),
        ("nothing", "it is not JSON"),
        ('{"learnedWaits": 1} {}', "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ('{"learnedWaits": ' + "1" * 5000 + "}", "it is not JSON"),
        ([], "the field learnedWaits is missing"),
        (None, "the field learnedWaits is missing"),
        ({}, "the field learnedWaits is missing"),
        ({"groups": []}, "the field learnedWaits is missing"),
        (document() | {"learnedWaits": 2}, "another version of truebit_async has written it"),
        (document() | {"learnedWaits": "1"}, "another version of truebit_async has written it"),
        (document() | {"bins": {"first": 0.5, "ratio": 1.06, "count": COUNT}}, "another version"),
        (document() | {"bins": None}, "another version"),
        ({"learnedWaits": 1}, "another version"),
        (document() | {"groups": None}, "groups must be an array of at most 1000"),
        (document() | {"groups": {}}, "groups must be an array of at most 1000"),
        (document() | {"groups": [{}] * 1001}, "groups must be an array of at most 1000"),
        (document() | {"groups": [7]}, r"groups\[0\] is not an object"),
        (document() | {"groups": [document()["groups"][0], []]}, r"groups\[1\] is not an object"),
    ],
    ids=lambda value: None if isinstance(value, str) and len(value) < 60 else "",
)
def test_a_broken_file(path: Path, value: Any, reason: str) -> None:
    write(path, value)
    refused(path, reason)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"\x80", b"\x00" * 100, b'{"learnedWaits": "\xe4"}'])
def test_a_file_that_is_no_text(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    refused(path, "it is not JSON in UTF-8")


def test_a_file_that_is_too_large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(32 * 2**20 + 1)
    refused(path, "it is larger than 33554432 bytes")


def test_counts_that_make_no_sense_do_no_harm(path: Path) -> None:
    ends = [1e9 if number % 2 else 0 for number in range(COUNT)]
    for passes, total in (([0] * COUNT, 0), ([1e9] * COUNT, 1e9), ([], 1e9)):
        write(path, document(passes=passes, ends=ends, total=total, completed=500))
        wait = LearnedWait()
        wait.load(path)
        for age in (0.0, 1.0, 50.0, 80_000.0):
            for before in (0.0, age):
                wait.observe(Observation("id", "function", age + 1, before, 2, "pending"))
                wait.observe(Observation("id", "function", age + 1, before, 2, "finished"))
            assert 0.5 <= wait(FakeState(age, wait_strategy=wait)) <= 60
        wait.describe()


def test_a_file_that_is_not_there(path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LearnedWait().load(path)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        LearnedWait().save(tmp_path / "no" / "waits.json")


def test_a_path_may_be_a_text_or_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    taught().save("waits.json")
    LearnedWait().load("waits.json")
    LearnedWait().load(str(tmp_path / "waits.json"))


def fails(*_: Any, **__: Any) -> Any:
    raise OSError(28, "No space left on device")


def is_interrupted(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["fsync", "replace"])
@pytest.mark.parametrize(("failure", "error"), [(fails, OSError), (is_interrupted, KeyboardInterrupt)])
def test_a_failure_leaves_the_old_file_and_nothing_else(
    path: Path, name: str, failure: Callable[..., Any], error: type[BaseException]
) -> None:
    saved.save(path, {("function", ""): GROUP})
    before = path.read_bytes()
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(os, name, failure)
        with pytest.raises(error):
            taught().save(path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_to_clean_up_does_not_hide_what_went_wrong(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", is_interrupted)
    monkeypatch.setattr(os, "unlink", fails)
    with pytest.raises(KeyboardInterrupt):
        LearnedWait().save(path)


def test_saving_takes_the_place_of_the_old_file(path: Path) -> None:
    path.write_text("something else")
    saved.save(path, {("function", ""): GROUP})
    assert saved.load(path) == {("function", ""): GROUP}
    assert list(path.parent.iterdir()) == [path]
