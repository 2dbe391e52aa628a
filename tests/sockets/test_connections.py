"""Which connection carries a request: one that was silent since its last response, or a new one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aiohttp
import pytest
import trustme
import uvloop

from truebit_async import errors
from truebit_async._protocol.messages import Request
from truebit_async._transport import Transport

GET = Request("GET", "/status", kind="function", execution_id="id")
POST = Request("POST", "/submit", kind="function", body=b"{}", is_repeatable=False)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood"
STRAY = {
    "a 404": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "a success": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong",
    "the headers of a success": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    "an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
    "no HTTP": b"wrong\r\n",
}


class Peer:
    """One connection, as the server has it. It is used by a thread, which acts also while the loop does not."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.heads: list[bytes] = []
        """The requests, each from its first line to the empty line."""

    def read(self) -> None:
        """Read a request; its body, if there is one, comes with it."""
        data = b""
        while b"\r\n\r\n" not in data:
            received = self._connection.recv(2**16)
            if not received:
                raise ConnectionError
            data += received
        self.heads.append(data.partition(b"\r\n\r\n")[0])

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def answer(self) -> None:
        self.read()
        self.send(GOOD)

    def answer_all(self) -> None:
        while True:
            self.answer()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()

    def reset(self) -> None:
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()


class Server:
    """Makes connections, each of which does what the script says and is then left open."""

    def __init__(self, script: Callable[[Peer, int], None], context: ssl.SSLContext | None) -> None:
        self.peers: list[Peer] = []
        self._script = script
        self._context = context
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        sys.settrace(None)
        with contextlib.suppress(OSError):  # raised when the socket is shut down
            while True:
                connection, _ = self._socket.accept()
                if self._context is not None:
                    connection = self._context.wrap_socket(connection, server_side=True)
                peer = Peer(connection)
                self.peers.append(peer)
                thread = threading.Thread(target=self._serve, args=(peer, len(self.peers)))
                self._threads.append(thread)
                thread.start()

    def _serve(self, peer: Peer, number: int) -> None:
        sys.settrace(None)
        with contextlib.suppress(OSError):
            self._script(peer, number)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._socket.close()
        for peer in self.peers:
            peer.close()
        for thread in self._threads:
            thread.join()

    @property
    def requests(self) -> list[int]:
        """How many requests arrived on each connection."""
        return [len(peer.heads) for peer in self.peers]


@contextlib.contextmanager
def serving(script: Callable[[Peer, int], None], context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(script, context)
    try:
        yield server
    finally:
        server.close()


@contextlib.asynccontextmanager
async def transport_to(server: Server, http: aiohttp.ClientSession | None = None):  # type: ignore[no-untyped-def]  # noqa: ANN201
    transport = Transport(f"http://{server.host}", "key", http=http, max_connections=8, max_response_bytes=2**20)
    try:
        yield transport
    finally:
        await transport.close()


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Callable[[Awaitable[None]], None]]:
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield runner.run  # type: ignore[misc]


Run = Callable[[Awaitable[None]], None]


# Between two exchanges


@pytest.mark.parametrize("has_read", [True, False])
@pytest.mark.parametrize("act", [*STRAY, "close", "reset"])
def test_a_connection_that_was_not_silent_is_not_used_again(run: Run, act: str, has_read: bool) -> None:
    may_act, has_acted = threading.Event(), threading.Event()

    def script(peer: Peer, number: int) -> None:
        if number > 1:
            peer.answer_all()
        peer.answer()
        may_act.wait()
        if act in STRAY:
            peer.send(STRAY[act])
        else:
            getattr(peer, act)()
        has_acted.set()
        peer.answer_all()

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                assert (await transport.send(GET, request_timeout=5)).body == b"good"
                may_act.set()
                has_acted.wait()
                if has_read:
                    await asyncio.sleep(0.02)
                for _ in range(2):
                    response = await transport.send(GET, request_timeout=5)
                    assert (response.status, response.body) == (200, b"good")
            assert server.requests == [1, 2]

    run(main())


@pytest.mark.parametrize("stray", [STRAY["a success"], b"HTTP/1.1 200 OK\r\nCont", b"\r\n"])
def test_bytes_right_after_a_response_answer_nothing(run: Run, stray: bytes) -> None:
    def script(peer: Peer, number: int) -> None:
        while True:
            peer.read()
            peer.send(GOOD + (stray if number == 1 else b""))

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                for _ in range(3):
                    response = await transport.send(GET, request_timeout=5)
                    assert (response.status, response.body) == (200, b"good")

    run(main())


def test_all_idle_connections_are_tried_before_a_new_one_is_made(run: Run) -> None:
    arrived = threading.Barrier(3)
    may_act, have_acted = threading.Event(), threading.Barrier(3)

    def script(peer: Peer, number: int) -> None:
        if number > 3:
            peer.answer_all()
        peer.read()
        arrived.wait()  # so that each of three requests has a connection
        peer.send(GOOD)
        may_act.wait()
        if number != 2:
            peer.send(STRAY["a 404"])
        have_acted.wait()
        peer.answer_all()

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                await asyncio.gather(*(transport.send(GET, request_timeout=5) for _ in range(3)))
                may_act.set()
                await asyncio.sleep(0.05)
                for _ in range(2):
                    assert (await transport.send(GET, request_timeout=5)).status == 200
            assert server.requests == [1, 3, 1]

    run(main())


def test_a_silent_connection_is_used_again(run: Run) -> None:
    async def main() -> None:
        with serving(lambda peer, _: peer.answer_all()) as server:
            async with transport_to(server) as transport:
                for _ in range(5):
                    await transport.send(GET, request_timeout=5)
                    await asyncio.sleep(0.002)
            assert server.requests == [5]

    run(main())


async def test_so_is_one_with_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", trusting)
    with serving(lambda peer, _: peer.answer_all(), context) as server:
        transport = Transport(f"https://{server.host}", "key", http=None, max_connections=8, max_response_bytes=2**20)
        for _ in range(5):
            assert (await transport.send(GET, request_timeout=5)).body == b"good"
            await asyncio.sleep(0.002)
        assert server.requests == [5]
        await transport.close()


def test_a_body_may_come_in_pieces(run: Run) -> None:
    def script(peer: Peer, _: int) -> None:
        while True:
            peer.read()
            for piece in (GOOD[:-3], GOOD[-3:-1], GOOD[-1:]):
                peer.send(piece)
                time.sleep(0.01)

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                for _ in range(2):
                    assert (await transport.send(GET, request_timeout=5)).body == b"good"
            assert server.requests == [2]

    run(main())


# After the request was sent


def end(peer: Peer, how: str) -> None:
    peer.read()
    if how.startswith("within"):
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX")
        time.sleep(0.02)
    peer.reset() if how.endswith("reset") else peer.close()


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_used_connection_that_breaks_was_stale(run: Run, how: str) -> None:
    def script(peer: Peer, number: int) -> None:
        if number == 1:
            peer.answer()
            end(peer, how)
        else:
            peer.answer_all()

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                await transport.send(GET, request_timeout=5)
                with pytest.raises(errors.TransportError) as caught:
                    await transport.send(GET, request_timeout=5)
                assert caught.value.connection_was_stale
                assert (caught.value.execution_id, caught.value.kind) == ("id", "function")
                assert isinstance(caught.value.__cause__, aiohttp.ClientConnectionError)
                assert server.requests == [2]  # aiohttp alone would have sent it again
                await transport.send(GET, request_timeout=5)
            assert server.requests == [2, 1]

    run(main())


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_new_connection_that_breaks_was_not(run: Run, how: str) -> None:
    async def main() -> None:
        with serving(lambda peer, _: end(peer, how)) as server:
            async with transport_to(server) as transport:
                for on_new_connection in (False, True):
                    with pytest.raises(errors.TransportError) as caught:
                        await transport.send(GET, request_timeout=5, on_new_connection=on_new_connection)
                    assert not caught.value.connection_was_stale
            assert server.requests == [1, 1]

    run(main())


def test_a_connection_that_breaks_within_the_headers_was_not(run: Run) -> None:
    def script(peer: Peer, _: int) -> None:
        peer.answer()
        end(peer, "within headers, close")

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                await transport.send(GET, request_timeout=5)
                with pytest.raises(errors.TransportError, match="within the headers") as caught:
                    await transport.send(GET, request_timeout=5)
                assert not caught.value.connection_was_stale
            assert server.requests == [2]

    run(main())


@pytest.mark.parametrize("is_used", [True, False])
def test_what_is_no_http_says_nothing_about_the_server_on_a_used_connection(run: Run, is_used: bool) -> None:
    def script(peer: Peer, _: int) -> None:
        if is_used:
            peer.read()
            peer.send(GOOD + b"HTTP/1.1 404 Not Fo")  # the loop reads this much before the next request
        peer.read()
        peer.send(b"und\r\nContent-Length: 0\r\n\r\n")

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                if is_used:
                    await transport.send(GET, request_timeout=5)
                with pytest.raises(errors.TransportError) as caught:
                    await transport.send(GET, request_timeout=5)
                assert caught.value.connection_was_stale is is_used

    run(main())


# New connections


@pytest.mark.parametrize("request_", [GET, POST], ids=["GET", "POST"])
def test_a_new_connection_was_never_used_and_is_not_used_again(run: Run, request_: Request) -> None:
    async def main() -> None:
        with serving(lambda peer, _: peer.answer_all()) as server:
            async with transport_to(server) as transport:
                await transport.send(GET, request_timeout=5)
                for _ in range(2):
                    on_new_connection = request_ is GET  # a POST gets one without being asked for
                    response = await transport.send(request_, request_timeout=5, on_new_connection=on_new_connection)
                    assert response.body == b"good"
                await transport.send(GET, request_timeout=5)
            assert server.requests == [2, 1, 1]
            assert all(b"Connection: close" in peer.heads[0] for peer in server.peers[1:])
            assert all(b"x-api-key: key" in head for peer in server.peers for head in peer.heads)

    run(main())


@pytest.mark.full
@pytest.mark.parametrize("stray", [*STRAY])
@pytest.mark.parametrize("has_read", [True, False])
def test_a_server_that_speaks_first_is_not_heard(
    run: Run, stray: str, has_read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = aiohttp.TCPConnector.connect
    has_spoken = threading.Event()

    def script(peer: Peer, _: int) -> None:
        peer.send(STRAY[stray])
        has_spoken.set()

    async def connect_and_wait(*args: Any) -> aiohttp.connector.Connection:
        connection = await connect(*args)
        while not has_spoken.is_set():
            pass  # the loop reads nothing meanwhile
        has_spoken.clear()
        if has_read:
            await asyncio.sleep(0.02)
        return connection

    monkeypatch.setattr(aiohttp.TCPConnector, "connect", connect_and_wait)

    async def main() -> None:
        with serving(script) as server:
            async with transport_to(server) as transport:
                for on_new_connection in (False, True):
                    with pytest.raises(errors.TransportError, match="sent bytes before the request") as caught:
                        await transport.send(GET, request_timeout=5, on_new_connection=on_new_connection)
                    assert not caught.value.connection_was_stale

    run(main())


# An injected client session


async def test_an_injected_client_session_repeats_by_itself() -> None:
    def script(peer: Peer, number: int) -> None:
        peer.answer()
        if number == 1:
            end(peer, "close")
        peer.answer_all()

    with serving(script) as server:
        async with aiohttp.ClientSession() as http, transport_to(server, http) as transport:
            await transport.send(GET, request_timeout=5)
            assert (await transport.send(GET, request_timeout=5, on_new_connection=True)).status == 200
        assert server.requests == [2, 1]
