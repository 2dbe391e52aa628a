"""Parsing durations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from truebit_async.cli.duration import EXAMPLES, parse_duration, parse_duration_range


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("0.5", 0.5),
        ("10m", 600),
        ("1h30m", 5400),
        ("2d", 172_800),
        ("1.5h", 5400),
        ("1d2h3m4.5s", 93_784.5),
        ("1h90m", 9000),
        ("0h1s", 1),
        ("007", 7),
    ],
)
def test_valid_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "0s", "0h0m", "-1", "-1h", "+1", "soon", "s", "m5", "1x", "1H", "1h30", "30m1h", "1m1m", "1 h", " 1",
        "1\n", "1,5h", "1.h", ".5h", "1e3", "nan", "inf", "1_000", "\N{ARABIC-INDIC DIGIT ONE}", "1..5", "9" * 400,
    ],
)  # fmt: skip
def test_invalid_durations(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration above zero; write it like") as caught:
        parse_duration(text)
    assert repr(text) in str(caught.value)
    assert str(caught.value).endswith(EXAMPLES)


amounts = st.integers(0, 10_000)


@given(days=amounts, hours=amounts, minutes=amounts, seconds=amounts.filter(bool))
def test_units_are_added_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    expected = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert parse_duration(f"{days}d{hours}h{minutes}m{seconds}s") == expected
    assert parse_duration(str(expected)) == expected


@given(st.text("0123456789.dhms-e \n", max_size=12) | st.text(max_size=12))
def test_any_text_is_parsed_or_refused_with_the_same_message(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError as error:
        assert str(error) == f"{text!r} is not a duration above zero; write it like {EXAMPLES}"
    else:
        assert 0 < seconds < float("inf")
        assert set(text) <= set("0123456789.dhms")


# Ranges


@pytest.mark.parametrize(
    ("text", "shortest", "longest"),
    [
        ("10s", 10, 10),
        ("5..35s", 5, 35),
        ("5..35", 5, 35),
        ("5s..35", 5, 35),
        ("1..2m", 60, 120),
        ("30s..2m", 30, 120),
        ("0.5..1.5h", 1800, 5400),
        ("1m30s..1h", 90, 3600),
        ("1..1h30m", 60, 5400),  # the unit after the second one
        ("7..7", 7, 7),
        ("0.1..0.2", 0.1, 0.2),
    ],
)
def test_valid_ranges(text: str, shortest: float, longest: float) -> None:
    assert parse_duration_range(text) == (shortest, longest)


@pytest.mark.parametrize(
    "text", ["", "..", "5..", "..5", "a..b", "5-35s", "5...35", "1..2..3", "0..5s", "5..0", "-1..1"]
)
def test_invalid_ranges(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration above zero; write it like"):
        parse_duration_range(text)


@pytest.mark.parametrize("text", ["35..5s", "2m..1m", "61s..1m", "5..4.9"])
def test_a_range_begins_with_the_shorter_duration(text: str) -> None:
    with pytest.raises(ValueError, match="ends before it begins; write the shorter duration first") as caught:
        parse_duration_range(text)
    assert repr(text) in str(caught.value)


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.sampled_from(["", "s", "m", "h", "d"]))
def test_any_two_durations_are_a_range(shortest: int, more: int, unit: str) -> None:
    first, second = f"{shortest}{unit}", f"{shortest + more}{unit}"
    expected = (parse_duration(first), parse_duration(second))
    assert parse_duration_range(f"{first}..{second}") == expected
    assert parse_duration_range(f"{shortest}..{second}") == expected
