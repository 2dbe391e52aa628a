"""What the replies about executions of all kinds have in common."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Generic, TypeVar, cast

import attrs
import cattrs

from truebit_async._protocol.body import EXCERPT_BYTES, excerpt, explain, parse_json
from truebit_async._protocol.converter import json_type, make_converter
from truebit_async._protocol.failures import failure
from truebit_async._protocol.messages import Response
from truebit_async._text import bounded_line
from truebit_async.errors import (
    DecodeError,
    ExecutionIdMismatchError,
    UnexpectedResponseError,
    UnknownStatusError,
)

ModelT = TypeVar("ModelT")
StatusT = TypeVar("StatusT")


@attrs.frozen
class StatusField(Generic[StatusT]):
    """The field that holds the status in the replies about one kind of task.

    Attributes:
        name: its name.
        statuses: the documented statuses, by their values.
        running: the one that is not final.
    """

    name: str
    statuses: Mapping[str, StatusT]
    running: StatusT


class StateReply(Generic[StatusT]):
    """A JSON object that holds the state of the execution that was asked for.

    Args:
        kind: the kind of task.
        execution_id: the execution that was asked for.
        response: the response.
        now: the wall clock, in seconds since the epoch.
        field: where the status is.

    Attributes:
        fields: the object.
        status: the status.

    Raises:
        ApiError: the HTTP status is an error.
        DecodeError: the body is not a JSON object, or its ID or status is not a string.
        ExecutionIdMismatchError: it is about another execution, or a final state that names none.
        UnknownStatusError: the status is missing, or not one of the documented ones.
        UnexpectedResponseError: the HTTP status is not documented.
    """

    def __init__(
        self, kind: str, execution_id: str, response: Response, now: float, field: StatusField[StatusT]
    ) -> None:
        self._kind, self._execution_id, self._body = kind, execution_id, response.body
        if response.status != 200:
            raise failure(kind, execution_id, response, now)
        fields, problem = None, ""
        try:
            fields = parse_json(response.body)
        except (ValueError, RecursionError) as error:
            problem = explain(error)
        if not isinstance(fields, dict):
            # Not in the block above: a JSONDecodeError holds the whole body, and would be kept as the context.
            raise self._decode_error(problem or f"expected a JSON object, got {json_type(fields)}")
        received = fields.get("executionId")
        if received is not None and received != execution_id:  # the schema does not require it
            raise self._wrong_id(received)
        value = fields.get(field.name)
        status = field.statuses.get(value) if isinstance(value, str) else None
        if status is None:
            raise self._wrong_status(field.name, value)
        if received is None and status is not field.running:
            raise self._wrong_id(None)  # the final state of another execution would be believed for ever
        self.fields: dict[str, Any] = fields
        self.status = status

    def part(self, name: str, model: type[ModelT], path: str) -> ModelT | None:
        """Return a field of the reply as a model; None if it is absent or null.

        Args:
            name: the name of the field.
            model: the attrs class.
            path: where the field is, for the error.

        Raises:
            DecodeError: it is not of the documented shape.
        """
        value = self.fields.get(name)
        if value is None:
            return None
        structure = _structure_hook(cast("type", model))
        try:
            result: ModelT = structure(value, model)
        except (ValueError, TypeError, KeyError):
            detail = _what_is_wrong(value, model, path)
        else:
            return result
        raise self._decode_error(detail)

    def _wrong_id(self, received: object) -> UnexpectedResponseError:
        if received is None:
            detail = "it holds a final state, but names no execution"
        elif isinstance(received, str):
            detail, received = f"it is about execution {received[:200]!r}", received[:EXCERPT_BYTES]
        else:
            return self._decode_error(f"executionId is of type {json_type(received)}, not string")
        return ExecutionIdMismatchError(self._execution_id, 200, detail, excerpt(self._body), received, kind=self._kind)

    def _wrong_status(self, name: str, value: object) -> UnexpectedResponseError:
        if value is None:
            detail = f"{name} is missing"
        elif isinstance(value, str):
            detail, value = f"{name} is {value[:200]!r}", value[:EXCERPT_BYTES]
        else:
            return self._decode_error(f"{name} is of type {json_type(value)}, not string")
        return UnknownStatusError(self._execution_id, 200, detail, excerpt(self._body), value, kind=self._kind)

    def _decode_error(self, detail: str) -> DecodeError:
        return DecodeError(
            self._execution_id, 200, bounded_line(detail, EXCERPT_BYTES), excerpt(self._body), kind=self._kind
        )


@functools.cache  # looking a hook up takes as long as using it
def _structure_hook(model: type) -> Any:
    return make_converter().get_structure_hook(model)


def _what_is_wrong(value: object, model: type, path: str) -> str:
    try:
        make_converter(detailed_validation=True).structure(value, model)
    except (cattrs.BaseValidationError, ValueError, TypeError, KeyError) as error:
        return "; ".join(cattrs.transform_error(error, path=path))
    return f"{path} is not of the documented shape"
