"""Which connections requests use, and what is known of one that breaks."""

from __future__ import annotations

import io
import select
import weakref
from collections.abc import Callable

import aiohttp
import attrs


class HookedBody(aiohttp.BytesIOPayload):
    """A body that says when its request is about to be sent. It is sent in pieces, and its repr is short.

    Args:
        body: the body.
        before_sending: called when the request has a connection. If it raises, the request is not sent. None calls
            nothing.
    """

    def __init__(self, body: bytes, before_sending: Callable[[], None] | None) -> None:
        super().__init__(io.BytesIO(body), disposition=None)
        self.before_sending = before_sending


class ConnectionLostError(aiohttp.ClientError):
    """A connection broke before its response.

    `aiohttp.ClientSession` sends a GET once more after a `ClientOSError` and a `ServerDisconnectedError`, and after no
    other `ClientError`. The scheduler repeats it instead, within the caps of the session.
    """

    def __init__(self, *, was_stale: bool) -> None:
        super().__init__()
        self.was_stale = was_stale


class CheckedResponse(aiohttp.ClientResponse):
    """A response that says whether its connection broke before it, and whether that had answered a request before."""

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        protocol = connection.protocol
        try:
            await super().start(connection)
        except aiohttp.ClientResponseError as error:  # what arrived is not HTTP
            if id(protocol) in _used:  # the first half of it may have arrived before the request
                raise ConnectionLostError(was_stale=True) from error
            raise
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            if isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str):
                # The response began: the message is what there is of it, which may be long.
                raise ConnectionLostError(was_stale=False) from aiohttp.ServerDisconnectedError("within the headers")
            raise ConnectionLostError(was_stale=id(protocol) in _used) from error
        if protocol is not None and id(protocol) not in _used:
            _note_use(protocol)
        return self


class CheckedConnector(aiohttp.TCPConnector):
    """Hands out a connection only if no bytes wait on it.

    It cannot tell for a new TLS connection, which gets bytes after its handshake, nor where there is no `select.poll`.
    `ClientSession` calls the documented `connect` for each request, and writes the request right after it, before the
    loop can read again.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[aiohttp.tracing.Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109  # not ours to name
    ) -> aiohttp.connector.Connection:
        while True:
            connection = await super().connect(req, traces, timeout)
            protocol = connection.protocol
            use = _used.get(id(protocol))
            if use is not None:
                has_input = use.poll is not None and bool(use.poll.poll(0))
            else:
                # TLS sends more after its handshake, so only a plain connection must be silent.
                has_input = protocol is not None and not req.is_ssl() and _has_input(protocol)
            if protocol is None or not (has_input or protocol.should_close):
                if isinstance(req.body, HookedBody) and req.body.before_sending is not None:
                    _call_or_close(req.body.before_sending, connection)
                return connection
            connection.close()
            if use is None:
                msg = "the server sent bytes before the request"
                raise aiohttp.ClientConnectionError(msg)


def _call_or_close(function: Callable[[], None], connection: aiohttp.connector.Connection) -> None:
    try:
        function()
    except BaseException:
        connection.close()
        raise


@attrs.define
class _Use:
    """A connection that has answered a request.

    Attributes:
        protocol: the object that aiohttp keeps for as long as the connection is open.
        poll: says whether bytes, or the end of them, have arrived that the loop has not read yet. aiohttp looks only at
            what the loop has read. None on Windows, where the loop has always read already.
    """

    protocol: weakref.ref[aiohttp.client_proto.ResponseHandler]
    poll: select.poll | None


# By the identity of the protocol. A WeakKeyDictionary would take 2 % of the CPU of a request.
_used: dict[int, _Use] = {}


def _note_use(protocol: aiohttp.client_proto.ResponseHandler) -> None:
    key = id(protocol)
    _used[key] = _Use(weakref.ref(protocol, lambda _: _used.pop(key, None)), _make_poll(protocol))


def _has_input(protocol: aiohttp.client_proto.ResponseHandler) -> bool:
    poll = _make_poll(protocol)
    return poll is not None and bool(poll.poll(0))


def _make_poll(protocol: aiohttp.client_proto.ResponseHandler) -> select.poll | None:
    if not hasattr(select, "poll") or protocol.transport is None:
        return None
    poll = select.poll()
    poll.register(protocol.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return poll
