"""Statistics of a block of pixels, by channel, from which a later normalisation has its mean and variance."""

from __future__ import annotations

from collections.abc import Sequence

from tfs_rt.backends.winograd.emit import Function, Number, Pointer, Vector

# The statistics of each channel of a block: its pivot (NaN if there is none yet), the sum of the values' differences
# from it, the sum of the squares of those, and the number of values.
STATISTICS = 4


def add_statistics(code: Function, values: Sequence[Vector], sums: Pointer, channels: Number, c: Number) -> None:
    """Add values of a vector of channels to the statistics of their block. Its first value is its pivot.

    Squares of the values themselves would not do: with a mean far above the spread, nothing of the spread is left.
    """
    known = code.load(sums, c)
    pivot = code.builder.select(code.builder.fcmp_ordered("ord", known, known), known, values[0])
    total = squares = code.constant(0)
    for value in values:
        difference = code.minus(value, pivot)
        total = code.plus(total, difference)
        squares = code.fma(difference, difference, squares)
    code.store(pivot, sums, c)
    for row, increase in enumerate((total, squares, code.constant(len(values))), start=1):
        code.add_to(sums, code.mul(channels, row), c, value=increase)
