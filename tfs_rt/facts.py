"""JSON objects of metadata: their type, their canonical bytes, their digest, and decoding into dataclasses.

Decoding is strict: an unknown or missing key is an error, so that a file is read whole or refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import typing
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Facts = dict[str, Any]
T = TypeVar("T", bound="DataclassInstance")


def digest(facts: Facts) -> str:
    """SHA-256 of an object as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def json_bytes(facts: Facts) -> bytes:
    """An object as the bytes of a JSON file; names that are not valid Unicode are escaped."""
    return (json.dumps(facts, indent=1) + "\n").encode()


def unique_keys(pairs: list[tuple[str, Any]]) -> Facts:
    """A JSON object for `object_pairs_hook`; ValueError for a duplicate key: parsers differ in which value they use."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def from_dict(cls: type[T], data: Any, where: str = "") -> T:
    """Build a dataclass from parsed JSON; ValueError names the key that is unknown, missing or of a wrong type."""
    where = where or cls.__name__
    if not isinstance(data, dict):
        raise ValueError(f"{where} should be an object, found {type(data).__name__}")

    # Compare the keys with the fields.
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if unknown := sorted(set(data) - set(fields)):
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}")
    none = dataclasses.MISSING
    required = {name for name, field in fields.items() if field.default is none and field.default_factory is none}
    if missing := sorted(required - set(data)):
        raise ValueError(f"{where} lacks the key {missing[0]!r}")

    # Convert each value to its field's type.
    hints = typing.get_type_hints(cls)
    return cls(**{key: _convert(hints[key], value, f"{where}.{key}") for key, value in data.items()})


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`; ValueError if it has another type."""
    if hint is Any:
        return value
    if dataclasses.is_dataclass(hint):
        return from_dict(typing.cast(type, hint), value, where)
    convert = CONVERTERS.get(typing.get_origin(hint), _convert_plain)
    return convert(hint, value, where)


def _convert_optional(hint: Any, value: Any, where: str) -> Any:
    """X | None, the only union in our files."""
    return None if value is None else _convert(typing.get_args(hint)[0], value, where)


def _convert_literal(hint: Any, value: Any, where: str) -> Any:
    choices = typing.get_args(hint)
    if not isinstance(value, str) or value not in choices:
        raise _wrong_type(value, where, f"one of {', '.join(map(str, choices))}")
    return value


def _convert_tuple(hint: Any, value: Any, where: str) -> Any:
    """A list whose items have one type: tuple[X, ...] of any length, tuple[X, X] of two."""
    items = typing.get_args(hint)
    any_length = items[-1] is ...
    if not isinstance(value, list) or not (any_length or len(value) == len(items)):
        raise _wrong_type(value, where, "a list" if any_length else f"a list of {len(items)}")
    return tuple(_convert(items[0], item, where) for item in value)


def _convert_mapping(hint: Any, value: Any, where: str) -> Any:
    """An object whose values have one type: dict[str, X]."""
    if not isinstance(value, dict):
        raise _wrong_type(value, where, "an object")
    return {key: _convert(typing.get_args(hint)[1], item, f"{where}.{key}") for key, item in value.items()}


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    """A number, a text or a Boolean. An integer may stand for a float."""
    if hint is float and type(value) is int and abs(value) < 1e300:
        return float(value)
    if type(value) is not hint:
        raise _wrong_type(value, where, hint.__name__)
    return value


def _wrong_type(value: Any, where: str, expected: str) -> ValueError:
    return ValueError(f"{where} is {value!r}, expected {expected}")


CONVERTERS = {
    UnionType: _convert_optional,
    Literal: _convert_literal,
    tuple: _convert_tuple,
    dict: _convert_mapping,
}
