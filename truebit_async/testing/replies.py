"""The replies of a `Simulator`: documented replies, and failures of servers and networks.

The bodies follow the published examples of the API. This module does not share code with the module that decodes
replies, so that a mistake in one of them does not hide in the other.
"""

from __future__ import annotations

import asyncio
import json
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal, Self

import attrs
from aiohttp import web

__all__ = ["Reply"]

_SENDER = "0x" + "5a" * 20
_SIGNATURE = {"v": 28, "r": "1b" * 32, "s": "2c" * 32}

_Status = Literal["Success", "Running", "Indeterminate", "Error"]
_Send = Callable[[web.Request, str], Awaitable[web.StreamResponse]]


@attrs.frozen
class Reply:
    """One reply of a `Simulator`. Make it with a class method, and pass it to `Simulator.script`.

    Attributes:
        name: a short description, for messages.
    """

    name: str
    _send: _Send = attrs.field(repr=False)

    async def send(self, request: web.Request, execution_id: str) -> web.StreamResponse:
        """Send this reply. The Simulator calls this method.

        Args:
            request: the request to answer.
            execution_id: the execution ID in its path.
        """
        return await self._send(request, execution_id)

    # Documented replies

    @classmethod
    def execution(
        cls,
        status: _Status,
        output: str | Mapping[str, object] | None = None,
        execution_status: Literal["succeed", "failed"] = "succeed",
        *,
        signature: Literal["beside", "inside"] = "beside",
        executionId: str | None = None,  # noqa: N803  # as the API spells it
    ) -> Self:
        """Answer 200 with the state of the execution, in the shape that the kind of task has.

        Args:
            status: the verificationStatus of a function task, or the status of an API task.
            output: the output of the task, a text for a function task and a JSON object for an API task; None omits
                clearTextSolution.
            execution_status: whether the run succeeded.
            signature: where to put the signature of a function task: beside clearTextSolution (as in a published
                example) or inside it (as in the schema).
            executionId: the ID in the body; None repeats the ID of the request.
        """

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            is_api = request.path.startswith("/task/api/")
            body: dict[str, object] = {"executionId": executionId or execution_id}
            if output is not None:
                solution: dict[str, object] = {
                    "output": output or {} if is_api else output,
                    "status" if is_api else "executionStatus": execution_status,
                    "senderAddress": _SENDER,
                }
                body["clearTextSolution"] = solution
                if is_api:
                    body["totalTransferredBytes"] = {"request": 0, "response": len(json.dumps(output))}
                else:
                    (solution if signature == "inside" else body)["signature"] = _SIGNATURE
            body["status" if is_api else "verificationStatus"] = status
            return web.json_response(body)

        return cls(f"200 {status}", send)

    @classmethod
    def running(cls) -> Self:
        """Answer that the execution is still running."""
        return cls.execution("Running")

    @classmethod
    def success(cls, output: str | Mapping[str, object]) -> Self:
        """Answer with a Success whose run succeeded.

        Args:
            output: the output of the task.
        """
        return cls.execution("Success", output)

    @classmethod
    def failed(cls, output: str | Mapping[str, object] = "") -> Self:
        """Answer with a Success whose run failed.

        Args:
            output: the output of the task. An empty text counts as an empty object for an API task.
        """
        return cls.execution("Success", output, "failed")

    @classmethod
    def error(cls, status: int, message: str = "simulated error", *, retry_after: float | str | None = None) -> Self:
        """Answer with an error status and the documented error body.

        Args:
            status: 400 to 599.
            message: the ``message`` of the body.
            retry_after: the Retry-After header, in seconds or as any text; None omits the header.
        """
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        return cls.raw(status, json.dumps({"message": message}).encode(), headers)

    # Replies that a dispatcher should not send

    @classmethod
    def raw(
        cls,
        status: int,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        content_type: str = "application/json",
    ) -> Self:
        """Answer with this status, body and headers.

        Args:
            status: the HTTP status code.
            body: the exact body.
            headers: more headers. They replace headers of the same name.
            content_type: the Content-Type header, unless ``headers`` has one.
        """
        sent = {"Content-Type": content_type, **(headers or {})}

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            return web.Response(status=status, body=body, headers=sent)

        return cls(f"{status} raw", send)

    @classmethod
    def redirect(cls, location: str, status: int = 302) -> Self:
        """Answer with a redirect.

        Args:
            location: the Location header.
            status: the HTTP status code, 300 to 399.
        """
        return cls.raw(status, headers={"Location": location})

    @classmethod
    def wrong_id(cls, execution_id: str = "another-execution") -> Self:
        """Answer with the state of another execution.

        Args:
            execution_id: the ID in the body.
        """
        return cls.execution("Success", "42", executionId=execution_id)

    # Replies that are incomplete or slow

    @classmethod
    def hang(cls) -> Self:
        """Never answer. The handler ends when the connection closes or the Simulator stops."""

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            await asyncio.Event().wait()
            raise AssertionError  # pragma: no cover  # nothing sets the event

        return cls("hang", send)

    @classmethod
    def reset(cls) -> Self:
        """Reset the connection (TCP RST) instead of answering."""

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            transport = _transport(request)
            connection = transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            transport.abort()
            return web.Response()

        return cls("reset", send)

    @classmethod
    def garbage(cls, data: bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n") -> Self:
        """Send bytes that are not HTTP and close the connection.

        Args:
            data: the bytes.
        """

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            transport = _transport(request)
            transport.write(data)
            transport.close()
            return web.Response()

        return cls("garbage", send)

    @classmethod
    def cut_off(cls) -> Self:
        """Send headers and a part of the body, and close the connection."""

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "200", "Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"executionId": "')
            _transport(request).close()
            return response

        return cls("cut off", send)

    @classmethod
    def slow(cls, seconds: float, output: str = "42") -> Self:
        """Answer with a Success whose body arrives slowly, in ten parts.

        Args:
            seconds: how long the body takes, in seconds.
            output: the output of the task.
        """

        async def send(request: web.Request, execution_id: str) -> web.StreamResponse:
            body = json.dumps(
                {
                    "executionId": execution_id,
                    "clearTextSolution": {"output": output, "executionStatus": "succeed", "senderAddress": _SENDER},
                    "verificationStatus": "Success",
                }
            ).encode()
            response = web.StreamResponse(
                headers={"Content-Length": str(len(body)), "Content-Type": "application/json"}
            )
            await response.prepare(request)
            part_size = math.ceil(len(body) / 10)
            for start in range(0, len(body), part_size):
                await asyncio.sleep(seconds / 10)
                await response.write(body[start : start + part_size])
            return response

        return cls(f"slow ({seconds:g} s)", send)


def _transport(request: web.Request) -> asyncio.Transport:
    transport = request.transport
    assert isinstance(transport, asyncio.Transport)  # noqa: S101  # true while a request is handled
    return transport
