"""What the replies about executions of all kinds have in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar, cast

import attrs
import cattrs

from truebit_async._protocol.body import EXCERPT_BYTES, excerpt, explain, parse_json
from truebit_async._protocol.converter import json_object, json_type, make_converter
from truebit_async._protocol.failures import failure
from truebit_async._protocol.messages import Response
from truebit_async._text import one_line
from truebit_async.errors import DecodeError, ExecutionIdMismatchError, UnknownStatusError

ModelT = TypeVar("ModelT")
StatusT = TypeVar("StatusT")


@attrs.define
class Reply:
    """A JSON object that a dispatcher sent about an execution. Its methods read parts of it, or raise typed errors.

    Attributes:
        kind: the kind of task.
        execution_id: the execution that was asked for.
        body: the whole body.
        fields: the object.
    """

    kind: str
    execution_id: str
    body: bytes | bytearray
    fields: dict[str, Any]

    def check_id(self) -> bool:
        """Check that the reply is about no other execution; return whether it names the one that was asked for.

        Raises:
            ExecutionIdMismatchError: it is about another one.
            DecodeError: its ID is not a string.
        """
        received = self.fields.get("executionId")
        if received == self.execution_id:
            return True
        if received is None:  # the schema does not require it
            return False
        if not isinstance(received, str):
            self.refuse(f"executionId is of type {json_type(received)}, not string")
        detail = f"it is about execution {received[:200]!r}"
        raise self._mismatch_error(detail, received[:EXCERPT_BYTES])

    def refuse_without_id(self) -> NoReturn:
        """Refuse a final state that names no execution: that of another one would be believed for ever.

        Raises:
            ExecutionIdMismatchError: always.
        """
        detail = "it holds a final state, but names no execution"
        raise self._mismatch_error(detail, None)

    def status(self, name: str, statuses: Mapping[str, StatusT]) -> StatusT:
        """Return a status.

        Args:
            name: the name of the field.
            statuses: the documented statuses, by their values.

        Raises:
            UnknownStatusError: the field is missing, or not one of them.
            DecodeError: it is not a string.
        """
        value = self.fields.get(name)
        if isinstance(value, str) and (status := statuses.get(value)) is not None:
            return status
        if value is not None and not isinstance(value, str):
            self.refuse(f"{name} is of type {json_type(value)}, not string")
        detail = f"{name} is missing" if value is None else f"{name} is {value[:200]!r}"
        value = value and value[:EXCERPT_BYTES]
        raise UnknownStatusError(self.execution_id, 200, detail, excerpt(self.body), value, kind=self.kind)

    def structure(self, value: object, model: type[ModelT], path: str) -> ModelT:
        """Return a part of the reply as a model.

        Args:
            value: the part.
            model: the attrs class.
            path: where the part is, for the error.

        Raises:
            DecodeError: it is not of the documented shape.
        """
        try:
            result: ModelT = _structure_hook(cast("type", model))(value, model)
        except (ValueError, TypeError, KeyError):
            detail = _what_is_wrong(value, model, path)
        else:
            return result
        return self.refuse(detail)

    def refuse(self, detail: str) -> NoReturn:
        """Raise a `DecodeError`.

        Args:
            detail: what is wrong with the reply.
        """
        raise DecodeError(self.execution_id, 200, _bounded(detail), excerpt(self.body), kind=self.kind)

    def _mismatch_error(self, detail: str, received: str | None) -> ExecutionIdMismatchError:
        return ExecutionIdMismatchError(self.execution_id, 200, detail, excerpt(self.body), received, kind=self.kind)


def read_reply(kind: str, execution_id: str, response: Response, now: float) -> Reply:
    """Return the reply that a response with status 200 holds.

    Args:
        kind: the kind of task.
        execution_id: the execution that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch.

    Raises:
        ApiError: the status is an error.
        UnexpectedResponseError: the status is not documented, or the body is not a JSON object.
    """
    if response.status != 200:
        raise failure(kind, execution_id, response, now)
    try:
        fields = json_object(parse_json(response.body))
    except (ValueError, TypeError, RecursionError) as error:
        detail = explain(error)
    else:
        return Reply(kind, execution_id, response.body, fields)
    # Not in the block above: a JSONDecodeError holds the whole body, and would be kept as the context.
    raise DecodeError(execution_id, 200, _bounded(detail), excerpt(response.body), kind=kind)


@functools.cache  # looking a hook up takes as long as using it
def _structure_hook(model: type) -> Any:
    return make_converter().get_structure_hook(model)


def _what_is_wrong(value: object, model: type, path: str) -> str:
    try:
        make_converter(detailed_validation=True).structure(value, model)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError) as error:
        return "; ".join(cattrs.transform_error(error, path=path))
    return f"{path} is not of the documented shape"


def _bounded(detail: str) -> str:
    return one_line(detail[:EXCERPT_BYTES])[:EXCERPT_BYTES]  # it is longer on one line
