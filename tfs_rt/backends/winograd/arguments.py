"""Typed arguments of generated functions: a block's parameters and an operation's fields are dataclasses.

So a type checker, an editor's rename and a search see every argument by its name. A record may hold another record;
its values lie where the record stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any, TypeVar, get_origin, get_type_hints

from llvmlite import ir

from tfs_rt.backends.winograd.emit import I64, POINTER, Pointer

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# An operation's fields are arrays and integers where a program is laid out, and LLVM's values where code is emitted.
PointerT = TypeVar("PointerT")
NumberT = TypeVar("NumberT")
Record = TypeVar("Record", bound="DataclassInstance")


def make_record(record: type[Record], value_of_kind: Callable[[ir.Type], Any]) -> Record:
    """A record whose values are made in the order of its fields, each for LLVM's type of its kind."""
    hints = get_type_hints(record)
    values: dict[str, Any] = {}
    for field in fields(record):
        hint = hints[field.name]
        kind: Any = get_origin(hint) or hint
        if is_dataclass(kind):
            nested: Any = kind
            values[field.name] = make_record(nested, value_of_kind)
        else:
            values[field.name] = value_of_kind(POINTER if kind in (Pointer, PointerT) else I64)
    return record(**values)


def kinds(record: type[Any]) -> list[ir.Type]:
    """LLVM's types of a record's values, in their order."""
    found: list[ir.Type] = []
    make_record(record, found.append)
    return found


def values(record: Any) -> list[Any]:
    """A record's values, in their order."""
    found: list[Any] = []
    for field in fields(record):
        value = getattr(record, field.name)
        found += values(value) if is_dataclass(value) else [value]
    return found
