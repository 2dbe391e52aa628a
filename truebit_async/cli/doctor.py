"""``truebit-async doctor``: what the command would use, and whether the dispatcher answers."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import platform
import ssl
import time
from collections.abc import Awaitable
from typing import TypeVar

from yarl import URL

from truebit_async import __version__
from truebit_async._arguments import check_base_url
from truebit_async._text import one_line
from truebit_async.cli.exit_codes import ExitCode
from truebit_async.cli.options import Budgets, Connection
from truebit_async.cli.output import print_to_stderr, print_to_stdout
from truebit_async.cli.runner import run
from truebit_async.cli.sessions import logging_to, make_session
from truebit_async.errors import ExecutionNotFoundError, TransportError
from truebit_async.session import DEFAULT_BASE_URL, TruebitSession

T = TypeVar("T")

_DEPENDENCIES = ("aiohttp", "attrs", "cattrs", "tenacity")
_EXTRAS = {
    "audit": ("eth-keys", "pycryptodome"),
    "cli": ("click", "rich"),
    "otel": ("opentelemetry-api",),
    "speed": ("orjson", "uvloop"),
}
_UNKNOWN_ID = "00000000-0000-0000-0000-000000000000"
_TIME_LIMIT = 10.0  # seconds for each step


def examine(connection: Connection, *, is_online: bool) -> ExitCode:
    """Print what the command would use.

    Args:
        connection: which dispatcher to ask, and as whom.
        is_online: whether to ask it.
    """
    budgets = Budgets(deadline=_TIME_LIMIT, request_timeout=_TIME_LIMIT, max_errors=1)
    session = make_session(connection, budgets)
    base_url = connection.base_url or DEFAULT_BASE_URL
    _tell("truebit-async", __version__)
    _tell("Python", f"{platform.python_version()} ({platform.python_implementation()}), {platform.platform()}")
    _tell("base URL", base_url)
    _tell("API key", _origin_of_key(connection))
    _tell("event loop", _installed("uvloop") or "asyncio (the extra speed has uvloop)")
    _tell("JSON decoder", _installed("orjson") or "json (the extra speed has orjson)")
    _tell("packages", ", ".join(f"{name} {_version_of(name)}" for name in _DEPENDENCIES))
    for extra, names in _EXTRAS.items():
        missing = [name for name in names if _version_of(name) is None]
        installed = ", ".join(f"{name} {_version_of(name)}" for name in names)
        _tell(f"extra {extra}", f"not installed ({', '.join(missing)})" if missing else installed)
    if not is_online:
        return ExitCode.SUCCEEDED
    with logging_to(print_to_stderr, verbose=connection.verbose):
        return run(lambda: _ask(session, check_base_url(base_url))).report()


async def _ask(session: TruebitSession, base_url: URL) -> ExitCode:
    """Look up the host, connect to it, and send one request. The first step that fails raises a TransportError."""
    host, port = base_url.raw_host or "", base_url.port or 0
    loop = asyncio.get_running_loop()
    addresses = await _step("DNS", loop.getaddrinfo(host, port))
    _tell("DNS", f"{host} is {', '.join(sorted({str(address[4][0]) for address in addresses}))}")
    is_encrypted = base_url.scheme == "https"
    what = "TLS" if is_encrypted else "TCP"
    _, writer = await _step(what, asyncio.open_connection(host, port, ssl=is_encrypted or None))
    encryption: ssl.SSLObject | None = writer.get_extra_info("ssl_object")
    writer.close()
    _tell(what, f"connected to port {port}" if encryption is None else _describe_certificate(encryption))
    started = time.monotonic()
    async with session:
        try:
            await session.get_execution_status(_UNKNOWN_ID)
            answer = "answered 200"
        except ExecutionNotFoundError as error:
            if error.message is None:
                _tell("status", "answered 404 without a message of a dispatcher: check the base URL")
                return ExitCode.NO_FINAL_STATE
            answer = f"answered 404 for an ID that does not exist ({error.message!r})"
    _tell("status", f"{answer}, in {time.monotonic() - started:.3f} s")
    return ExitCode.SUCCEEDED


async def _step(what: str, step: Awaitable[T]) -> T:
    try:
        async with asyncio.timeout(_TIME_LIMIT):
            return await step
    except (OSError, TimeoutError) as error:
        raise TransportError(None, f"{what}: {str(error) or f'nothing within {_TIME_LIMIT:g} s'}") from error


def _describe_certificate(encryption: ssl.SSLObject) -> str:
    certificate = encryption.getpeercert() or {}
    return f"{encryption.version()}, certificate valid until {certificate.get('notAfter')}"


def _origin_of_key(connection: Connection) -> str:
    if connection.api_key is not None:
        return "present, from --api-key-file"
    if os.environ.get("TRUEBIT_API_KEY"):
        return "present, from TRUEBIT_API_KEY"
    return "none: set TRUEBIT_API_KEY or give --api-key-file; `run` needs one"


def _installed(package: str) -> str | None:
    version = _version_of(package)
    return None if version is None else f"{package} {version}"


def _version_of(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _tell(name: str, value: str) -> None:
    print_to_stdout(one_line(f"{name:<14} {value}"))
