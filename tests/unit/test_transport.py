"""One exchange: what is sent, and what becomes of every failure below. Replies come from aioresponses."""

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import ssl
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from aioresponses import CallbackResult, aioresponses
from multidict import CIMultiDict

from truebit_async import __version__, errors
from truebit_async._protocol.messages import Request, Response
from truebit_async._transport import Transport

URL = "https://dispatcher.example/task/id"
KEY = ConnectionKey("dispatcher.example", 443, True, True, None, None, None)


def make(base_url: str = "https://dispatcher.example", api_key: str | None = None, **options: Any) -> Transport:
    options = {"http": None, "max_connections": 4, "max_response_bytes": 1000, **options}
    return Transport(base_url, api_key, **options)


REQUEST = Request("GET", "/task/id", kind="function", execution_id="id")


async def send(transport: Transport, request: Request = REQUEST, timeout: float = 5) -> Response:  # noqa: ASYNC109
    try:
        return await transport.send(request, request_timeout=timeout)
    finally:
        await transport.close()


async def test_a_response_is_read_whatever_its_status(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, status=503, body=b"busy", headers={"Retry-After": "7"})
    response = await send(make())
    assert (response.status, response.headers["retry-after"], response.body) == (503, "7", b"busy")


async def test_what_is_sent(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, status=200)
    async with aiohttp.ClientSession() as http:
        await send(make(api_key="secret", http=http))
    ((call,),) = mocked_http.requests.values()
    assert call.kwargs["headers"] == {
        "Accept": "application/json",
        "User-Agent": f"truebit-async/{__version__}",
        "x-api-key": "secret",
    }
    assert call.kwargs["allow_redirects"] is False
    assert call.kwargs["raise_for_status"] is False
    assert call.kwargs["timeout"] == aiohttp.ClientTimeout()


async def test_a_request_that_is_not_repeatable_is_sent_on_a_new_connection(mocked_http: aioresponses) -> None:
    mocked_http.post(URL)
    transport = make()
    request = Request("POST", "/task/id", headers={"Content-Type": "text/plain"}, body=b"{}", is_repeatable=False)
    await transport.send(request, request_timeout=5)
    assert transport._pooled is None
    assert transport._unpooled is not None
    ((call,),) = mocked_http.requests.values()
    assert call.kwargs["data"].decode() == "{}"
    assert call.kwargs["headers"]["Content-Type"] == "text/plain"
    assert call.kwargs["headers"]["Accept"] == "application/json"
    await transport.close()
    assert transport._unpooled.closed


async def test_without_a_key_no_key_is_sent(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, status=200)
    async with aiohttp.ClientSession() as http:
        await send(make(http=http))
    ((call,),) = mocked_http.requests.values()
    assert "x-api-key" not in call.kwargs["headers"]


@pytest.mark.parametrize("base_url", ["https://dispatcher.example/a%2Fb", "https://dispatcher.example/a%2Fb/"])
async def test_a_path_in_the_base_url_is_a_prefix(mocked_http: aioresponses, base_url: str) -> None:
    mocked_http.get("https://dispatcher.example/a%2Fb/task/id", status=200)
    assert (await send(make(base_url))).status == 200


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
        await send(make())
    assert type(caught.value) is errors.TransportError
    assert caught.value.__cause__ is failure
    assert type(failure).__name__ in caught.value.detail
    assert "'id'" in str(caught.value)


async def test_a_failure_in_the_body_is_one_too(mocked_http: aioresponses, monkeypatch: pytest.MonkeyPatch) -> None:
    mocked_http.get(URL, body=b"x")
    failure = aiohttp.ClientPayloadError("cut off")
    monkeypatch.setattr(aiohttp.StreamReader, "readany", Mock(side_effect=failure))
    with pytest.raises(errors.TransportError) as caught:
        await send(make())
    assert caught.value.__cause__ is failure


class UnprintableError(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("failure", "detail"),
    [
        (ZeroDivisionError("division by zero"), "ZeroDivisionError: division by zero"),
        (RuntimeError(), "RuntimeError"),
        (UnicodeError("label empty or too long"), "UnicodeError: label empty or too long"),
        (UnprintableError(), "UnprintableError"),
        (ExceptionGroup("several", [ValueError("one")]), "ExceptionGroup: several (1 sub-exception)"),
        (MemoryError(), "MemoryError"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_what_tracing_or_a_middleware_raises_is_one_too(
    mocked_http: aioresponses, failure: Exception, detail: str
) -> None:
    mocked_http.get(URL, exception=failure)
    with pytest.raises(errors.TransportError) as caught:
        await send(make())
    assert (caught.value.detail, caught.value.__cause__) == (detail, failure)
    assert caught.value.__context__ is None
    assert (caught.value.execution_id, caught.value.kind) == ("id", "function")
    assert not caught.value.connection_was_stale


async def test_a_trace_config_that_raises() -> None:
    async def fail(*_: object) -> None:
        raise ZeroDivisionError("tracing")

    tracing = aiohttp.TraceConfig()
    tracing.on_request_start.append(fail)
    async with aiohttp.ClientSession(trace_configs=[tracing]) as http:
        with pytest.raises(errors.TransportError, match="ZeroDivisionError: tracing"):
            await send(make(http=http))


@pytest.mark.parametrize("interruption", [asyncio.CancelledError, KeyboardInterrupt])
async def test_an_interruption_is_no_failure(mocked_http: aioresponses, interruption: type[BaseException]) -> None:
    mocked_http.get(URL, exception=interruption())
    with pytest.raises(interruption):
        await send(make())


async def test_a_cycle_of_causes_ends(mocked_http: aioresponses) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    first.__context__ = second.__context__ = first
    mocked_http.get(URL, exception=first)
    with pytest.raises(errors.TransportError) as caught:
        await send(make(api_key="planted-key"))
    assert caught.value.__cause__ is first


async def test_a_detail_is_one_short_line(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, exception=aiohttp.ClientError("first\r\nsecond\u2028\x1b[31m" + "\n" * 5000))
    with pytest.raises(errors.TransportError) as caught:
        await send(make())
    assert caught.value.detail.startswith(r"ClientError: first\r\nsecond\u2028\x1b[31m\n")
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) == 1024
    assert caught.value.__cause__ is None  # it would keep all that the server sent


API_KEY = "planted-\\key\\5eC4e7"


def chain_of(*causes: BaseException) -> BaseException:
    for error, cause in itertools.pairwise(causes):
        error.__cause__ = cause
    return causes[0]


def with_note(note: str) -> Exception:
    error = ValueError("noted")
    error.add_note(note)
    return error


@pytest.mark.parametrize("form", [API_KEY, API_KEY[1:], API_KEY[:-1], repr(API_KEY), json.dumps(API_KEY)])
@pytest.mark.parametrize("place", ["text", "cause", "context", "note", "after the first KiB"])
async def test_no_error_keeps_the_key_that_a_server_sent_back(mocked_http: aioresponses, form: str, place: str) -> None:
    failures: dict[str, BaseException] = {
        "text": aiohttp.ClientError(f"bad line {form}"),
        "cause": chain_of(aiohttp.ClientError("bad line"), ValueError(), ValueError(form.encode())),
        "context": ValueError("bad line"),
        "note": with_note(form),
        "after the first KiB": aiohttp.ClientError("x" * (1024 - 18 - len(form) // 2) + form),
    }
    failure = failures[place]
    if place == "context":
        failure.__context__ = ValueError(form)
    mocked_http.get(URL, exception=failure)
    with pytest.raises(errors.TransportError) as caught:
        await send(make(api_key=API_KEY))
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "5eC" not in repr(caught.value)
    assert "planted" not in repr(caught.value)
    assert ("***" in caught.value.detail) is (place in {"text", "after the first KiB"})


@pytest.mark.virtual_time
async def test_a_timeout_does_not_keep_it_either(mocked_http: aioresponses) -> None:
    async def hang(*_: Any, **__: Any) -> CallbackResult:
        try:
            raise ValueError(API_KEY)
        except ValueError:
            await asyncio.sleep(3600)
        raise AssertionError

    mocked_http.get(URL, callback=hang, repeat=True)
    for api_key, is_kept in ((API_KEY, False), ("another-key", True)):
        with pytest.raises(errors.RequestTimeoutError) as caught:
            await send(make(api_key=api_key))
        assert (caught.value.__cause__ is not None) is is_kept


@pytest.mark.parametrize("distance", [0, 5, 1019, 1024])
async def test_the_excerpt_of_a_large_body_does_not_hold_it(mocked_http: aioresponses, distance: int) -> None:
    mocked_http.get(URL, body=b"x" * distance + API_KEY.encode() + b"x" * 20_000)
    with pytest.raises(errors.ResponseTooLargeError) as caught:
        await send(make(api_key=API_KEY))
    assert caught.value.body_excerpt == ""  # a redacted beginning could end with a part of the key


def test_a_response_is_redacted() -> None:
    response = Response(500, CIMultiDict({"X-Request-Id": API_KEY}), API_KEY.encode())
    assert make()._redacted(response) is response
    assert make(api_key="another-key")._redacted(response) is response
    redacted = make(api_key=API_KEY)._redacted(response)
    assert (redacted.status, redacted.headers["x-request-id"], redacted.body) == (500, "***", b"***")


async def test_a_closed_transport_does_not_open_again() -> None:
    transport = make()
    await transport.close()
    with pytest.raises(errors.SessionClosedError):
        await send(transport)
    assert transport._pooled is None


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
            await transport.send(REQUEST, request_timeout=seconds)
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
        await send(make(), timeout=7.3)
    assert loop.time() - started == pytest.approx(7.3)
    assert caught.value.request_timeout == 7.3


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False), (100_000, False)])
async def test_a_body_has_a_limit(mocked_http: aioresponses, size: int, fits: bool) -> None:
    mocked_http.get(URL, body=b"a" * size)
    if fits:
        assert len((await send(make())).body) == size
        return
    with pytest.raises(errors.ResponseTooLargeError, match="larger than 1000 bytes") as caught:
        await send(make())
    assert caught.value.max_response_bytes == 1000
    assert caught.value.body_excerpt == "a" * min(size, 1024)


def timers() -> list[asyncio.TimerHandle]:
    scheduled: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [timer for timer in scheduled if not timer.cancelled()]


async def test_limits_share_one_timer_and_a_closed_transport_has_none(mocked_http: aioresponses) -> None:
    transport = make()

    async def slow(*_: Any, **__: Any) -> CallbackResult:
        await asyncio.sleep(0.05)
        return CallbackResult()

    mocked_http.get(URL, callback=slow, repeat=True)
    timeouts = [7.0, 0.01, 5.0, 0.02, 0.01]
    requests = [asyncio.create_task(transport.send(REQUEST, request_timeout=limit)) for limit in timeouts]
    await asyncio.sleep(0)
    assert len(timers()) == 1 + len(requests)
    results = await asyncio.gather(*requests, return_exceptions=True)
    assert [isinstance(result, errors.RequestTimeoutError) for result in results] == [False, True, False, True, True]
    assert len(timers()) == 1
    await transport.close()
    assert timers() == []


@pytest.mark.virtual_time
async def test_closing_ends_what_is_under_way(mocked_http: aioresponses) -> None:
    async def hang(*_: Any, **__: Any) -> CallbackResult:
        await asyncio.sleep(3600)
        raise AssertionError

    mocked_http.get(URL, callback=hang, repeat=True)
    transport = make()
    requests = [asyncio.create_task(transport.send(REQUEST, request_timeout=60)) for _ in range(3)]
    await asyncio.sleep(1)
    await transport.close()
    for request in requests:
        with pytest.raises(errors.SessionClosedError) as caught:
            await request
        assert (caught.value.execution_id, caught.value.kind) == ("id", "function")
        assert caught.value.__context__ is None


@pytest.mark.virtual_time
async def test_an_idle_transport_has_no_timer_for_long(mocked_http: aioresponses) -> None:
    mocked_http.get(URL, repeat=True)
    transport, clock = make(), asyncio.get_running_loop().time
    started = clock()
    await transport.send(REQUEST, request_timeout=7)
    await asyncio.sleep(6)
    await transport.send(REQUEST, request_timeout=7)
    await asyncio.sleep(8)
    assert timers() == []
    assert clock() - started == pytest.approx(14)
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
    request = asyncio.create_task(transport.send(REQUEST, request_timeout=0.01))
    other = asyncio.create_task(transport.send(REQUEST, request_timeout=0.03))
    await asyncio.sleep(0.02)
    for task in (request, other):
        with pytest.raises(errors.RequestTimeoutError):
            await task
    await transport.close()


async def test_an_own_client_session_is_closed(mocked_http: aioresponses) -> None:
    mocked_http.get(URL)
    transport = make()
    await transport.send(REQUEST, request_timeout=5)
    http = transport._pooled
    assert http is not None
    assert not http.closed
    await transport.close()
    assert http.closed


async def test_an_injected_client_session_is_not(mocked_http: aioresponses) -> None:
    mocked_http.get(URL)
    async with aiohttp.ClientSession() as http:
        await send(make(http=http))
        assert not http.closed


async def test_an_injected_client_session_that_is_closed() -> None:
    http = aiohttp.ClientSession()
    await http.close()
    with pytest.raises(errors.SessionClosedError):
        await send(make(http=http))


# Configuration


def test_bad_arguments_are_refused() -> None:  # tests/unit/test_arguments.py has the cases
    with pytest.raises(ValueError, match="base_url"):
        make("ftp://dispatcher.example")
    with pytest.raises(ValueError, match="api_key"):
        make(api_key="hunter 2")


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
