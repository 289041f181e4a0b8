"""What the operations are made of: a product of matrices, a normalised strip of an image, Winograd's transforms.

Images are rows of pixels of channels (H, W, C), float32. Vectors run along the channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from llvmlite import ir

from tfs_rt.backends.winograd import toom
from tfs_rt.backends.winograd.emit import Function

M, N = toom.M, toom.N
STATISTICS = 4  # of a block: its pivot (NaN: none yet), the sums of what is off it and of its squares, the number
UNROLLED = 4  # steps of the inmost loop of a product
HALVES = (4, 2, 1)  # what is left of a product's rows, by powers of two


@dataclass(frozen=True, slots=True)
class Shape:
    """How a processor's registers are used: sums of `rows` rows by `columns` vectors of `width` floats."""

    width: int
    rows: int
    columns: int

    @property
    def panel(self) -> int:
        """Output channels of a packed panel of weights."""
        return self.width * self.columns


@dataclass(frozen=True, slots=True)
class Kernels:
    """A module under construction: building blocks that call each other by name."""

    module: ir.Module
    shape: Shape

    def block(self, name: str, arguments: str) -> Function:
        """A new building block."""
        f = Function(self.module, name, arguments.split(), self.shape.width)
        f.function.linkage = "internal"
        return f

    def call(self, f: Function, name: str, *arguments: Any) -> None:
        """A call of a block, in a function."""
        f.builder.call(self.module.globals[name], [f.number(argument) for argument in arguments])


def add_kernels(k: Kernels) -> None:
    """All of them."""
    for rows in {k.shape.rows, *HALVES}:
        _add_micro(k, rows)
    _add_product(k)
    _add_strip(k)
    _add_spread(k)
    _add_tile(k)
    _add_patch(k)
    _add_gather(k)


def _add_product(k: Kernels) -> None:
    """`product`: C (m, n) = A (m, depth) @ B [+ C if `more`], B in packed panels (n / panel, depth, panel)."""
    f = k.block("product", "*a lda *b *c ldc m depth panels more")
    full = f.mul(f.div(f.m, k.shape.rows), k.shape.rows)
    with f.loop(0, f.panels) as p:
        b, c = f.at(f.b, f.mul(p, f.depth, k.shape.panel)), f.at(f.c, f.mul(p, k.shape.panel))
        with f.loop(0, full, k.shape.rows) as i:
            _call_micro(k, f, k.shape.rows, i, b, c)
        done = full
        for rows in HALVES:  # 8 and more left rows: the first of them more than once
            stop = f.sub(f.m, f.rem(f.sub(f.m, full), rows))
            with f.loop(done, stop, rows) as i:
                _call_micro(k, f, rows, i, b, c)
            done = stop
    f.end()


def _call_micro(k: Kernels, f: Function, rows: int, i: Any, b: Any, c: Any) -> None:
    a, c = f.at(f.a, f.mul(i, f.lda)), f.at(c, f.mul(i, f.ldc))
    k.call(f, f"micro{rows}", a, f.lda, b, c, f.ldc, f.depth, f.more)


def _add_micro(k: Kernels, rows: int) -> None:
    """`rows` rows by one panel, in registers. Each sum is over the depth in order, whatever the number of rows."""
    f = k.block(f"micro{rows}", "*a lda *b *c ldc depth more")
    b, places = f.builder, list(product(range(rows), range(k.shape.columns)))
    lines = [f.at(f.a, f.mul(f.lda, i)) for i in range(rows)]
    cells = {(i, j): f.at(f.c, f.mul(f.ldc, i), j * k.shape.width) for i, j in places}
    sums = {place: f.variable() for place in places}
    with b.if_else(f.equal(f.more, 1)) as (more, anew):
        for branch, start in ((more, lambda place: f.load(cells[place])), (anew, lambda _: f.constant(0))):
            with branch:
                for place in places:
                    b.store(start(place), sums[place])
    with f.loop(0, f.depth, UNROLLED) as first:
        for d in (f.add(first, step) for step in range(UNROLLED)):
            weights = [f.load(f.b, f.mul(d, k.shape.panel), j * k.shape.width) for j in range(k.shape.columns)]
            for i in range(rows):
                value = f.spread(f.one(lines[i], d))
                for j, weight in enumerate(weights):
                    b.store(f.fma(value, weight, b.load(sums[i, j], typ=f.vector)), sums[i, j])
    for place in places:
        f.store(b.load(sums[place], typ=f.vector), cells[place])
    f.end()


def _add_strip(k: Kernels) -> None:
    """`strip`: rows x columns of an image (h, w, c) from (y, x), zeros outside it, into channels of a wider buffer.

    `act` 1: silu(a v + b) by channel; 0: as it is. `shift` 1: of an image half as large, every pixel twice.
    """
    f = k.block("strip", "*to to_w to_c *image h w c shift y x rows columns *a *b act")
    b = f.builder
    with f.loop(0, f.rows) as i:
        line, sy = f.at(f.to, f.mul(i, f.to_w, f.to_c)), f.add(f.y, i)
        inside = b.and_(f.less(-1, sy), f.less(sy, f.h))
        left = b.select(inside, f.smaller(f.larger(f.sub(0, f.x), 0), f.columns), f.columns)
        right = b.select(inside, f.larger(left, f.smaller(f.columns, f.sub(f.w, f.x))), f.columns)
        for start, stop in ((0, left), (right, f.columns)):
            with f.loop(start, stop) as j, f.loop(0, f.c, f.width) as c:
                f.store(f.constant(0), line, f.mul(j, f.to_c), c)
        source = f.at(f.image, f.mul(f.shifted(sy, f.shift), f.shifted(f.w, f.shift), f.c))
        for act in (0, 1):
            with b.if_then(f.equal(f.act, act)), f.loop(left, right) as j:
                pixel = f.mul(f.shifted(f.add(f.x, j), f.shift), f.c)
                with f.loop(0, f.c, f.width) as c:
                    value = f.load(source, pixel, c)
                    value = f.silu(f.fma(f.load(f.a, c), value, f.load(f.b, c))) if act else value
                    f.store(value, line, f.mul(j, f.to_c), c)
    f.end()


def _add_spread(k: Kernels) -> None:
    """`spread`: B^T d B of a row of tiles of a strip of 6 rows: 36 planes, `plane` floats apart."""
    matrix, f = toom.inputs(), k.block("spread", "*strip strip_w c tiles *to plane")
    with f.loop(0, f.tiles) as t, f.loop(0, f.c, f.width) as c:
        corner, pitch = f.at(f.strip, f.mul(t, M, f.c), c), f.mul(f.strip_w, f.c)
        columns = [
            f.transformed(matrix, [f.load(corner, f.mul(pitch, i), f.mul(f.c, j)) for i in range(N)]) for j in range(N)
        ]
        cell = f.at(f.to, f.mul(t, f.c), c)
        for i in range(N):
            for j, value in enumerate(f.transformed(matrix, [column[i] for column in columns])):
                f.store(value, cell, f.mul(f.plane, i * N + j))
    f.end()


def _add_tile(k: Kernels) -> None:
    """`tile`: A^T p A of one tile's 36 products, + bias [+ rest if `more`], into an image; its statistics."""
    matrix, f = toom.outputs(), k.block("tile", "*products plane c *bias *rest more *to to_w *sums")
    pitch = f.mul(f.to_w, f.c)
    with f.loop(0, f.c, f.width) as c:
        columns = [
            f.transformed(matrix, [f.load(f.products, f.mul(f.plane, i * N + j), c) for i in range(N)])
            for j in range(N)
        ]
        rows = [f.transformed(matrix, [column[i] for column in columns]) for i in range(M)]
        bias = f.load(f.bias, c)
        values = {(i, j): f.plus(rows[i][j], bias) for i, j in product(range(M), repeat=2)}
        places = {(i, j): f.add(f.mul(pitch, i), f.mul(f.c, j), c) for i, j in values}
        with f.builder.if_else(f.equal(f.more, 1)) as (more, alone):
            with more:
                _store_tile(
                    f, {at: f.plus(value, f.load(f.rest, places[at])) for at, value in values.items()}, places, c
                )
            with alone:
                _store_tile(f, values, places, c)
    f.end()


def _store_tile(f: Function, values: dict[Any, Any], places: dict[Any, Any], c: Any) -> None:
    for at, value in values.items():
        f.store(value, f.to, places[at])
    add_statistics(f, list(values.values()), f.sums, f.c, c)


def add_statistics(f: Function, values: Sequence[Any], sums: Any, channels: Any, c: Any) -> None:
    """Add values of a vector of channels to the STATISTICS of their block, from its pivot: its first value.

    A mean that is far above the spread would leave nothing of it in the squares of the values themselves.
    """
    known = f.load(sums, c)
    pivot = f.builder.select(f.builder.fcmp_ordered("ord", known, known), known, values[0])
    total = squares = f.constant(0)
    for value in values:
        off = f.minus(value, pivot)
        total, squares = f.plus(total, off), f.fma(off, off, squares)
    f.store(pivot, sums, c)
    for row, more in enumerate((total, squares, f.constant(len(values))), start=1):
        f.increase(more, sums, f.mul(channels, row), c)


def _add_patch(k: Kernels) -> None:
    """`patch`: rows x columns of a buffer of M x M pixels into an image, with what `tile` adds and sums."""
    f = k.block("patch", "*buffer c rows columns *rest more *to to_w *sums")
    b, sum_ = f.builder, f.variable()
    with f.loop(0, f.rows) as i, f.loop(0, f.columns) as j, f.loop(0, f.c, f.width) as c:
        place = f.add(f.mul(f.add(f.mul(i, f.to_w), j), f.c), c)
        b.store(f.load(f.buffer, f.mul(f.add(f.mul(i, M), j), f.c), c), sum_)
        with b.if_then(f.equal(f.more, 1)):
            b.store(f.plus(b.load(sum_, typ=f.vector), f.load(f.rest, place)), sum_)
        value = b.load(sum_, typ=f.vector)
        f.store(value, f.to, place)
        add_statistics(f, [value], f.sums, f.c, c)
    f.end()


def _add_gather(k: Kernels) -> None:
    """`gather`: a row of tiles into an image (h, w, c), from (y, x); those over its edge by way of a buffer."""
    f = k.block("gather", "*products plane c tiles y x h w *bias *rest more *image *sums *buffer")
    rows = f.smaller(f.sub(f.h, f.y), M)
    with f.loop(0, f.tiles) as t:
        x = f.add(f.x, f.mul(t, M))
        columns, place = f.smaller(f.sub(f.w, x), M), f.mul(f.add(f.mul(f.y, f.w), x), f.c)
        products, to, rest = f.at(f.products, f.mul(t, f.c)), f.at(f.image, place), f.at(f.rest, place)
        with f.builder.if_else(f.equal(f.add(rows, columns), 2 * M)) as (whole, part):
            with whole:
                k.call(f, "tile", products, f.plane, f.c, f.bias, rest, f.more, to, f.w, f.sums)
            with part:
                unused = f.at(f.buffer, f.mul(f.c, M * M))
                k.call(f, "tile", products, f.plane, f.c, f.bias, rest, 0, f.buffer, M, unused)
                k.call(f, "patch", f.buffer, f.c, rows, columns, rest, f.more, to, f.w, f.sums)
    f.end()
