"""`doctor`: what the command would use, and whether the dispatcher answers."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp.connector
import attrs
import pytest
import trustme

import truebit_async
from tests.cli.command import Ran, Run
from truebit_async.cli import doctor as cli_doctor
from truebit_async.testing import Simulator

KEY = "a-secret-that-nobody-shows"
NOT_FOUND = b'{"error": {"message": "no such execution"}}'
UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"


def facts(ran: Ran) -> dict[str, str]:
    """Return what each line tells, by its name."""
    return {line[:14].strip(): line[15:] for line in ran.out.splitlines()}


@attrs.frozen
class Answering:
    """A server that answers every request alike."""

    port: int
    requests: list[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def answering(response: bytes | None, context: ssl.SSLContext | None = None) -> Iterator[Answering]:
    """Run a server.

    Args:
        response: its answer; None answers nothing, and keeps the connection.
        context: encrypts; None serves plain HTTP.
    """
    requests: list[bytes] = []
    connections: list[asyncio.StreamWriter] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            requests.append(await reader.readuntil(b"\r\n\r\n"))
            if response is None:
                await reader.read()
            else:
                writer.write(response)
                await writer.drain()
        writer.close()

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # clients that trust nobody end their connections
    server = loop.run_until_complete(asyncio.start_server(handle, "127.0.0.1", 0, ssl=context))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield Answering(server.sockets[0].getsockname()[1], requests)
    finally:

        async def stop() -> None:
            server.close()
            for writer in connections:
                writer.transport.abort()
            await asyncio.sleep(0.02)

        asyncio.run_coroutine_threadsafe(stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def reply(status: str, body: bytes, headers: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


# Without asking


def test_what_the_command_would_use(run: Run) -> None:
    ran = run("doctor")
    assert (ran.code, ran.err) == (0, "")
    found = facts(ran)
    assert found["truebit-async"] == truebit_async.__version__
    assert found["base URL"] == "https://run.truebit.network"
    assert found["event loop"].startswith("uvloop ")
    assert found["JSON decoder"].startswith("orjson ")
    assert re.fullmatch(r"aiohttp [\d.]+, attrs [\d.]+, cattrs [\d.]+, tenacity [\d.]+", found["packages"])
    assert {"extra audit", "extra cli", "extra otel", "extra speed"} < found.keys()
    assert not {"DNS", "TCP", "TLS", "status"} & found.keys()


def test_what_is_not_installed(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    real_version = importlib.metadata.version

    def version(package: str) -> str:
        if package in {"uvloop", "orjson", "eth-keys"}:
            raise importlib.metadata.PackageNotFoundError(package)
        return real_version(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    found = facts(run("doctor"))
    assert found["event loop"] == "asyncio (the extra speed has uvloop)"
    assert found["JSON decoder"] == "json (the extra speed has orjson)"
    assert found["extra audit"] == "not installed (eth-keys)"
    assert found["extra speed"] == "not installed (orjson, uvloop)"


@pytest.mark.parametrize("is_online", [False, True])
def test_the_key_is_told_and_never_shown(
    run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_online: bool
) -> None:
    online = ["--online", "--verbose"] if is_online else []
    assert facts(run("doctor", *online))["API key"].startswith("none: set TRUEBIT_API_KEY or give --api-key-file")
    monkeypatch.setenv("TRUEBIT_API_KEY", KEY)
    ran = run("doctor", *online)
    assert facts(ran)["API key"] == "present, from TRUEBIT_API_KEY"
    assert KEY not in ran.out + ran.err
    (tmp_path / "key").write_text(f"{KEY}-2\n")
    ran = run("doctor", *online, "--api-key-file", str(tmp_path / "key"))
    assert facts(ran)["API key"] == "present, from --api-key-file"
    assert KEY not in ran.out + ran.err


def test_a_wrong_key_in_the_environment_is_not_shown_either(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_API_KEY", f"{KEY}\n")
    ran = run("doctor")
    assert ran.code == 2
    assert KEY not in ran.out + ran.err
    assert "TRUEBIT_API_KEY" in ran.err


@pytest.mark.parametrize(
    "url", ["ftp://example.com", "run.truebit.network", "http://", "http://a..b", "http://x?y=1", "https://me:pw@x"]
)
@pytest.mark.parametrize("arguments", [[], ["--online"]])
def test_a_wrong_base_url(run: Run, monkeypatch: pytest.MonkeyPatch, url: str, arguments: list[str]) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", url)
    ran = run("doctor", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "TRUEBIT_BASE_URL" in ran.err
    assert "pw" not in ran.err


def test_the_base_url_is_that_of_the_option(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRUEBIT_BASE_URL", "https://env.example")
    assert facts(run("doctor"))["base URL"] == "https://env.example"
    assert facts(run("doctor", "--base-url", "https://option.example"))["base URL"] == "https://option.example"


def test_a_base_url_cannot_control_the_terminal(run: Run) -> None:
    ran = run("doctor", "--base-url", "https://x.example/\x1b[31m")
    assert (ran.code, "\x1b" in ran.out) == (0, False)


# Asking


def test_a_dispatcher_that_answers(run: Run, server: Simulator) -> None:
    ran = run("doctor", "--online")
    assert (ran.code, ran.err) == (0, "")
    found = facts(ran)
    port = server.url.rpartition(":")[2]
    assert (found["DNS"], found["TCP"]) == ("127.0.0.1 is 127.0.0.1", f"connected to port {port}")
    answer = f"answered 404 for an ID that does not exist ('execution {UNKNOWN_ID} was not found'), in "
    assert found["status"].startswith(answer)
    assert [request.execution_id for request in server.requests] == [UNKNOWN_ID]


def test_verbose_logs_the_request(run: Run, server: Simulator) -> None:
    assert UNKNOWN_ID in run("doctor", "--online", "-v").err


def test_an_execution_that_does_exist(run: Run, server: Simulator) -> None:
    server.add(UNKNOWN_ID)
    ran = run("doctor", "--online")
    assert (ran.code, facts(ran)["status"].startswith("answered 200, in ")) == (0, True)


def test_a_server_that_is_no_dispatcher(run: Run) -> None:
    with answering(reply("404 Not Found", b"<html>nginx</html>")) as other:
        ran = run("doctor", "--online", "--base-url", other.url)
    assert ran.code == 3
    assert facts(ran)["status"] == "answered 404 without a message of a dispatcher: check the base URL"


@pytest.mark.parametrize(
    ("response", "code", "message"),
    [
        (reply("401 Unauthorized", b'{"message": "who are you"}'), 2, "answered 401 "),
        (reply("402 Payment Required", b"{}"), 2, "answered 402"),
        (reply("403 Forbidden", b"{}"), 2, "Check the API key: set TRUEBIT_API_KEY, or give --api-key-file."),
        (reply("429 Too Many Requests", b"{}", "Retry-After: 7\r\n"), 3, "answered 429, retry after 7 s"),
        (reply("500 Internal Server Error", b"{}"), 3, "answered 500. Try later, since the server may recover"),
        (reply("200 OK", b"<html>"), 3, "unexpected response with status 200"),
        (reply("200 OK", b"{}"), 3, "unexpected response with status 200"),
        (reply("302 Found", b"", "Location: https://elsewhere.example/\r\n"), 3, "make it the --base-url"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", 3, "no response"),
        (b"", 3, "no response"),
    ],
)
def test_other_answers(run: Run, response: bytes, code: int, message: str) -> None:
    with answering(response) as other:
        ran = run("doctor", "--online", "--base-url", other.url)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert ran.err.startswith("truebit-async: ")
    assert ran.err.count("\n") == 1
    found = facts(ran)
    assert "TCP" in found
    assert "status" not in found
    assert [request.split()[0] for request in other.requests] == [b"GET"]  # one, and it submits nothing


# Steps that fail


Lookup = Callable[..., Any]


def replace_lookup(patch: pytest.MonkeyPatch, look_up: Lookup) -> None:
    """Replace the look-up of the event loops that commands run on; those of uvloop cannot be patched."""
    patch.setattr("truebit_async.cli.runner._loop_factory", lambda: None)
    patch.setattr(asyncio.BaseEventLoop, "getaddrinfo", lambda _, *args, **kwargs: look_up(*args, **kwargs))


def test_a_host_that_does_not_exist(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def look_up(host: str, port: int) -> None:
        asked.append((host, port))
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with monkeypatch.context() as patch:
        replace_lookup(patch, look_up)
        ran = run("doctor", "--online", "--base-url", "http://no-such-host.invalid")
    assert asked == [("no-such-host.invalid", 80)]
    assert ran.code == 3
    assert "no response: DNS: [Errno -2] Name or service not known. Check the --base-url and the network." in ran.err
    assert not {"DNS", "TCP", "status"} & facts(ran).keys()


def test_a_lookup_that_does_not_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_doctor, "_TIME_LIMIT", 0.05)
    with monkeypatch.context() as patch:
        replace_lookup(patch, lambda *_: asyncio.sleep(60))
        ran = run("doctor", "--online", "--base-url", "http://no-such-host.invalid")
    assert (ran.code, "DNS: nothing within 0.05 s." in ran.err) == (3, True)


def test_several_addresses_of_a_host(run: Run, server: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    port = int(server.url.rpartition(":")[2])
    kinds = [(socket.AF_INET, kind, 0, "") for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM)]

    async def look_up(host: str, port: int, **_: Any) -> list[Any]:
        addresses = ["127.0.0.1"] if host == "127.0.0.1" else ["127.0.0.2", "127.0.0.1"]
        return [(*kind, (address, port)) for address in addresses for kind in kinds]

    with monkeypatch.context() as patch:
        replace_lookup(patch, look_up)
        ran = run("doctor", "--online", "--base-url", f"http://host.example:{port}")
    assert facts(ran)["DNS"] == "host.example is 127.0.0.1, 127.0.0.2"


def test_a_refused_connection(run: Run) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening
        ran = run("doctor", "--online", "--base-url", f"http://127.0.0.1:{taken.getsockname()[1]}")
    assert ran.code == 3
    assert "no response: TCP: " in ran.err
    assert "refused" in ran.err
    assert {"DNS"} == {"DNS", "TCP", "status"} & facts(ran).keys()


def test_a_server_that_hangs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_doctor, "_TIME_LIMIT", 0.1)
    with answering(None) as other:
        ran = run("doctor", "--online", "--base-url", other.url)
    assert ran.code == 3
    assert "no complete response within 0.1 s" in ran.err
    assert "TCP" in facts(ran)
    assert len(other.requests) == 1


def test_a_server_that_does_not_speak_tls(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_doctor, "_TIME_LIMIT", 0.1)
    with answering(None) as other:
        ran = run("doctor", "--online", "--base-url", f"https://127.0.0.1:{other.port}")
    assert (ran.code, "no response: TLS: nothing within 0.1 s. Check" in ran.err) == (3, True)
    with answering(reply("404 Not Found", NOT_FOUND)) as other:
        ran = run("doctor", "--online", "--base-url", f"https://127.0.0.1:{other.port}")
    assert (ran.code, "no response: TLS: " in ran.err) == (3, True)
    assert "TLS" not in facts(ran)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def certified(authority: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    return context


def test_a_trusted_certificate(
    run: Run, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    trusted = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(trusted))
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context())
    body = json.dumps({"message": "no such execution"}).encode()
    with answering(reply("404 Not Found", body), certified(authority, "127.0.0.1")) as other:
        ran = run("doctor", "--online", "--base-url", f"https://127.0.0.1:{other.port}")
    assert (ran.code, ran.err) == (0, "")
    assert re.fullmatch(r"TLSv1\.[23], certificate valid until .* GMT", facts(ran)["TLS"])
    assert facts(ran)["status"].startswith("answered 404 for an ID that does not exist ('no such execution'), in ")


@pytest.mark.parametrize("host", ["127.0.0.1", "other.example"])
def test_a_certificate_that_is_not_to_be_trusted(
    run: Run, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, host: str
) -> None:
    if host == "other.example":  # signed by somebody trusted, for another host
        authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    with answering(reply("404 Not Found", NOT_FOUND), certified(authority, host)) as other:
        ran = run("doctor", "--online", "--base-url", f"https://127.0.0.1:{other.port}")
    assert ran.code == 3
    assert "no response: TLS: " in ran.err
    assert "certificate verify failed" in ran.err
    assert other.requests == []  # no key is sent to it
    assert not {"TLS", "status"} & facts(ran).keys()
