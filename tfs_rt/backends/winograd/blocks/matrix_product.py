"""A product of matrices, by microkernels that keep their sums in registers."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from tfs_rt.backends.winograd.emit import Function, Number, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule

UNROLLED = 4  # steps of the inmost loop
REMAINDERS = (4, 2, 1)  # rows of the microkernels for the rows that are left over


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """C = A @ B, or C += A @ B if `accumulate` is 1. B lies in packed panels: (panels, depth, panel)."""

    a: Pointer
    a_pitch: Number  # floats from row to row
    b: Pointer
    c: Pointer
    c_pitch: Number
    rows: Number
    depth: Number
    panels: Number
    accumulate: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Microkernel:
    """The same of a few rows and one panel."""

    a: Pointer
    a_pitch: Number
    b: Pointer
    c: Pointer
    c_pitch: Number
    depth: Number
    accumulate: Number


def add_product(kernels: KernelModule) -> None:
    """Add the block Product, and the microkernels that it calls."""
    for rows in {kernels.shape.rows, *REMAINDERS}:
        _add_microkernel(kernels, rows)
    kernels.add_block(Product, _product)


def _product(kernels: KernelModule, code: Function, args: Product) -> None:
    rows = kernels.shape.rows
    full = code.mul(code.div(args.rows, rows), rows)
    with code.loop(0, args.panels) as panel:
        b = code.at(args.b, code.mul(panel, args.depth, kernels.shape.panel))
        c = code.at(args.c, code.mul(panel, kernels.shape.panel))

        # Take as many rows at once as the registers hold.
        with code.loop(0, full, rows) as i:
            _call_microkernel(kernels, code, args, rows, i, b, c)

        # Then the rows left over, by powers of two; of 8 and more, the first power is used more than once.
        done = full
        for some in REMAINDERS:
            stop = code.sub(args.rows, code.rem(code.sub(args.rows, full), some))
            with code.loop(done, stop, some) as i:
                _call_microkernel(kernels, code, args, some, i, b, c)
            done = stop


def _call_microkernel(
    kernels: KernelModule, code: Function, args: Product, rows: int, first: Number, b: Pointer, c: Pointer
) -> None:
    """Call a microkernel for the rows from `first`."""
    micro = Microkernel(
        a=code.at(args.a, code.mul(first, args.a_pitch)),
        a_pitch=args.a_pitch,
        b=b,
        c=code.at(c, code.mul(first, args.c_pitch)),
        c_pitch=args.c_pitch,
        depth=args.depth,
        accumulate=args.accumulate,
    )
    kernels.call(code, micro, suffix=rows)


def _add_microkernel(kernels: KernelModule, rows: int) -> None:
    """Add the microkernel of a number of rows. Each sum runs over the depth in order, whatever the number of rows."""

    def emit(kernels: KernelModule, code: Function, args: Microkernel) -> None:
        width = kernels.shape.width
        columns = range(kernels.shape.columns)
        places = list(product(range(rows), columns))
        lines = [code.at(args.a, code.mul(args.a_pitch, i)) for i in range(rows)]
        cells = {(i, j): code.at(args.c, code.mul(args.c_pitch, i), j * width) for i, j in places}
        sums = {place: code.variable() for place in places}

        # Begin the sums with the stored values, or with zero.
        with code.builder.if_else(code.equal(args.accumulate, 1)) as (accumulate, overwrite):
            with accumulate:
                for place in places:
                    code.put(code.load(cells[place]), sums[place])
            with overwrite:
                for place in places:
                    code.put(code.constant(0), sums[place])

        # Multiply one row of B by one column of A at each step.
        with code.loop(0, args.depth, UNROLLED) as first:
            for step in range(UNROLLED):
                d = code.add(first, step)
                weights = [code.load(args.b, code.mul(d, kernels.shape.panel), j * width) for j in columns]
                for i in range(rows):
                    value = code.broadcast(code.load_element(lines[i], d))
                    for j, weight in enumerate(weights):
                        code.put(code.fma(value, weight, code.get(sums[i, j])), sums[i, j])

        for place in places:
            code.store(code.get(sums[place]), cells[place])

    kernels.add_block(Microkernel, emit, suffix=rows)
