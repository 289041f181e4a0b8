"""A little of a compiler's front end: functions of pointers and numbers, loops, vectors of float32, as LLVM IR."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from llvmlite import ir

from tfs_rt.sampling.schedule import Float64

I32, I64, F32, F64, POINTER = ir.IntType(32), ir.IntType(64), ir.FloatType(), ir.DoubleType(), ir.PointerType()
LOG2_E, LN_2_HIGH, LN_2_LOW = (
    1.4426950408889634,
    0.693359375,
    -2.12194440e-4,
)  # ln 2 in two parts: n times the first is exact


class Function:
    """A function under construction, which returns nothing.

    Its arguments, 64-bit numbers or (with an asterisk) pointers, are its attributes. A `value` below is LLVM's, of a
    number, a pointer or a vector; where a number is wanted, Python's integers do too.
    """

    def __init__(self, module: ir.Module, name: str, arguments: Sequence[str], width: int) -> None:
        types = [POINTER if argument.startswith("*") else I64 for argument in arguments]
        self.function = ir.Function(module, ir.FunctionType(ir.VoidType(), types), name)
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        self.arguments: dict[str, Any] = dict(zip((a.lstrip("*") for a in arguments), self.function.args, strict=True))
        self.width, self.vector = width, ir.VectorType(F32, width)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.arguments[name]
        except KeyError:
            raise AttributeError(name) from None

    def end(self) -> None:
        """Nothing follows."""
        self.builder.ret_void()

    # numbers

    def number(self, value: Any) -> Any:
        """A number as LLVM's."""
        return ir.Constant(I64, value) if isinstance(value, int) else value

    def add(self, *terms: Any) -> Any:
        """Their sum."""
        total, *rest = map(self.number, terms)
        for term in rest:
            total = self.builder.add(total, term)
        return total

    def sub(self, a: Any, b: Any) -> Any:
        """a - b."""
        return self.builder.sub(self.number(a), self.number(b))

    def mul(self, *factors: Any) -> Any:
        """Their product."""
        product, *rest = map(self.number, factors)
        for factor in rest:
            product = self.builder.mul(product, factor)
        return product

    def div(self, a: Any, b: Any) -> Any:
        """a // b of numbers that are not negative."""
        return self.builder.sdiv(self.number(a), self.number(b))

    def rem(self, a: Any, b: Any) -> Any:
        """a % b, likewise."""
        return self.builder.srem(self.number(a), self.number(b))

    def shifted(self, a: Any, by: Any) -> Any:
        """a // 2^by."""
        return self.builder.ashr(self.number(a), self.number(by))

    def less(self, a: Any, b: Any) -> Any:
        """Whether a < b."""
        return self.builder.icmp_signed("<", self.number(a), self.number(b))

    def equal(self, a: Any, b: Any) -> Any:
        """Whether a = b."""
        return self.builder.icmp_signed("==", self.number(a), self.number(b))

    def smaller(self, a: Any, b: Any) -> Any:
        """The smaller of the two."""
        return self.builder.select(self.less(a, b), self.number(a), self.number(b))

    def larger(self, a: Any, b: Any) -> Any:
        """The larger of the two."""
        return self.builder.select(self.less(a, b), self.number(b), self.number(a))

    # control

    @contextmanager
    def loop(self, start: Any, stop: Any, step: Any = 1) -> Iterator[Any]:
        """`for i in range(start, stop, step)`, which may run not at all."""
        b = self.builder
        start, stop, before = self.number(start), self.number(stop), b.block
        head, body, end = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        i = b.phi(I64)
        i.add_incoming(start, before)
        b.cbranch(self.less(i, stop), body, end)
        b.position_at_end(body)
        yield i
        i.add_incoming(self.add(i, step), b.block)
        b.branch(head)
        b.position_at_end(end)

    def variable(self, kind: Any = None) -> Any:
        """A place for a vector, or for one of `kind`; LLVM makes it a register, for it lies in the entry block."""
        with self.builder.goto_entry_block():
            return self.builder.alloca(kind or self.vector)

    # memory

    def at(self, pointer: Any, *terms: Any, kind: Any = F32) -> Any:
        """The address of an element, whose index is the sum of `terms`."""
        return self.builder.gep(pointer, [self.add(*terms)], source_etype=kind)

    def one(self, pointer: Any, *terms: Any, kind: Any = F32) -> Any:
        """One element."""
        return self.builder.load(self.at(pointer, *terms, kind=kind), typ=kind)

    def put(self, value: Any, pointer: Any, *terms: Any, kind: Any = F32) -> None:
        """Write one element."""
        self.builder.store(value, self.at(pointer, *terms, kind=kind))

    def load(self, pointer: Any, *terms: Any) -> Any:
        """A vector that begins at an element."""
        return self.builder.load(self.at(pointer, 0, *terms), align=4, typ=self.vector)

    def store(self, value: Any, pointer: Any, *terms: Any) -> None:
        """Write a vector."""
        self.builder.store(value, self.at(pointer, 0, *terms), align=4)

    def increase(self, value: Any, pointer: Any, *terms: Any) -> None:
        """Add a vector to what is there."""
        self.store(self.plus(self.load(pointer, *terms), value), pointer, *terms)

    # vectors

    def constant(self, value: float) -> Any:
        """A number in every lane."""
        return ir.Constant(self.vector, [float(np.float32(value))] * self.width)

    def spread(self, value: Any) -> Any:
        """A float in every lane."""
        nothing = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(nothing, value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.width), [0] * self.width)
        return self.builder.shuffle_vector(first, nothing, zeros)

    def plus(self, a: Any, b: Any) -> Any:
        """a + b."""
        return self.builder.fadd(a, b)

    def minus(self, a: Any, b: Any) -> Any:
        """a - b."""
        return self.builder.fsub(a, b)

    def times(self, a: Any, b: Any) -> Any:
        """a b."""
        return self.builder.fmul(a, b)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """a b + c, rounded once."""
        return self.intrinsic("llvm.fma", a, b, c)

    def intrinsic(self, name: str, *values: Any) -> Any:
        """One of LLVM's own functions, of vectors or of float64s."""
        kind, module = values[0].type, self.builder.module
        name = f"{name}.f64" if kind == F64 else f"{name}.v{self.width}f32"
        function = module.globals.get(name) or ir.Function(module, ir.FunctionType(kind, [kind] * len(values)), name)
        return self.builder.call(function, list(values))

    def lane(self, vector: Any, i: int) -> Any:
        """One float of a vector."""
        return self.builder.extract_element(vector, ir.Constant(I32, i))

    def exp(self, x: Any) -> Any:
        """e^x within a few units in the last place, x clipped to [-87, 88]: 2^n times a polynomial of the rest.

        A NaN stays one: no comparison holds for it, and so no bound takes its place.
        """
        for sign, bound in ((">", self.constant(88)), ("<", self.constant(-87))):
            x = self.builder.select(self.builder.fcmp_ordered(sign, x, bound), bound, x)
        n = self.intrinsic("llvm.rint", self.times(x, self.constant(LOG2_E)))
        rest = self.fma(n, self.constant(-LN_2_LOW), self.fma(n, self.constant(-LN_2_HIGH), x))
        power = self.constant(1 / 5040)
        for factorial in (720, 120, 24, 6, 2, 1, 1):
            power = self.fma(power, rest, self.constant(1 / factorial))
        integers = ir.VectorType(I32, self.width)
        exponent = self.builder.shl(self.builder.fptosi(n, integers), ir.Constant(integers, [23] * self.width))
        return self.builder.bitcast(self.builder.add(self.builder.bitcast(power, integers), exponent), self.vector)

    def silu(self, x: Any) -> Any:
        """x / (1 + e^-x)."""
        return self.builder.fdiv(x, self.plus(self.exp(self.builder.fneg(x)), self.constant(1)))

    def transformed(self, matrix: Float64, values: Sequence[Any]) -> list[Any]:
        """matrix @ values; two rows that differ in the sign of their odd columns share the sums of both halves."""
        results: list[Any] = [None] * len(matrix)
        signs = np.where(np.arange(len(values)) % 2, -1.0, 1.0)
        for i, row in enumerate(matrix):
            twins = [j for j in range(i + 1, len(matrix)) if np.array_equal(matrix[j], row * signs)]
            opposite = [j for j in range(i + 1, len(matrix)) if np.array_equal(matrix[j], -row * signs)]
            if results[i] is not None:
                continue
            halves = [self._combined(row, values, range(parity, len(values), 2)) for parity in (0, 1)]
            if None in halves or not (twins or opposite):
                results[i] = self._combined(row, values, range(len(values)))
                continue
            even, odd = halves
            results[i] = self.plus(even, odd)
            for j in twins[:1] or opposite[:1]:
                results[j] = self.minus(even, odd) if twins else self.minus(odd, even)
        return results

    def _combined(self, row: Any, values: Sequence[Any], columns: range) -> Any:
        """The sum of coefficient x vector over some columns, those without a multiplication first; None if it is 0."""
        terms = sorted(((float(row[j]), values[j]) for j in columns if row[j]), key=lambda term: term[0] not in (1, -1))
        terms = sorted(terms, key=lambda term: term[0] != 1)
        total = None
        for coefficient, value in terms:
            if total is None:
                total = value if coefficient == 1 else self.times(self.constant(coefficient), value)
            elif coefficient in (1, -1):
                total = (self.plus if coefficient == 1 else self.minus)(total, value)
            else:
                total = self.fma(self.constant(coefficient), value, total)
        return total
