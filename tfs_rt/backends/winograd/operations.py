"""The operations of a network's program. Each is void(fields, thread): it takes tasks until none is left.

A task's work does not depend on who does it or when, so that a result is the same to the bit on any number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import reduce
from math import inf, nan
from typing import Any

from llvmlite import ir

from tfs_rt.backends.winograd import toom
from tfs_rt.backends.winograd.emit import F32, F64, I64, POINTER, Function
from tfs_rt.backends.winograd.kernels import STATISTICS, Kernels, add_statistics

M, N = toom.M, toom.N
PLANES, APART = N * N, 16  # floats between planes beyond their length: else all would compete for the same cache lines
LANES, LOW = 16, -3e38  # of a softmax: the widest vector, and less than any score
GROUP_NORM_EPSILON = 1e-5  # PyTorch's, and SR3's

SOURCES = "*image1 c1 *image2 c2 shift *a *b act h w"  # two images whose channels stand side by side
RESULT = "co *bias *rest more *image *sums"
SCRATCH = "*scratch stride"  # memory of each thread's own
FIELDS = {
    "conv": f"{SOURCES} {RESULT} *weights {SCRATCH} tile_h tile_w across",
    "conv_in": f"{SOURCES} *values plane {SCRATCH}",
    "conv_products": "*values plane_in *weights *products plane_out count c co parts",
    "conv_out": f"*products plane h w {RESULT} {SCRATCH}",
    "linear": "*image1 c1 *weights1 *image2 c2 *weights2 co *rest *bias more *to pixels block",
    "down": f"*image c h w *weights co *bias *to {SCRATCH}",
    "sums": "*image c pixels block *sums",
    "norm": "*sums1 count1 c1 *sums2 count2 c2 groups pixels *gamma *beta *a *b",
    "affine": "*image c *a *b *to pixels block",
    "pack": "*qkv pitch c pixels tokens *keys *values",
    "attend": f"*qkv pitch c pixels tokens *keys *values *to block {SCRATCH}",
    "mix": "*planes c *weights co *to pixels block",
}
HEAD = ("counter", "tasks")  # before the fields of every operation


def field_names(operation: str) -> tuple[str, ...]:
    """An operation's fields, in their order in memory."""
    return (*HEAD, *(entry.lstrip("*") for entry in FIELDS[operation].split()))


class Operation(Function):
    """A function whose arguments lie in an array of 64-bit fields."""

    def __init__(self, k: Kernels, name: str) -> None:
        super().__init__(k.module, name, ("*fields", "thread"), k.shape.width)
        entries = ("*counter", "tasks", *FIELDS[name].split())
        for i, entry in enumerate(entries):
            kind = POINTER if entry.startswith("*") else I64
            address = self.at(self.arguments["fields"], i, kind=I64)
            value: Any = address if i == 0 else self.builder.load(address, typ=kind)
            self.arguments[entry.lstrip("*")] = value
        if "scratch" in self.arguments:
            self.arguments["own"] = self.at(self.scratch, self.mul(self.thread, self.stride))

    @contextmanager
    def each_task(self) -> Iterator[Any]:
        """Tasks, taken one at a time, until none is left."""
        b = self.builder
        head, body, end = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        task = b.atomic_rmw("add", self.counter, self.number(1), "monotonic")
        b.cbranch(self.less(task, self.tasks), body, end)
        b.position_at_end(body)
        yield task
        b.branch(head)
        b.position_at_end(end)

    @contextmanager
    def each_block(self) -> Iterator[tuple[Any, Any]]:
        """The first and the number of `block` pixels a task."""
        with self.each_task() as task:
            start = self.mul(task, self.block)
            yield start, self.smaller(self.block, self.sub(self.pixels, start))

    @contextmanager
    def each_value(self, first: Any, last: Any, channels: Any) -> Iterator[tuple[Any, Any]]:
        """The place of each vector of pixels `first` to `last`, and its first channel."""
        with self.loop(first, last) as i, self.loop(0, channels, self.width) as c:
            yield self.add(self.mul(i, channels), c), c

    def no_statistics(self, task: Any, channels: Any) -> Any:
        """Where a task's statistics belong: of nothing yet."""
        sums = self.at(self.sums, self.mul(task, channels, STATISTICS))
        with self.loop(0, channels, self.width) as i:
            self.store(self.constant(nan), sums, i)
        with self.loop(channels, self.mul(channels, STATISTICS), self.width) as i:
            self.store(self.constant(0), sums, i)
        return sums


def add_operations(k: Kernels) -> None:
    """All of them."""
    bodies: dict[str, Callable[[Kernels, Operation], None]] = {
        "conv": _conv,
        "conv_in": _conv_in,
        "conv_products": _conv_products,
        "conv_out": _conv_out,
        "linear": _linear,
        "down": _down,
        "sums": _sums,
        "norm": _norm,
        "affine": _affine,
        "pack": _pack,
        "attend": _attend,
        "mix": _mix,
    }
    for name, body in bodies.items():
        f = Operation(k, name)
        body(k, f)
        f.end()


def _tiles(f: Function, side: Any) -> Any:
    return f.div(f.add(side, M - 1), M)


def _strips(k: Kernels, f: Function, strip: Any, width: Any, y: Any, x: Any) -> None:
    """A strip of 6 rows of both sources, their channels side by side."""
    c, zero = f.add(f.c1, f.c2), f.number(0)
    sources = ((f.image1, f.c1, zero), (f.image2, f.c2, f.c1))
    for image, channels, offset in sources:
        with f.builder.if_then(f.less(0, channels)):
            to, a, b = f.at(strip, offset), f.at(f.a, offset), f.at(f.b, offset)
            k.call(f, "strip", to, width, c, image, f.h, f.w, channels, f.shift, y, x, N, width, a, b, f.act)


def _conv(k: Kernels, f: Operation) -> None:
    """A 3x3 convolution, whole: a task is a block of tiles, whose values stay in a core's own cache."""
    c, most = f.add(f.c1, f.c2), f.mul(f.tile_h, f.tile_w)
    plane_in, plane_out = f.add(f.mul(most, c), APART), f.add(f.mul(most, f.co), APART)
    values = f.at(f.own, f.mul(f.add(f.mul(f.tile_w, M), 2), c, N))
    products = f.at(values, f.mul(plane_in, PLANES))
    buffer = f.at(products, f.mul(plane_out, PLANES))
    panels = f.div(f.co, k.shape.panel)
    with f.each_task() as task:
        y, x = f.mul(f.div(task, f.across), f.tile_h, M), f.mul(f.rem(task, f.across), f.tile_w, M)
        down, tiles = f.smaller(f.tile_h, _tiles(f, f.sub(f.h, y))), f.smaller(f.tile_w, _tiles(f, f.sub(f.w, x)))
        width, sums = f.add(f.mul(tiles, M), 2), f.no_statistics(task, f.co)
        with f.loop(0, down) as i:
            _strips(k, f, f.own, width, f.add(y, f.mul(i, M), -1), f.add(x, -1))
            k.call(f, "spread", f.own, width, c, tiles, f.at(values, f.mul(i, tiles, c)), plane_in)
        with f.loop(0, PLANES) as p:
            a, weights = f.at(values, f.mul(p, plane_in)), f.at(f.weights, f.mul(p, c, f.co))
            to = f.at(products, f.mul(p, plane_out))
            k.call(f, "product", a, c, weights, to, f.co, f.mul(down, tiles), c, panels, 0)
        with f.loop(0, down) as i:
            row, top = f.at(products, f.mul(i, tiles, f.co)), f.add(y, f.mul(i, M))
            _gather(k, f, row, plane_out, tiles, top, x, sums, buffer)


def _gather(k: Kernels, f: Function, row: Any, plane: Any, tiles: Any, *where: Any) -> None:
    y, x, sums, buffer = where
    k.call(
        f, "gather", row, plane, f.co, tiles, y, x, f.h, f.w, f.bias, f.rest, f.more, f.image, sums, buffer
    )  # fmt: skip


def _conv_in(k: Kernels, f: Operation) -> None:
    """The first of three parts of a convolution with more weights than pixels: a row of tiles a task."""
    c, tiles = f.add(f.c1, f.c2), _tiles(f, f.w)
    width = f.add(f.mul(tiles, M), 2)
    with f.each_task() as task:
        _strips(k, f, f.own, width, f.add(f.mul(task, M), -1), f.number(-1))
        k.call(f, "spread", f.own, width, c, tiles, f.at(f.values, f.mul(task, tiles, c)), f.plane)


def _conv_products(k: Kernels, f: Operation) -> None:
    """The second: a part of the output channels of one of the 36 products a task, so that no weight is read twice."""
    panels = f.div(f.div(f.co, k.shape.panel), f.parts)
    with f.each_task() as task:
        p, first = f.div(task, f.parts), f.mul(f.rem(task, f.parts), panels, k.shape.panel)
        a, to = f.at(f.values, f.mul(p, f.plane_in)), f.at(f.products, f.mul(p, f.plane_out), first)
        weights = f.at(f.weights, f.mul(p, f.c, f.co), f.mul(first, f.c))
        k.call(f, "product", a, f.c, weights, to, f.co, f.count, f.c, panels, 0)


def _conv_out(k: Kernels, f: Operation) -> None:
    """The third: a row of tiles a task."""
    tiles = _tiles(f, f.w)
    with f.each_task() as task:
        row, sums = f.at(f.products, f.mul(task, tiles, f.co)), f.no_statistics(task, f.co)
        _gather(k, f, row, f.plane, tiles, f.mul(task, M), f.number(0), sums, f.own)


def _linear(k: Kernels, f: Operation) -> None:
    """A 1x1 convolution of two sources: to = image1 @ weights1 + image2 @ weights2 [+ rest + bias if `more`]."""
    panels = f.div(f.co, k.shape.panel)
    with f.each_block() as (start, count):
        to, rest = f.at(f.to, f.mul(start, f.co)), f.at(f.rest, f.mul(start, f.co))
        with f.builder.if_then(f.equal(f.more, 1)), f.each_value(0, count, f.co) as (place, c):
            f.store(f.plus(f.load(rest, place), f.load(f.bias, c)), to, place)
        a = f.at(f.image1, f.mul(start, f.c1))
        k.call(f, "product", a, f.c1, f.weights1, to, f.co, count, f.c1, panels, f.more)
        with f.builder.if_then(f.less(0, f.c2)):
            a = f.at(f.image2, f.mul(start, f.c2))
            k.call(f, "product", a, f.c2, f.weights2, to, f.co, count, f.c2, panels, 1)


def _down(k: Kernels, f: Operation) -> None:
    """A 3x3 convolution with stride 2, of an image (h, w, c): a row a task, a product for each tap."""
    width, columns, panels = f.add(f.w, 2), f.div(f.w, 2), f.div(f.co, k.shape.panel)
    with f.each_task() as task:
        y, to = f.add(f.mul(task, 2), -1), f.at(f.to, f.mul(task, columns, f.co))
        k.call(f, "strip", f.own, width, f.c, f.image, f.h, f.w, f.c, 0, y, -1, 3, width, f.bias, f.bias, 0)
        with f.each_value(0, columns, f.co) as (place, c):
            f.store(f.load(f.bias, c), to, place)
        for tap in range(9):
            a = f.at(f.own, f.mul(f.add(f.mul(width, tap // 3), tap % 3), f.c))
            weights = f.at(f.weights, f.mul(f.c, f.co, tap))
            k.call(f, "product", a, f.mul(f.c, 2), weights, to, f.co, columns, f.c, panels, 1)


def _sums(k: Kernels, f: Operation) -> None:
    """The statistics of an image's channels, by blocks of pixels."""
    with f.each_task() as task:
        sums, start = f.no_statistics(task, f.c), f.mul(task, f.block)
        with f.each_value(start, f.smaller(f.add(start, f.block), f.pixels), f.c) as (place, c):
            value = f.load(f.image, place)
            add_statistics(f, [value], sums, f.c, c)


def _norm(k: Kernels, f: Operation) -> None:
    """Group normalisation as a x + b by channel, from two sources' sums, in float64: a group a task."""
    b, each, sums = f.builder, f.div(f.add(f.c1, f.c2), f.groups), [f.variable(F64), f.variable(F64)]
    number = b.sitofp(f.mul(each, f.pixels), F64)
    with f.each_task() as group:
        for variable in sums:
            b.store(ir.Constant(F64, 0), variable)
        first = f.mul(group, each)
        with f.loop(first, f.add(first, each)) as i:
            inside = f.less(i, f.c1)
            source = b.select(inside, f.at(f.sums1, i), f.at(f.sums2, f.sub(i, f.c1)))
            count, channels = b.select(inside, f.count1, f.count2), b.select(inside, f.c1, f.c2)
            with f.loop(0, count) as block:
                rows = [f.mul(f.add(f.mul(block, STATISTICS), row), channels) for row in range(STATISTICS)]
                for variable, value in zip(sums, _powers(f, *(f.one(source, row) for row in rows)), strict=True):
                    b.store(b.fadd(b.load(variable, typ=F64), value), variable)
        _slopes(f, first, each, *(b.fdiv(b.load(variable, typ=F64), number) for variable in sums))


def _powers(f: Function, *statistics: Any) -> tuple[Any, Any]:
    """The sums of a block's values and of their squares, in float64, from its pivot p and the sums off it."""
    b = f.builder
    p, off, squares, number = (b.fpext(value, F64) for value in statistics)
    whole = b.fmul(number, p)
    twice = b.fmul(ir.Constant(F64, 2), b.fmul(p, off))
    return b.fadd(whole, off), b.fadd(squares, b.fadd(twice, b.fmul(whole, p)))


def _slopes(f: Function, first: Any, count: Any, mean: Any, square: Any) -> None:
    b, zero = f.builder, ir.Constant(F64, 0)
    variance = b.fsub(square, b.fmul(mean, mean))
    variance = b.select(b.fcmp_ordered("<", variance, zero), zero, variance)  # rounding; a NaN stays one
    variance = b.select(b.fcmp_ordered("<", variance, ir.Constant(F64, inf)), variance, ir.Constant(F64, nan))
    root = f.intrinsic("llvm.sqrt", b.fadd(variance, ir.Constant(F64, GROUP_NORM_EPSILON)))
    with f.loop(first, f.add(first, count)) as i:
        gamma, beta = (b.fpext(f.one(pointer, i), F64) for pointer in (f.gamma, f.beta))
        slope = b.fdiv(gamma, root)
        f.put(b.fptrunc(slope, F32), f.a, i)
        f.put(b.fptrunc(b.fsub(beta, b.fmul(mean, slope)), F32), f.b, i)


def _affine(k: Kernels, f: Operation) -> None:
    """to = a image + b by channel."""
    with f.each_block() as (start, count), f.each_value(start, f.add(start, count), f.c) as (place, c):
        f.store(f.fma(f.load(f.a, c), f.load(f.image, place), f.load(f.b, c)), f.to, place)


def _pack(k: Kernels, f: Operation) -> None:
    """Keys and values, the second and third c columns of qkv, as packed panels: keys by pixel, values by channel.

    A task is a panel of pixels; `tokens` are the pixels in whole panels, zeros beyond the last.
    """
    b, panel, zero = f.builder, k.shape.panel, ir.Constant(F32, 0)
    with f.each_task() as task, f.loop(0, panel) as i:
        token = f.add(f.mul(task, panel), i)
        inside = f.less(token, f.pixels)
        row = f.mul(b.select(inside, token, f.number(0)), f.pitch)
        with f.loop(0, f.c) as d:
            key = b.select(inside, f.one(f.qkv, row, f.c, d), zero)
            f.put(key, f.keys, f.mul(f.add(f.mul(task, f.c), d), panel), i)
            value = b.select(inside, f.one(f.qkv, row, f.mul(f.c, 2), d), zero)
            f.put(value, f.values, f.mul(f.add(f.mul(f.div(d, panel), f.tokens), token), panel), f.rem(d, panel))


def _attend(k: Kernels, f: Operation) -> None:
    """softmax(q k^T) v for a block of pixels, whose scores stay in a core's own cache."""
    panel = k.shape.panel
    with f.each_block() as (start, count):
        q, to = f.at(f.qkv, f.mul(start, f.pitch)), f.at(f.to, f.mul(start, f.c))
        k.call(f, "product", q, f.pitch, f.keys, f.own, f.tokens, count, f.c, f.div(f.tokens, panel), 0)
        with f.loop(0, count) as i:
            _softmax(f, f.at(f.own, f.mul(i, f.tokens)))
        k.call(f, "product", f.own, f.tokens, f.values, to, f.c, count, f.tokens, f.div(f.c, panel), 0)


def _mix(k: Kernels, f: Operation) -> None:
    """A 1x1 convolution of few channels as planes (c, pixels) -> (co, pixels): vectors run along the pixels."""
    with f.each_block() as (start, count), f.loop(0, f.co) as o, f.loop(start, f.add(start, count), f.width) as i:
        total = f.variable()
        f.builder.store(f.constant(0), total)
        with f.loop(0, f.c) as c:
            weight = f.spread(f.one(f.weights, f.mul(o, f.c), c))
            value = f.load(f.planes, f.mul(c, f.pixels), i)
            f.builder.store(f.fma(weight, value, f.builder.load(total, typ=f.vector)), total)
        f.store(f.builder.load(total, typ=f.vector), f.to, f.mul(o, f.pixels), i)


def _softmax(f: Function, row: Any) -> None:
    """In place over the pixels; what fills the last panel becomes zero. Sums go by `LANES`, as wide as any vector."""
    b, totals = f.builder, [f.variable() for _ in range(LANES // f.width)]
    most = f.variable()
    with f.loop(f.pixels, f.tokens) as j:
        f.put(ir.Constant(F32, LOW), row, j)
    b.store(f.constant(LOW), most)
    with f.loop(0, f.tokens, f.width) as j:
        b.store(f.intrinsic("llvm.maxnum", f.load(row, j), b.load(most, typ=f.vector)), most)
    largest = f.spread(_folded(f, lambda x, y: b.select(b.fcmp_ordered(">", x, y), x, y), [most]))
    for total in totals:
        b.store(f.constant(0), total)
    with f.loop(0, f.tokens, LANES) as j:
        for i, total in enumerate(totals):
            value = f.exp(f.minus(f.load(row, j, i * f.width), largest))
            f.store(value, row, j, i * f.width)
            b.store(f.plus(b.load(total, typ=f.vector), value), total)
    with f.loop(f.pixels, f.tokens) as j:
        f.put(ir.Constant(F32, 0), row, j)
    inverse = f.spread(b.fdiv(ir.Constant(F32, 1), _folded(f, b.fadd, totals)))
    with f.loop(0, f.tokens, f.width) as j:
        f.store(f.times(f.load(row, j), inverse), row, j)


def _folded(f: Function, combine: Callable[[Any, Any], Any], variables: list[Any]) -> Any:
    """All lanes of vectors combined in their order into one float."""
    vectors = [f.builder.load(variable, typ=f.vector) for variable in variables]
    lanes = [f.lane(vector, i) for vector in vectors for i in range(f.width)]
    return reduce(combine, lanes)
