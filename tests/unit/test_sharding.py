"""Which execution belongs to which shard, and the names of shards."""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async.sharding import Shard, shard_of

# Each number is the first 16 digits that `printf '%s' ID | sha256sum` prints, in decimal.
VECTORS = {
    "": 16406829232824261652,
    "success-01": 14962864237116026067,
    "abf5e6d2-f72d-4324-a046-bc6e9f27b303": 8129457668406852846,
    "00000000-0000-0000-0000-000000000000": 1349170572285598868,
    "Ä\N{SNOWMAN}\N{GRINNING FACE}": 9474850218271537358,
    "a\nb": 9086284064639102403,
    "x" * 512: 7212026910977811256,
    "\ud800": 10495218615758184372,  # a lone surrogate is the bytes ed a0 80
    "id-\udfff": 6717326602610492954,
}

any_text = st.text(st.characters(exclude_categories=[]))  # lone surrogates too
counts = st.integers(1, 100) | st.sampled_from([2**31, 2**63, 2**64, 2**70])


@pytest.mark.parametrize("execution_id", VECTORS)
def test_the_hash_never_changes(execution_id: str) -> None:
    for count in (1, 2, 3, 16, 1000, 2**32, 2**64):
        assert shard_of(execution_id, count) == VECTORS[execution_id] % count


@given(any_text, counts)
def test_the_hash_is_sha256(execution_id: str, count: int) -> None:
    digest = hashlib.sha256(execution_id.encode("utf-8", "surrogatepass")).hexdigest()
    assert shard_of(execution_id, count) == int(digest[:16], 16) % count


@given(any_text, st.integers(1, 20))
def test_every_execution_is_in_exactly_one_shard(execution_id: str, count: int) -> None:
    homes = [index for index in range(count) if execution_id in Shard(index, count)]
    assert homes == [shard_of(execution_id, count)]


@pytest.mark.parametrize("pattern", ["{:08x}-f72d-4324-a046-bc6e9f27b303", "order-{}"])
def test_shards_have_about_the_same_size(pattern: str) -> None:
    sizes = Counter(shard_of(pattern.format(number), 16) for number in range(100_000))
    assert sizes.keys() == set(range(16))
    # Of random numbers, a size is 6250 with a standard deviation of 77.
    assert max(abs(size - 6250) for size in sizes.values()) < 4 * 77


@pytest.mark.parametrize("execution_id", [None, 7, b"success-01", uuid.UUID(int=0)])
def test_an_id_is_a_text(execution_id: Any) -> None:
    with pytest.raises(TypeError, match=f"execution_id must be a str, not {type(execution_id).__name__}"):
        shard_of(execution_id, 16)
    with pytest.raises(TypeError, match="execution_id must be a str"):
        _ = execution_id in Shard(0, 16)


@pytest.mark.parametrize(
    ("count", "error", "message"),
    [
        (0, ValueError, "must be at least 1, not 0"),
        (-1, ValueError, "must be at least 1, not -1"),
        (True, TypeError, "must be a whole number, not bool"),
        (2.0, TypeError, "must be a whole number, not float"),
        ("2", TypeError, "must be a whole number, not str"),
    ],
)
def test_there_is_at_least_one_shard(count: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^shards {message}$"):
        shard_of("success-01", count)
    with pytest.raises(error, match=f"^count {message}$"):
        Shard(0, count)


@pytest.mark.parametrize(
    ("index", "error", "message"),
    [
        (16, ValueError, "must be from 0 to 15, not 16"),
        (-1, ValueError, "must be from 0 to 15, not -1"),
        (False, TypeError, "must be a whole number, not bool"),
        (1.0, TypeError, "must be a whole number, not float"),
        ("1", TypeError, "must be a whole number, not str"),
    ],
)
def test_there_is_no_such_shard(index: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"^index {message}$"):
        Shard(index, 16)


@pytest.mark.parametrize(
    ("text", "shard"), [("0/1", (0, 1)), ("3/16", (3, 16)), ("15/16", (15, 16)), ("03/16", (3, 16))]
)
def test_a_shard_is_parsed(text: str, shard: tuple[int, int]) -> None:
    assert Shard.parse(text) == Shard(*shard)
    assert str(Shard(*shard)) == "{}/{}".format(*shard)


WRONG_TEXTS = [
    "",
    "/",
    "3",
    "3/",
    "/16",
    "16/16",
    "0/0",
    "-1/16",
    "+3/16",
    "3 /16",
    "3/16\n",
    "3/16/2",
    "3.0/16",
    "٣/16",
]


@pytest.mark.parametrize("text", [*WRONG_TEXTS, "0/" + "9" * 5000])
def test_a_text_that_is_no_shard(text: str) -> None:
    with pytest.raises(ValueError, match="is not a shard; write INDEX/COUNT, for 16 shards from 0/16 to 15/16"):
        Shard.parse(text)


@pytest.mark.parametrize(
    ("shard", "name"),
    [
        (Shard(0, 1), "results-00-of-01.jsonl"),
        (Shard(3, 16), "results-03-of-16.jsonl"),
        (Shard(7, 100), "results-007-of-100.jsonl"),
        (Shard(99, 1000), "results-0099-of-1000.jsonl"),
    ],
)
def test_the_names_of_files_sort_as_their_shards(shard: Shard, name: str) -> None:
    assert shard.file_name == name
    names = [Shard(index, shard.count).file_name for index in range(shard.count)]
    assert sorted(names) == names


@given(st.data())
def test_texts_and_file_names_lead_back_to_the_shard(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 999_999_999))
    shard = Shard(data.draw(st.integers(0, count - 1)), count)
    assert Shard.parse(str(shard)) == shard
    assert Shard.of_file(shard.file_name) == shard
    assert Shard.of_file(Path("some", "folder", shard.file_name)) == shard


@pytest.mark.parametrize(
    "path",
    [
        "results.jsonl",
        "results-03-of-16.summary.json",
        "results-03-of-16.jsonl.gz",
        "old-results-03-of-16.jsonl",
        "results-16-of-16.jsonl",
        "results-00-of-00.jsonl",
        "results-x-of-16.jsonl",
        "results-03-of-16.jsonl/results.jsonl",
        f"results-0-of-{'9' * 5000}.jsonl",
    ],
)
def test_other_files_belong_to_no_shard(path: str) -> None:
    assert Shard.of_file(path) is None
