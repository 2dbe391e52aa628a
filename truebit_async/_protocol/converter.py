"""The converter between the models (snake_case) and the API's JSON objects (camelCase)."""

from __future__ import annotations

import enum
import functools
import typing
from types import NoneType, UnionType
from typing import Any, NoReturn, get_args

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

_JSON_TYPES = {dict: "object", list: "array", str: "string", bool: "boolean", NoneType: "null"}


@functools.cache
def make_converter(*, detailed_validation: bool = False) -> cattrs.Converter:
    """Return a converter that works both ways.

    Unknown fields are ignored. Absent ones and nulls become None, and None is left out again. The converter is made
    when it is first asked for, because that takes milliseconds, which importing the package should not.

    Args:
        detailed_validation: whether an error tells everything that is wrong, and where. That costs time also when
            nothing is wrong.
    """
    converter = cattrs.Converter(detailed_validation=detailed_validation)
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(int, _structure_int64)
    converter.register_structure_hook_func(
        _is_json_object, lambda value, _: value if isinstance(value, dict) else _refuse_non_object(value)
    )

    @converter.register_structure_hook_factory(_is_optional)
    def optional_factory(hint: Any) -> Any:  # as cattrs does it, but the hook is looked up once and not at every value
        (inner,) = (arg for arg in get_args(hint) if arg is not NoneType)
        if inner is str:
            return _exactly(str, NoneType)
        structure_inner = converter.get_structure_hook(inner)
        return lambda value, _: None if value is None else structure_inner(value, inner)

    def names(cls: type) -> dict[str, Any]:
        return {field.name: override(rename=json_name(field.name)) for field in attrs.fields(cls)}

    @converter.register_structure_hook_factory(attrs.has)
    def structure_factory(cls: type) -> Any:
        for status in _statuses_of(cls):  # they are str as well, and must not be taken by the hook for it
            converter.register_structure_hook(status, _member_of(status))
        structure_fields: Any = make_dict_structure_fn(cls, converter, **names(cls))
        return lambda value, _: structure_fields(value if isinstance(value, dict) else _refuse_non_object(value), cls)

    @converter.register_unstructure_hook_factory(attrs.has)
    def unstructure_factory(cls: type) -> Any:
        return make_dict_unstructure_fn(cls, converter, _cattrs_omit_if_default=True, **names(cls))

    return converter


def json_name(name: str) -> str:
    """Return the camelCase name of a field in JSON."""
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def json_type(value: Any) -> str:
    """Return what JSON calls the type of a value. The two parsers do not make the same type of every number."""
    return _JSON_TYPES.get(type(value), "number")


def _refuse_non_object(value: object) -> NoReturn:
    msg = f"expected a JSON object, got {json_type(value)}"
    raise TypeError(msg)


def _is_optional(hint: Any) -> bool:
    return isinstance(hint, UnionType) and NoneType in get_args(hint)


def _is_json_object(hint: Any) -> bool:
    """Return whether a field takes a JSON object of any shape, which is kept as it is."""
    return bool(hint == dict[str, object])


def _statuses_of(cls: type) -> list[type[enum.Enum]]:
    hints = typing.get_type_hints(cls).values()
    inner = [part for hint in hints for part in (hint, *get_args(hint))]
    return [part for part in inner if isinstance(part, type) and issubclass(part, enum.Enum)]


def _exactly(*types: type) -> Any:
    """Return a hook that takes values of these types as they are; cattrs would make ``"28"`` of 28 and 1 of true."""
    expected = types[0].__name__

    def structure(value: object, _: object) -> Any:
        if type(value) in types:
            return value
        msg = f"expected {expected}, got {type(value).__name__}"
        raise TypeError(msg)

    return structure


def _structure_int64(value: object, _: object) -> int:
    # Beyond 64 bits, orjson makes a float of an integer and the standard library does not.
    if type(value) is int and -(2**63) <= value < 2**63:
        return value
    msg = f"expected a 64-bit int, got {type(value).__name__}"
    raise TypeError(msg)


def _member_of(status: type[enum.Enum]) -> Any:
    members: dict[object, enum.Enum] = {member.value: member for member in status}

    def structure(value: object, _: object) -> enum.Enum:
        try:
            return members[value]
        except (KeyError, TypeError):
            return status(value)  # slower, and says what is wrong

    return structure
