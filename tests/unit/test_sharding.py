from __future__ import annotations

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async.sharding import Shard, shard_of

ANY_ID = st.text(st.characters(exclude_categories=()))  # with lone surrogates


@pytest.mark.parametrize(
    ("execution_id", "of_2", "of_16", "of_1000"),
    [  # by `printf %s ID | sha256sum | cut -c1-16`
        ("success-01", 1, 3, 67),
        ("abf5e6d2-f72d-4324-a046-bc6e9f27b303", 0, 14, 846),
        ("", 0, 4, 652),
        ("Ärzte", 0, 2, 538),
        ("id-\ud800", 0, 0, 768),  # a lone surrogate, as the bytes ed a0 80
    ],
)
def test_the_hash_never_changes(execution_id: str, of_2: int, of_16: int, of_1000: int) -> None:
    found = [shard_of(execution_id, shards) for shards in (1, 2, 16, 1000)]
    assert found == [0, of_2, of_16, of_1000]
    assert execution_id in Shard(of_16, 16)
    assert execution_id not in Shard(of_16 ^ 1, 16)


def test_shards_are_of_equal_size() -> None:
    sizes = Counter(shard_of(f"id-{number}", 16) for number in range(100_000))
    expected = 100_000 / 16
    # Of a hash that spreads IDs evenly, one sum in a thousand is above 37.7 (chi-square, 15 degrees of freedom).
    assert sum((sizes[index] - expected) ** 2 / expected for index in range(16)) < 37.7


@given(ANY_ID, st.integers(1, 2000))
def test_each_execution_is_in_one_shard(execution_id: str, count: int) -> None:
    assert [index for index in range(count) if execution_id in Shard(index, count)] == [shard_of(execution_id, count)]


@pytest.mark.parametrize("shards", [True, 2.0, "2", None])
def test_a_count_is_a_whole_number(shards: int) -> None:
    with pytest.raises(TypeError, match="shards must be a whole number"):
        shard_of("id", shards)
    with pytest.raises(TypeError, match="count must be a whole number"):
        Shard(0, shards)
    with pytest.raises(TypeError, match="index must be a whole number"):
        Shard(shards, 16)


@pytest.mark.parametrize("shards", [0, -1])
def test_there_is_at_least_one_shard(shards: int) -> None:
    with pytest.raises(ValueError, match="shards must be at least 1"):
        shard_of("id", shards)
    with pytest.raises(ValueError, match="count must be at least 1"):
        Shard(0, shards)


@pytest.mark.parametrize("index", [-1, 16, 17])
def test_an_index_is_below_the_count(index: int) -> None:
    with pytest.raises(ValueError, match=f"index must be from 0 to 15, not {index}"):
        Shard(index, 16)


@pytest.mark.parametrize(
    ("text", "shard", "file_name"),
    [
        ("0/1", Shard(0, 1), "results-00-of-01.jsonl"),
        ("3/16", Shard(3, 16), "results-03-of-16.jsonl"),
        ("99/100", Shard(99, 100), "results-099-of-100.jsonl"),
        ("7/1000", Shard(7, 1000), "results-0007-of-1000.jsonl"),
    ],
)
def test_a_shard_has_a_text_and_a_file(text: str, shard: Shard, file_name: str) -> None:
    assert Shard.parse(text) == shard
    assert str(shard) == text
    assert shard.file_name == file_name
    assert Shard.of_file(file_name) == Shard.of_file(Path("/data/night") / file_name) == shard
    assert pickle.loads(pickle.dumps(shard)) == shard  # noqa: S301  # ours


def test_files_of_shards_are_in_order_by_their_names() -> None:
    names = [Shard(index, 1000).file_name for index in range(1000)]
    assert sorted(names) == names


@pytest.mark.parametrize(
    "text", ["", "3", "/", "3/", "/16", "16/16", "0/0", "-1/16", "3/16/", "3/16\n", "3/a", "٣/16", f"0/{'9' * 5000}"]
)
def test_a_text_that_names_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a shard; write INDEX/COUNT, for 16 shards from 0/16 to 15/16"):
        Shard.parse(text)


@pytest.mark.parametrize(
    "name",
    [
        "results.jsonl",
        "results-03.jsonl",
        "results-16-of-16.jsonl",
        "results-00-of-00.jsonl",
        "results-03-of-16.jsonl.part",
        "results-03-of-16.summary.json",
        "old-results-03-of-16.jsonl",
        f"results-00-of-{'9' * 5000}.jsonl",
        "results-03-of-16.jsonl/data",
    ],
)
def test_another_file_has_no_shard(name: str) -> None:
    assert Shard.of_file(name) is None


def test_importing_it_is_cheap() -> None:
    script = (
        "import sys, truebit_async.sharding as it; print(*{'aiohttp', 'asyncio', 'cattrs'} & sys.modules.keys(), it)"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("<module")
