"""Emit functions of pointers and numbers, with loops and vectors of float32, as LLVM IR."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any, NewType, TypeAlias

import numpy as np
from llvmlite import ir

I32 = ir.IntType(32)
I64 = ir.IntType(64)
F32 = ir.FloatType()
F64 = ir.DoubleType()
POINTER = ir.PointerType()

# Values of the generated code. All of them are LLVM's; only the type checker sees a difference.
Int = NewType("Int", ir.Value)  # of 64 bits
Pointer = NewType("Pointer", ir.Value)
Float = NewType("Float", ir.Value)  # of 32 or of 64 bits
Vector = NewType("Vector", ir.Value)  # of `Function.width` floats of 32 bits
Bit = NewType("Bit", ir.Value)  # the result of a comparison

Number: TypeAlias = Int | int  # known as the code runs, or already as it is emitted


class Function:
    """A function under construction. It returns nothing."""

    def __init__(self, module: ir.Module, name: str, kinds: Sequence[ir.Type], width: int) -> None:
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), kinds), name)
        self.builder: Any = ir.IRBuilder(self.function.append_basic_block())
        self.parameters: tuple[Any, ...] = self.function.args
        self.width = width
        self.vector = ir.VectorType(F32, width)

    def end(self) -> None:
        """Return: no code follows."""
        self.builder.ret_void()

    # Numbers.

    def number(self, value: Number) -> Int:
        """A number as LLVM's."""
        return Int(ir.Constant(I64, value)) if isinstance(value, int) else value

    def add(self, *terms: Number) -> Int:
        """The sum."""
        total, *others = map(self.number, terms)
        for term in others:
            total = self.builder.add(total, term)
        return total

    def sub(self, a: Number, b: Number) -> Int:
        """a - b."""
        return self.builder.sub(self.number(a), self.number(b))

    def mul(self, *factors: Number) -> Int:
        """The product."""
        product, *others = map(self.number, factors)
        for factor in others:
            product = self.builder.mul(product, factor)
        return product

    def div(self, a: Number, b: Number) -> Int:
        """a // b of numbers that are not negative."""
        return self.builder.sdiv(self.number(a), self.number(b))

    def rem(self, a: Number, b: Number) -> Int:
        """a % b of numbers that are not negative."""
        return self.builder.srem(self.number(a), self.number(b))

    def shift_right(self, a: Number, bits: Number) -> Int:
        """a // 2^bits."""
        return self.builder.ashr(self.number(a), self.number(bits))

    def less(self, a: Number, b: Number) -> Bit:
        """a < b."""
        return self.builder.icmp_signed("<", self.number(a), self.number(b))

    def equal(self, a: Number, b: Number) -> Bit:
        """a == b."""
        return self.builder.icmp_signed("==", self.number(a), self.number(b))

    def minimum(self, a: Number, b: Number) -> Int:
        """The smaller of the two."""
        return self.builder.select(self.less(a, b), self.number(a), self.number(b))

    def maximum(self, a: Number, b: Number) -> Int:
        """The larger of the two."""
        return self.builder.select(self.less(a, b), self.number(b), self.number(a))

    # Control.

    @contextmanager
    def loop(self, start: Number, stop: Number, step: Number = 1) -> Generator[Int]:
        """`for i in range(start, stop, step)`."""
        builder = self.builder
        start = self.number(start)
        stop = self.number(stop)
        before = builder.block
        head, body, end = (builder.append_basic_block() for _ in range(3))

        # The condition comes first, so that the body may run zero times.
        builder.branch(head)
        builder.position_at_end(head)
        i = builder.phi(I64)
        i.add_incoming(start, before)
        builder.cbranch(self.less(i, stop), body, end)

        builder.position_at_end(body)
        yield i
        i.add_incoming(self.add(i, step), builder.block)
        builder.branch(head)
        builder.position_at_end(end)

    def variable(self, kind: Any = None) -> Pointer:
        """A place for a vector, or for a value of `kind`. LLVM makes it a register, for it lies in the entry block."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(kind or self.vector)

    # Memory.

    def at(self, pointer: Pointer, *terms: Number, kind: Any = F32) -> Pointer:
        """The address of an element, whose index is the sum of `terms`."""
        return self.builder.gep(pointer, [self.add(*terms)], source_etype=kind)

    def load_element(self, pointer: Pointer, *terms: Number, kind: Any = F32) -> Any:
        """One element."""
        return self.builder.load(self.at(pointer, *terms, kind=kind), typ=kind)

    def store_element(self, value: Float | Int, pointer: Pointer, *terms: Number, kind: Any = F32) -> None:
        """Write one element."""
        self.builder.store(value, self.at(pointer, *terms, kind=kind))

    def load(self, pointer: Pointer, *terms: Number) -> Vector:
        """A vector that begins at an element."""
        return self.builder.load(self.at(pointer, 0, *terms), align=4, typ=self.vector)

    def store(self, value: Vector, pointer: Pointer, *terms: Number) -> None:
        """Write a vector."""
        self.builder.store(value, self.at(pointer, 0, *terms), align=4)

    def add_to(self, pointer: Pointer, *terms: Number, value: Vector) -> None:
        """Add a vector to the one that begins at an element."""
        self.store(self.plus(self.load(pointer, *terms), value), pointer, *terms)

    def get(self, variable: Pointer) -> Vector:
        """The vector in a variable."""
        return self.builder.load(variable, typ=self.vector)

    def put(self, value: Vector, variable: Pointer) -> None:
        """Write a variable."""
        self.builder.store(value, variable)

    # Vectors.

    def constant(self, value: float) -> Vector:
        """A number in every lane."""
        return Vector(ir.Constant(self.vector, [float(np.float32(value))] * self.width))

    def broadcast(self, value: Float) -> Vector:
        """A float in every lane."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        return self.builder.shuffle_vector(first, undefined, zeros)

    def plus(self, a: Vector, b: Vector) -> Vector:
        """a + b."""
        return self.builder.fadd(a, b)

    def minus(self, a: Vector, b: Vector) -> Vector:
        """a - b."""
        return self.builder.fsub(a, b)

    def times(self, a: Vector, b: Vector) -> Vector:
        """a b."""
        return self.builder.fmul(a, b)

    def fma(self, a: Vector, b: Vector, c: Vector) -> Vector:
        """a b + c, rounded once."""
        return self.intrinsic("llvm.fma", a, b, c)

    def lane(self, vector: Vector, i: int) -> Float:
        """One float of a vector."""
        return self.builder.extract_element(vector, ir.Constant(I32, i))

    def intrinsic(self, name: str, *values: Any) -> Any:
        """Call one of LLVM's own functions, of vectors or of float64s."""
        kind = values[0].type
        module = self.builder.module
        name = f"{name}.f64" if kind == F64 else f"{name}.v{self.width}f32"
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind] * len(values)), name)
        return self.builder.call(function, list(values))
