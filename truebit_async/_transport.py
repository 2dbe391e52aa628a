"""One HTTP exchange. The only module that imports aiohttp's client, and the only one that holds the API key."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import math
import warnings
from collections.abc import Mapping

import aiohttp
import attrs
from multidict import CIMultiDict
from yarl import URL

from truebit_async._version import __version__
from truebit_async._wire import excerpt
from truebit_async.errors import (
    RequestTimeoutError,
    ResponseTooLargeError,
    SessionClosedError,
    TransportError,
    TruebitError,
)

# The time limit is ours alone: aiohttp rounds its longer timeouts up to whole seconds, and an injected session may
# have limits that nobody asked for here.
_NO_TIMEOUT = aiohttp.ClientTimeout()


Response = tuple[int, Mapping[str, str], bytearray]
"""What came back, read to its end: status, headers and body."""


class Transport:
    """Sends GET requests to one base URL.

    Args:
        base_url: where the dispatcher is; a path in it is kept as a prefix.
        api_key: sent as ``x-api-key``; None sends none.
        http: a client session of the caller's, never closed here; None opens one at the first request.
        max_connections: size of the connection pool of an own client session.
        max_response_bytes: limit of a body after decompression, in bytes.

    Raises:
        TypeError: ``base_url`` or ``api_key`` is not a str.
        ValueError: ``base_url`` is not http(s), has no host, or has credentials, a query or a fragment; ``api_key``
            cannot be sent in a header.
    """

    def __init__(
        self,
        base_url: str,
        api_key: str | None,
        *,
        http: aiohttp.ClientSession | None,
        max_connections: int,
        max_response_bytes: int,
    ) -> None:
        self.base_url = check_base_url(base_url)
        self._headers = CIMultiDict({"Accept": "application/json", "User-Agent": f"truebit-async/{__version__}"})
        if api_key is not None:
            self._headers["x-api-key"] = _Secret(_check_api_key(api_key))
            _warn_of_plain_http(self.base_url)
        self._api_key = api_key
        self._http = http
        self._owns_http = http is None
        self._max_connections = max_connections
        self._max_response_bytes = max_response_bytes
        self._prefix = self.base_url.raw_path.rstrip("/")
        self._limits = _TimeLimits()
        self._is_closed = False

    async def get(self, path: str, *, execution_id: str, timeout: float) -> Response:  # noqa: ASYNC109
        """Send one request and read the answer, whatever its status.

        Args:
            path: the encoded path below the base URL, sent exactly so.
            execution_id: whom errors name.
            timeout: limit of the whole exchange, in seconds.

        Raises:
            TransportError: there was no complete answer.
            RequestTimeoutError: there was none within ``timeout``.
            ResponseTooLargeError: the body passed the limit.
            SessionClosedError: the transport, or an injected client session, is or was meanwhile closed.
        """
        http = self._open(execution_id)
        limit = self._limits.begin(timeout)
        try:
            async with (
                limit,
                self._request(http, self.base_url.with_path(self._prefix + path, encoded=True)) as response,
            ):
                return response.status, response.headers, await self._read_body(response, execution_id)
        except (aiohttp.ClientError, OSError) as error:
            if self._is_closed:
                raise SessionClosedError(execution_id) from None
            if limit.expired():
                raise RequestTimeoutError(execution_id, f"timed out after {timeout:g} s", timeout) from error
            raise TransportError(execution_id, _describe(error)) from error
        except RuntimeError:
            if http.closed:  # an injected one, by its owner
                raise SessionClosedError(execution_id) from None
            raise
        finally:
            self._limits.end(limit)

    def without_key(self, error: TruebitError) -> TruebitError:
        """Return the error; but if a server put the API key into it, one like it without the key and its causes."""
        if self._api_key is None or not _mentions(error, self._api_key):
            return error
        values = {field.name: getattr(error, field.name) for field in attrs.fields(type(error))}
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        return attrs.evolve(error, **{name: text.replace(self._api_key, "***") for name, text in texts.items()})

    async def close(self) -> None:
        """End what is under way with `SessionClosedError`, and close an own client session.

        An injected one is its owner's to close. Closing twice is fine.
        """
        self._is_closed = True
        self._limits.expire_all()
        if self._http is not None and self._owns_http:
            await self._http.close()

    def _open(self, execution_id: str) -> aiohttp.ClientSession:
        if self._is_closed:
            raise SessionClosedError(execution_id)
        if self._http is None:
            self._http = aiohttp.ClientSession(
                headers=self._headers,
                connector=aiohttp.TCPConnector(limit=self._max_connections),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=_NO_TIMEOUT,
            )
            # aiohttp would send a request again behind our back, beyond the caps. The next try is the next poll.
            self._http._retry_connection = False  # noqa: SLF001  # there is no public way
        return self._http

    def _request(
        self, http: aiohttp.ClientSession, url: URL
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        if self._owns_http:  # and made it so that it needs no telling
            return http.get(url, allow_redirects=False)
        return http.get(
            url,
            headers=self._headers,
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            timeout=_NO_TIMEOUT,
        )

    async def _read_body(self, response: aiohttp.ClientResponse, execution_id: str) -> bytearray:
        content = response.content
        body = bytearray(await content.readany())
        while not content.at_eof() or len(body) > self._max_response_bytes:
            if len(body) > self._max_response_bytes:
                response.close()  # returning the connection to the pool would mean reading the rest
                limit = self._max_response_bytes
                detail = f"the body is larger than {limit} bytes"
                raise ResponseTooLargeError(execution_id, response.status, detail, excerpt(body), limit)
            body += await content.readany()
        return body


class _TimeLimits:
    """The time limits of all exchanges under way, on one timer of the loop.

    Nearly every exchange ends long before its limit. A timer for each would be set and cancelled for nothing.
    """

    def __init__(self) -> None:
        self._expiries: dict[asyncio.Timeout, float] = {}
        self._timer: asyncio.Handle | None = None
        self._fires_at = math.inf

    def begin(self, seconds: float) -> asyncio.Timeout:
        """Return a context manager that times out after so many seconds, unless it is given to `end` before."""
        loop = asyncio.get_running_loop()
        limit, expiry = asyncio.Timeout(None), loop.time() + seconds
        self._expiries[limit] = expiry
        if expiry < self._fires_at:
            self._set_timer(loop, expiry)
        return limit

    def end(self, limit: asyncio.Timeout) -> None:
        del self._expiries[limit]
        if not self._expiries and self._timer is not None:
            self._timer.cancel()
            self._timer, self._fires_at = None, math.inf

    def expire_all(self) -> None:
        for limit in self._expiries:
            _expire(limit)

    def _set_timer(self, loop: asyncio.AbstractEventLoop, time: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._fires_at = loop.call_at(time, self._fire, loop), time

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer, self._fires_at = None, math.inf
        now = loop.time()
        for limit, expiry in self._expiries.items():
            if expiry <= now:
                _expire(limit)
        if later := [expiry for expiry in self._expiries.values() if expiry > now]:
            self._set_timer(loop, min(later))


def _expire(limit: asyncio.Timeout) -> None:
    if not limit.expired():  # else its exchange is on the way out already
        limit.reschedule(-math.inf)


class _Secret(str):
    """A header value that its repr hides: the reprs of headers end up in error reports."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _mentions(error: BaseException | None, key: str) -> bool:
    while error is not None:
        if key in f"{error} {error!r}":
            return True
        error = error.__cause__ or error.__context__
    return False


def _describe(error: Exception) -> str:
    text = str(error)
    kind = type(error).__name__
    return f"{kind}: {text}" if text else kind


def check_base_url(base_url: str) -> URL:
    """Return a base URL as an object.

    Args:
        base_url: what the user gave.

    Raises:
        TypeError: it is not a str.
        ValueError: it is no address to send requests and an API key to.
    """
    if not isinstance(base_url, str):
        msg = f"base_url must be a str, not {type(base_url).__name__}"
        raise TypeError(msg)
    try:
        url = URL(base_url)
    except ValueError as error:
        msg = f"base_url is not a URL: {error}"
        raise ValueError(msg) from error
    if url.user is not None or url.password is not None:
        # The URL is not quoted here: what it must not hold must not reach a log either.
        msg = "base_url must not have credentials; pass the API key on its own"
        raise ValueError(msg)
    if url.scheme not in {"http", "https"} or not url.host:
        msg = f"base_url must be an http:// or https:// address with a host, not {base_url!r}"
        raise ValueError(msg)
    if url.query_string or url.fragment:
        msg = f"base_url must not have a query or a fragment: {base_url!r}"
        raise ValueError(msg)
    return url


def _check_api_key(api_key: str) -> str:
    if not isinstance(api_key, str):
        msg = f"api_key must be a str, not {type(api_key).__name__}"
        raise TypeError(msg)
    if not api_key or not all("!" <= char <= "~" for char in api_key):
        msg = "api_key must be printable ASCII without spaces; was it read with a line break at its end?"
        raise ValueError(msg)
    return api_key


def _warn_of_plain_http(url: URL) -> None:
    if url.scheme == "https" or url.host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(url.host or "").is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        msg = f"the API key travels unencrypted to {url.host}; use an https:// base_url"
        warnings.warn(msg, UserWarning, stacklevel=4)
