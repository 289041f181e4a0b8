"""The module of generated code, and how it uses a processor's registers.

Images are rows of pixels of channels (H, W, C), float32. Vectors run along the channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from llvmlite import ir

from tfs_rt.backends.winograd.arguments import Record, kinds, make_record, values
from tfs_rt.backends.winograd.emit import Function


@dataclass(frozen=True, slots=True)
class RegisterTile:
    """A microkernel's tile: `rows` x `columns` vectors of `width` floats, held in registers."""

    width: int
    rows: int
    columns: int

    @property
    def panel(self) -> int:
        """Output channels of a packed panel of weights."""
        return self.width * self.columns


@dataclass(frozen=True, slots=True)
class KernelModule:
    """A module under construction. Its blocks are functions that call each other."""

    module: ir.Module
    shape: RegisterTile

    def add_block(
        self,
        arguments: type[Record],
        emit: Callable[[KernelModule, Function, Record], None],
        *,
        suffix: int | str = "",
    ) -> None:
        """Add a block: a function whose parameters are a dataclass, and whose code `emit` writes.

        It is called by the dataclass's name; a suffix tells several blocks with the same parameters apart.
        """
        code = Function(self.module, f"{arguments.__name__}{suffix}", kinds(arguments), self.shape.width)
        code.function.linkage = "internal"
        parameters = iter(code.parameters)
        emit(self, code, make_record(arguments, lambda _: next(parameters)))
        code.end()

    def call(self, code: Function, arguments: Any, *, suffix: int | str = "") -> None:
        """Call the block whose parameters these are."""
        block = self.module.globals[f"{type(arguments).__name__}{suffix}"]
        code.builder.call(block, [code.number(value) for value in values(arguments)])
