"""Functions of vectors: e^x, SiLU, and the product of a constant matrix with vectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from llvmlite import ir

from tfs_rt.backends.winograd.emit import I32, Function, Vector
from tfs_rt.sampling.schedule import Float64

LOG2_E = 1.4426950408889634
# The two parts of ln 2: n times the first is exact.
LN_2_HIGH = 0.693359375
LN_2_LOW = -2.12194440e-4
EXP_HIGHEST = 88.0
EXP_LOWEST = -87.0
MANTISSA_BITS = 23


def exp(code: Function, x: Vector) -> Vector:
    """e^x within a few units in the last place, x clipped to [-87, 88]: 2^n times a polynomial of the remainder."""
    builder = code.builder

    # A NaN stays a NaN: no comparison holds for it, so no bound takes its place.
    for sign, bound in ((">", code.constant(EXP_HIGHEST)), ("<", code.constant(EXP_LOWEST))):
        x = builder.select(builder.fcmp_ordered(sign, x, bound), bound, x)

    # Split x into n ln 2 + remainder.
    n = code.intrinsic("llvm.rint", code.times(x, code.constant(LOG2_E)))
    remainder = code.fma(n, code.constant(-LN_2_LOW), code.fma(n, code.constant(-LN_2_HIGH), x))

    # Taylor's polynomial of degree 7.
    power = code.constant(1 / 5040)
    for factorial in (720, 120, 24, 6, 2, 1, 1):
        power = code.fma(power, remainder, code.constant(1 / factorial))

    # Multiply by 2^n: add n to the exponent's bits.
    integers = ir.VectorType(I32, code.width)
    exponent = builder.shl(builder.fptosi(n, integers), ir.Constant(integers, [MANTISSA_BITS] * code.width))
    return builder.bitcast(builder.add(builder.bitcast(power, integers), exponent), code.vector)


def silu(code: Function, x: Vector) -> Vector:
    """x / (1 + e^-x)."""
    return code.builder.fdiv(x, code.plus(exp(code, code.builder.fneg(x)), code.constant(1)))


def matrix_product(code: Function, matrix: Float64, values: Sequence[Vector]) -> list[Vector]:
    """matrix @ values. Two rows that differ in the sign of their odd columns share the sums of both halves."""
    results: list[Vector | None] = [None] * len(matrix)
    signs = np.where(np.arange(len(values)) % 2, -1.0, 1.0)
    for i, row in enumerate(matrix):
        # Find the rows that share this row's sums.
        twins = [j for j in range(i + 1, len(matrix)) if np.array_equal(matrix[j], row * signs)]
        opposite = [j for j in range(i + 1, len(matrix)) if np.array_equal(matrix[j], -row * signs)]
        # Skip a row that an earlier one has served.
        if results[i] is not None:
            continue
        # Sum the even and the odd columns by themselves.
        even = _linear_combination(code, row, values, range(0, len(values), 2))
        odd = _linear_combination(code, row, values, range(1, len(values), 2))
        # Without a row to share with, sum all columns at once.
        if even is None or odd is None or not (twins or opposite):
            results[i] = _linear_combination(code, row, values, range(len(values)))
            continue
        # Add the two sums for this row, and subtract them for the other.
        results[i] = code.plus(even, odd)
        if twins:
            results[twins[0]] = code.minus(even, odd)
        else:
            results[opposite[0]] = code.minus(odd, even)
    assert None not in results, "a row of zeros"
    return [result for result in results if result is not None]


def _linear_combination(code: Function, row: Float64, values: Sequence[Vector], columns: range) -> Vector | None:
    """The sum of coefficient x vector over some columns; None if all coefficients are 0."""
    terms = [(float(row[j]), values[j]) for j in columns if row[j]]
    # Coefficients 1 come first, then -1, then the others: the first two need no multiplication.
    terms.sort(key=lambda term: {1.0: 0, -1.0: 1}.get(term[0], 2))
    total: Vector | None = None
    for coefficient, value in terms:
        if total is None:
            total = value if coefficient == 1 else code.times(code.constant(coefficient), value)
        elif coefficient == 1:
            total = code.plus(total, value)
        elif coefficient == -1:
            total = code.minus(total, value)
        else:
            total = code.fma(code.constant(coefficient), value, total)
    return total
