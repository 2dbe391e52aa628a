"""One HTTP exchange. No other module sends anything with aiohttp, and no other module holds the API key."""

from __future__ import annotations

import ipaddress
import warnings
from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from truebit_async._arguments import check_api_key, check_base_url
from truebit_async._causes import with_causes
from truebit_async._connections import CheckedConnector, CheckedResponse, ConnectionLostError, HookedBody
from truebit_async._protocol.body import EXCERPT_BYTES, excerpt
from truebit_async._protocol.messages import Request, Response
from truebit_async._protocol.redaction import Redactor
from truebit_async._text import bounded_line
from truebit_async._time_limits import TimeLimits
from truebit_async._version import __version__
from truebit_async.errors import (
    DecodeError,
    RequestTimeoutError,
    ResponseTooLargeError,
    SessionClosedError,
    TransportError,
    TruebitError,
)

ResultT = TypeVar("ResultT")

# The time limit is ours alone: aiohttp rounds its longer timeouts up to whole seconds, and an injected session may
# have limits that nobody asked for here.
_NO_TIMEOUT = aiohttp.ClientTimeout()
_MAX_TEXT = 4096  # characters of an error and its causes; longer ones are not kept
_SEARCHED_BYTES = 16 * 1024  # of a body, for the key, before 1 KiB of it is shown


class Transport:
    """Sends requests to one base URL.

    With a client session of its own, a request is sent at most once, and a connection on which a response arrives
    between two exchanges is not used again. A server may also send the first part of a response head between two
    exchanges. aiohttp's parser keeps that part and does not show it, so the next response cannot be read as HTTP. On a
    connection that was used before, such a response counts as a stale connection.

    With an injected client session, its connector decides: aiohttp takes bytes that arrived early for the response to
    the next request, and sends a GET once more by itself when the connection breaks, which no cap counts. Then
    ``connection_was_stale`` is never set, and ``on_new_connection`` has no effect.

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
        self.base_url: URL = check_base_url(base_url)
        self._headers = CIMultiDict({"Accept": "application/json", "User-Agent": f"truebit-async/{__version__}"})
        self._redactor: Redactor | None = None
        if api_key is not None:
            self._headers["x-api-key"] = _Secret(check_api_key(api_key))
            self._redactor = Redactor(api_key)
            _warn_of_plain_http(self.base_url)
        self._injected = http
        self._pooled: aiohttp.ClientSession | None = None  # keeps its connections alive
        self._unpooled: aiohttp.ClientSession | None = None  # opens a connection for each request
        self._max_connections = max_connections
        self._max_response_bytes = max_response_bytes
        self._prefix = self.base_url.raw_path.rstrip("/")
        self._limits = TimeLimits()
        self._is_closed = False

    async def send(
        self,
        request: Request,
        *,
        request_timeout: float,
        on_new_connection: bool = False,
        on_sent: Callable[[], None] | None = None,
    ) -> Response:
        """Send one request and read the response, whatever its status.

        Args:
            request: the request. One that is not repeatable gets a new connection, since a kept-alive one may be closed
                by the server at the moment when the request is sent.
            request_timeout: limit of the whole exchange, in seconds.
            on_new_connection: whether to open a connection for it. An injected client session decides for itself.
            on_sent: called when the request has a connection and is about to be sent; with an injected client session,
                at the beginning. If it raises, the request is not sent.

        Raises:
            TransportError: there was no complete response, or something between here and the server failed. It has
                ``connection_was_stale`` if a kept-alive connection broke before any response.
            RequestTimeoutError: there was none within ``request_timeout``.
            ResponseTooLargeError: the body exceeded the limit.
            SessionClosedError: the transport, or an injected client session, is or was meanwhile closed.
        """
        http = self._client_session(request, on_new_connection=on_new_connection or not request.is_repeatable)
        if on_sent is not None and http is self._injected:
            on_sent()
        limit = self._limits.begin(request_timeout)
        try:
            async with limit:
                return await self._read(await self._request(http, request, on_sent), request)
        except TruebitError as error:
            failure = error.with_traceback(None)  # its frames hold the response, which may mention the key
        except Exception as error:  # noqa: BLE001  # also what tracing or a middleware of an injected session raises
            if self._is_closed or http.closed:
                failure = SessionClosedError(request.execution_id, kind=request.kind)
            else:
                failure = self._failure(request, error, request_timeout if limit.expired() else None)
        finally:
            self._limits.end(limit)
        raise failure  # not in a block above: the error would be its context, and may mention the key

    @property
    def has_api_key(self) -> bool:
        """Whether requests have an API key, also as a header of an injected client session."""
        headers = self._headers if self._injected is None else {**self._injected.headers, **self._headers}
        return any(name.lower() == "x-api-key" for name in headers)

    def read(self, response: Response, read: Callable[[Response], ResultT]) -> ResultT:
        """Read a response. An error that quotes it does not have the API key.

        Args:
            response: the response.
            read: returns what it says, or raises a `TruebitError`.

        Raises:
            TruebitError: what ``read`` raised, or a `DecodeError`.
        """
        try:
            return read(response)
        except TruebitError as error:
            # An error quotes the response, and shortens it, which could leave a part of the key that is not found any
            # more. So the response is redacted first and then read again, outside this block: the first error would
            # become the context of the second.
            redacted = self._redacted(response)
            if redacted is response:
                raise
            execution_id, kind, may_have_run = error.execution_id, error.kind, error.may_have_run
        read(redacted)  # this raises the same error, with excerpts that do not have the key
        detail = "it repeats the API key, and cannot be read unless the key is removed"
        raise DecodeError(execution_id, response.status, detail, "", kind=kind, may_have_run=may_have_run)

    def _redacted(self, response: Response) -> Response:
        return response if self._redactor is None else self._redactor.redact_response(response)

    async def close(self) -> None:
        """End what is under way with `SessionClosedError`, and close the own client sessions.

        An injected one is its owner's to close. Closing twice is fine.
        """
        self._is_closed = True
        self._limits.close()
        for http in (self._pooled, self._unpooled):
            if http is not None:
                await http.close()

    def _client_session(self, request: Request, *, on_new_connection: bool) -> aiohttp.ClientSession:
        if self._is_closed:
            raise SessionClosedError(request.execution_id, kind=request.kind)
        if self._injected is not None:
            return self._injected
        if on_new_connection:
            if self._unpooled is None:
                self._unpooled = self._open(CheckedConnector(limit=self._max_connections, force_close=True))
            return self._unpooled
        if self._pooled is None:
            self._pooled = self._open(CheckedConnector(limit=self._max_connections))
        return self._pooled

    def _open(self, connector: aiohttp.TCPConnector) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            headers=self._headers,
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=_NO_TIMEOUT,
            response_class=CheckedResponse,
        )

    def _request(
        self, http: aiohttp.ClientSession, request: Request, on_sent: Callable[[], None] | None
    ) -> Awaitable[aiohttp.ClientResponse]:
        url = self.base_url.with_path(self._prefix + request.path, encoded=True)
        data = None if request.body is None else HookedBody(request.body, on_sent)
        if http is not self._injected:  # it was opened with the options below
            return http.request(request.method, url, data=data, headers=request.headers, allow_redirects=False)
        return http.request(
            request.method,
            url,
            data=data,
            headers={**self._headers, **(request.headers or {})},
            allow_redirects=False,
            raise_for_status=False,
            auto_decompress=True,
            timeout=_NO_TIMEOUT,
        )

    async def _read(self, response: aiohttp.ClientResponse, request: Request) -> Response:
        limit = request.max_response_bytes or self._max_response_bytes
        content = response.content
        try:
            body = bytearray(await content.readany())
            while not content.at_eof() and len(body) <= limit:
                body += await content.readany()
        finally:
            if not response.closed:  # a response that was read to its end is: its connection is in the pool again
                response.close()
        if len(body) <= limit:
            return Response(response.status, response.headers, body)
        detail = f"the body is larger than {limit} bytes"
        beginning = Response(response.status, {}, bytes(body[:_SEARCHED_BYTES]))
        is_shown = not request.has_private_response and self._redacted(beginning) is beginning
        shown = excerpt(beginning.body) if is_shown else ""
        raise ResponseTooLargeError(request.execution_id, response.status, detail, shown, limit, kind=request.kind)

    def _failure(self, request: Request, error: Exception, timeout: float | None) -> TransportError:
        """Return the error to raise in place of another one, whose texts may quote what a server sent.

        Args:
            request: the request.
            error: the other one. It becomes the cause, unless it is long or mentions the key.
            timeout: the limit that passed, in seconds; None if none did.
        """
        was_stale = isinstance(error, ConnectionLostError) and error.was_stale
        cause = error.__cause__ if isinstance(error, ConnectionLostError) else error
        if request.body is not None:
            for link in with_causes(error):
                link.__traceback__ = None  # its frames may hold the body
        texts = [_all_text(link) for link in with_causes(error)]
        is_kept = sum(map(len, texts)) <= _MAX_TEXT
        detail = _describe(cause or error)
        if request.has_private_response and not all(isinstance(link, OSError) for link in with_causes(cause or error)):
            # Errors of the parser quote what they cannot read. Those of the operating system do not.
            detail, is_kept = type(cause or error).__name__, False
        if self._redactor is not None:
            # The error of a response that is not HTTP holds the headers of the request, which have the key.
            has_headers = any(isinstance(link, aiohttp.ClientResponseError) for link in with_causes(error))
            is_kept = is_kept and not has_headers and not any(map(self._redactor.is_in, texts))
            detail = self._redactor.redact(detail)
        detail = bounded_line(detail, EXCERPT_BYTES)
        if timeout is None:
            failure = TransportError(request.execution_id, detail, kind=request.kind, connection_was_stale=was_stale)
        else:
            detail = f"no complete response within {timeout:g} s"
            failure = RequestTimeoutError(request.execution_id, detail, timeout, kind=request.kind)
        failure.__cause__ = cause if is_kept else None
        return failure


class _Secret(str):
    """A header value that its repr hides: the reprs of headers end up in error reports."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def _all_text(error: BaseException) -> str:
    """Return all that an error says."""
    try:
        return f"{error} {error!r} {getattr(error, '__notes__', '')}"
    except Exception:  # noqa: BLE001  # raised by the error of a middleware
        return ""


def _describe(error: BaseException) -> str:
    type_name = type(error).__name__
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  # likewise
        text = ""
    return f"{type_name}: {text}" if text else type_name


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
