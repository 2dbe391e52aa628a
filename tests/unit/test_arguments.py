"""What a user passes in, and which of it is refused with the name of the argument."""

from __future__ import annotations

import math
from typing import Any

import pytest

from truebit_async._arguments import check_api_key, check_base_url, check_count, check_positive

# Numbers


@pytest.mark.parametrize("value", [1, 0.5, 1e308, 10**308])
def test_numbers_above_zero(value: float) -> None:
    check_positive("x", value)
    check_positive("x", value, zero_allowed=True)
    check_positive("x", 0, zero_allowed=True)


@pytest.mark.parametrize(
    "value", [0, -1, -0.5, math.nan, math.inf, -math.inf, 10**309, 10**400, -(10**400), 10**5000], ids=range(10)
)
def test_numbers_that_are_not_above_zero_and_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"^x must be above zero and finite, not ") as caught:
        check_positive("x", value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("value", [None, "1", True, 1j, [1]])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match="x must be a number, not "):
        check_positive("x", value)
    with pytest.raises(TypeError, match="x must be a whole number, not "):
        check_count("x", value)


@pytest.mark.parametrize("value", [0, -1, -(10**5000)], ids=range(3))
def test_counts_below_one(value: int) -> None:
    check_count("x", 1)
    with pytest.raises(ValueError, match="x must be at least 1, not "):
        check_count("x", value)


def test_a_count_is_whole() -> None:
    with pytest.raises(TypeError, match="x must be a whole number, not float"):
        check_count("x", 1.0)


# Base URLs


@pytest.mark.parametrize(
    "base_url",
    [
        "http://dispatcher.example",
        "https://dispatcher.example:8443/a%2Fb/",
        "https://dispatcher.example.",
        "http://my_service:8080",
        "http://127.0.0.1:1",
        "http://[::1]:1",
        "http://[fe80::1%25eth0]:1",
        "https://bücher.example",
        "https://日本.example",
        f"https://{'a' * 63}.example",
    ],
)
def test_base_urls(base_url: str) -> None:
    assert check_base_url(base_url).host


@pytest.mark.parametrize(
    "base_url",
    ["ftp://dispatcher.example", "dispatcher.example", "/path", "", "https://", "https:///path", "file:///etc/passwd"],
)
def test_base_urls_that_are_not_http(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must be an http:// or https:// address"):
        check_base_url(base_url)


@pytest.mark.parametrize(
    "base_url",
    [
        "http://a..b",
        "http://.example.com",
        "http://dispatcher.example..",
        f"http://{'a' * 64}.example",
        f"http://{'a' * 70}",
        f"http://{'ü' * 63}.example",
        "http://xn--zzzzz-",
        "http://a\N{IDEOGRAPHIC FULL STOP}\N{IDEOGRAPHIC FULL STOP}b",
    ],
)
def test_base_urls_with_a_host_that_cannot_be_looked_up(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"^base_url ") as caught:
        check_base_url(base_url)
    assert not isinstance(caught.value, UnicodeError)


@pytest.mark.parametrize("base_url", ["https://user:hunter2@dispatcher.example", "https://hunter2@dispatcher.example"])
def test_base_urls_with_credentials_are_refused_and_not_repeated(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must not have credentials") as caught:
        check_base_url(base_url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["https://dispatcher.example?x=1", "https://dispatcher.example/#part"])
def test_base_urls_with_a_query_or_fragment(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must not have a query or a fragment"):
        check_base_url(base_url)


@pytest.mark.parametrize("base_url", ["https://[::1", "https://dispatcher.example:port"])
def test_base_urls_that_are_no_urls(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url is not a URL"):
        check_base_url(base_url)


def test_a_base_url_of_another_type() -> None:
    with pytest.raises(TypeError, match="base_url must be a str, not int"):
        check_base_url(7)  # type: ignore[arg-type]


# API keys


def test_an_api_key() -> None:
    assert check_api_key("!aZ~") == "!aZ~"


@pytest.mark.parametrize("api_key", ["", "hunter2\n", "hunter 2", "hunter2\r\nX-Evil: 1", "hünter2", "\x7fhunter2"])
def test_api_keys_that_cannot_be_sent_are_not_repeated(api_key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be printable ASCII") as caught:
        check_api_key(api_key)
    assert "nter2" not in str(caught.value)


def test_an_api_key_of_another_type() -> None:
    with pytest.raises(TypeError, match="api_key must be a str, not bytes"):
        check_api_key(b"secret")  # type: ignore[arg-type]
