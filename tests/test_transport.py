"""One exchange: what is sent, and what becomes of every failure below. Replies come from aioresponses."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import CallbackResult, aioresponses

from truebit_async import __version__, errors
from truebit_async._transport import Transport

URL = "https://dispatcher.example/task/id"
KEY = ConnectionKey("dispatcher.example", 443, True, True, None, None, None)


def make(base_url: str = "https://dispatcher.example", api_key: str | None = None, **options: Any) -> Transport:
    options = {"http": None, "max_connections": 4, "max_response_bytes": 1000, **options}
    return Transport(base_url, api_key, **options)


async def get(transport: Transport, path: str = "/task/id", timeout: float = 5) -> Any:  # noqa: ASYNC109
    try:
        return await transport.get(path, execution_id="id", timeout=timeout)
    finally:
        await transport.close()


async def test_a_response_is_read_whatever_its_status(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, status=503, body=b"busy", headers={"Retry-After": "7"})
    status, headers, body = await get(make())
    assert (status, headers["retry-after"], body) == (503, "7", b"busy")


async def test_what_is_sent(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, status=200)
    async with aiohttp.ClientSession() as http:
        await get(make(api_key="secret", http=http))
    ((call,),) = mocked_http.requests.values()
    assert call.kwargs["headers"] == {
        "Accept": "application/json",
        "User-Agent": f"truebit-async/{__version__}",
        "x-api-key": "secret",
    }
    assert call.kwargs["allow_redirects"] is False
    assert call.kwargs["raise_for_status"] is False
    assert call.kwargs["timeout"] == aiohttp.ClientTimeout()


async def test_without_a_key_no_key_is_sent(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, status=200)
    async with aiohttp.ClientSession() as http:
        await get(make(http=http))
    ((call,),) = mocked_http.requests.values()
    assert "x-api-key" not in call.kwargs["headers"]


@pytest.mark.parametrize("base_url", ["https://dispatcher.example/a%2Fb", "https://dispatcher.example/a%2Fb/"])
async def test_a_path_in_the_base_url_is_a_prefix(mocked_http: aioresponses, base_url: str) -> None:
    mocked_http.get("https://dispatcher.example/a%2Fb/task/id", status=200)
    assert (await get(make(base_url)))[0] == 200


LOWER_LAYER_FAILURES: list[Exception] = [
    aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(-2, "Name or service not known")),
    aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, "Connection refused")),
    aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError(1, "wrong version number")),
    aiohttp.ClientConnectorCertificateError(KEY, ssl.CertificateError("unknown authority")),
    aiohttp.ServerFingerprintMismatch(b"a", b"b", "dispatcher.example", 443),
    aiohttp.ServerDisconnectedError(),
    aiohttp.ClientOSError(104, "Connection reset by peer"),
    aiohttp.ClientPayloadError("not enough data"),
    aiohttp.ClientResponseError(Mock(), (), status=400, message="bad HTTP"),
    aiohttp.ClientHttpProxyError(Mock(), (), status=407),
    aiohttp.ServerTimeoutError("from an injected session"),
    aiohttp.InvalidURL("x"),
    aiohttp.ClientError(),
    ConnectionResetError(104, "Connection reset by peer"),
    TimeoutError("somebody else's"),
    OSError(24, "Too many open files"),
]


@pytest.mark.parametrize("failure", LOWER_LAYER_FAILURES, ids=lambda failure: type(failure).__name__)
async def test_every_failure_below_is_a_transport_error(mocked_http: aioresponses, failure: Exception) -> None:
    mocked_http.get(URL, exception=failure)
    with pytest.raises(errors.TransportError) as caught:
        await get(make())
    assert type(caught.value) is errors.TransportError
    assert caught.value.__cause__ is failure
    assert type(failure).__name__ in caught.value.detail
    assert "'id'" in str(caught.value)


async def test_a_failure_in_the_body_is_one_too(mocked_http: aioresponses, monkeypatch: pytest.MonkeyPatch) -> None:
    mocked_http.get(URL, body=b"x")
    failure = aiohttp.ClientPayloadError("cut off")
    monkeypatch.setattr(aiohttp.StreamReader, "readany", Mock(side_effect=failure))
    with pytest.raises(errors.TransportError) as caught:
        await get(make())
    assert caught.value.__cause__ is failure


@pytest.mark.parametrize("bug", [ZeroDivisionError(), RuntimeError()])
async def test_a_bug_is_not_dressed_up(mocked_http: aioresponses, bug: Exception) -> None:
    mocked_http.get(URL, exception=bug)
    with pytest.raises(type(bug)):
        await get(make())


async def test_a_closed_transport_does_not_open_again() -> None:
    transport = make()
    await transport.close()
    with pytest.raises(errors.SessionClosedError):
        await get(transport)
    assert transport._http is None


@pytest.mark.virtual_time
@pytest.mark.parametrize("timeouts", [(2.0, 5.0), (5.0, 2.0)])
async def test_each_of_several_exchanges_has_its_own_timeout(
    mocked_http: aioresponses, timeouts: tuple[float, float]
) -> None:
    async def hang(*_: Any, **__: Any) -> CallbackResult:
        await asyncio.sleep(3600)
        raise AssertionError

    mocked_http.get(URL, callback=hang, repeat=True)
    transport, clock = make(), asyncio.get_running_loop().time
    started = clock()

    async def time_out(seconds: float) -> float:
        with pytest.raises(errors.RequestTimeoutError):
            await transport.get("/task/id", execution_id="id", timeout=seconds)
        return clock() - started

    assert await asyncio.gather(*map(time_out, timeouts)) == pytest.approx(timeouts)
    await transport.close()


@pytest.mark.virtual_time
async def test_one_exchange_takes_no_longer_than_its_timeout(mocked_http: aioresponses) -> None:
    async def hang(*_: Any, **__: Any) -> CallbackResult:
        await asyncio.sleep(3600)
        raise AssertionError

    mocked_http.get(URL, callback=hang)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(errors.RequestTimeoutError) as caught:
        await get(make(), timeout=7.3)
    assert loop.time() - started == pytest.approx(7.3)
    assert caught.value.request_timeout == 7.3


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False), (100_000, False)])
async def test_a_body_has_a_limit(mocked_http: aioresponses, size: int, fits: bool) -> None:
    mocked_http.get(URL, body=b"a" * size)
    if fits:
        assert len((await get(make()))[2]) == size
        return
    with pytest.raises(errors.ResponseTooLargeError, match="larger than 1000 bytes") as caught:
        await get(make())
    assert caught.value.max_response_bytes == 1000
    assert caught.value.body_excerpt == "a" * min(size, 1024)


async def test_limits_share_one_timer_and_leave_none_behind(mocked_http: aioresponses) -> None:
    loop = asyncio.get_running_loop()
    transport = make()

    async def slow(*_: Any, **__: Any) -> CallbackResult:
        await asyncio.sleep(0.05)
        return CallbackResult()

    mocked_http.get(URL, callback=slow, repeat=True)
    timeouts = [7.0, 0.01, 5.0, 0.02, 0.01]
    requests = [asyncio.create_task(transport.get("/task/id", execution_id="id", timeout=limit)) for limit in timeouts]
    await asyncio.sleep(0)
    assert len([timer for timer in loop._scheduled if not timer.cancelled()]) == 1 + len(requests)  # type: ignore[attr-defined]
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert [isinstance(result, errors.RequestTimeoutError) for result in results] == [False, True, False, True, True]
    assert [timer for timer in loop._scheduled if not timer.cancelled()] == []  # type: ignore[attr-defined]
    await transport.close()


async def test_an_exchange_that_is_slow_to_leave_is_expired_once(mocked_http: aioresponses) -> None:
    async def stubborn(*_: Any, **__: Any) -> CallbackResult:
        try:
            await asyncio.sleep(10)
        finally:
            await asyncio.sleep(0.05)
        raise AssertionError

    mocked_http.get(URL, callback=stubborn, repeat=True)
    transport = make()
    request = asyncio.create_task(transport.get("/task/id", execution_id="id", timeout=0.01))
    other = asyncio.create_task(transport.get("/task/id", execution_id="id", timeout=0.03))
    await asyncio.sleep(0.02)
    for task in (request, other):
        with pytest.raises(errors.RequestTimeoutError):
            await task
    await transport.close()


async def test_an_own_client_session_is_closed(mocked_http: aioresponses) -> None:
    mocked_http.get(URL)
    transport = make()
    await transport.get("/task/id", execution_id="id", timeout=5)
    http = transport._http
    assert http is not None
    assert not http.closed
    await transport.close()
    assert http.closed


async def test_an_injected_client_session_is_not(mocked_http: aioresponses) -> None:
    mocked_http.get(URL)
    async with aiohttp.ClientSession() as http:
        await get(make(http=http))
        assert not http.closed


async def test_an_injected_client_session_that_is_closed() -> None:
    http = aiohttp.ClientSession()
    await http.close()
    with pytest.raises(errors.SessionClosedError):
        await get(make(http=http))


# Configuration


@pytest.mark.parametrize(
    "base_url",
    ["ftp://dispatcher.example", "dispatcher.example", "/path", "", "https://", "https:///path", "file:///etc/passwd"],
)
def test_base_urls_that_are_not_http(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must be an http:// or https:// address"):
        make(base_url)


@pytest.mark.parametrize("base_url", ["https://user:hunter2@dispatcher.example", "https://hunter2@dispatcher.example"])
def test_base_urls_with_credentials_are_refused_and_not_repeated(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must not have credentials") as caught:
        make(base_url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("base_url", ["https://dispatcher.example?x=1", "https://dispatcher.example/#part"])
def test_base_urls_with_a_query_or_fragment(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must not have a query or a fragment"):
        make(base_url)


@pytest.mark.parametrize("base_url", ["https://[::1", "https://dispatcher.example:port"])
def test_base_urls_that_are_no_urls(base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url"):
        make(base_url)


def test_a_base_url_of_another_type() -> None:
    with pytest.raises(TypeError, match="base_url must be a str, not int"):
        make(7)  # type: ignore[arg-type]


@pytest.mark.parametrize("api_key", ["", "hunter2\n", "hunter 2", "hunter2\r\nX-Evil: 1", "hünter2", "\x7fhunter2"])
def test_api_keys_that_cannot_be_sent_are_not_repeated(api_key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be printable ASCII") as caught:
        make(api_key=api_key)
    assert "nter2" not in str(caught.value)


def test_an_api_key_of_another_type() -> None:
    with pytest.raises(TypeError, match="api_key must be a str, not bytes"):
        make(api_key=b"secret")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("base_url", "warns"),
    [
        ("http://dispatcher.example", True),
        ("http://10.0.0.1", True),
        ("https://dispatcher.example", False),
        ("http://localhost:8080", False),
        ("http://127.0.0.1:8080", False),
        ("http://127.9.9.9", False),
        ("http://[::1]:8080", False),
    ],
)
def test_a_key_over_plain_http_warns(base_url: str, warns: bool, recwarn: Iterator[Any]) -> None:
    make(base_url)
    assert not list(recwarn)
    if warns:
        with pytest.warns(UserWarning, match="the API key travels unencrypted to"):
            make(base_url, api_key="secret")
    else:
        make(base_url, api_key="secret")
