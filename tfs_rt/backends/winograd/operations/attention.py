"""Self-attention of one head over all pixels: keys and values in panels, then softmax(q k^T) v by blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from typing import Any, Generic

from llvmlite import ir

from tfs_rt.backends.winograd.arguments import NumberT, PointerT
from tfs_rt.backends.winograd.blocks.matrix_product import Product
from tfs_rt.backends.winograd.emit import F32, Float, Function, Int, Number, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.operations.operation import Emitters, Operation
from tfs_rt.backends.winograd.vector_math import exp

# Lanes of the sums of a softmax: as many as the widest vector has, so that all processors give the same bits.
LANES = 16
LOWEST = -3e38  # less than any score


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack(Generic[PointerT, NumberT]):
    """Keys and values, the second and third c columns of qkv, as packed panels: keys by pixel, values by channel.

    A task is a panel of pixels. `tokens` are the pixels in whole panels; those beyond the last pixel are zeros.
    """

    qkv: PointerT  # (pixels, pitch), of which 3c columns are used
    pitch: NumberT  # floats from a row of qkv to the next
    c: NumberT  # channels of each of q, k and v
    pixels: NumberT
    tokens: NumberT  # pixels, rounded up to whole panels
    keys: PointerT
    values: PointerT


@dataclass(frozen=True, slots=True, kw_only=True)
class Attend(Generic[PointerT, NumberT]):
    """softmax(q k^T) v. A task is a block of pixels, whose scores stay in a core's own cache."""

    qkv: PointerT  # (pixels, pitch), of which 3c columns are used
    pitch: NumberT  # floats from a row of qkv to the next
    c: NumberT  # channels of each of q, k and v
    pixels: NumberT
    tokens: NumberT  # pixels, rounded up to whole panels
    keys: PointerT
    values: PointerT
    output: PointerT  # (pixels, c)
    block: NumberT  # pixels of a task


def _pack(kernels: KernelModule, code: Operation, args: Pack[Pointer, Int]) -> None:
    builder = code.builder
    panel = kernels.shape.panel
    zero = ir.Constant(F32, 0)
    with code.each_task() as task, code.loop(0, panel) as i:
        token = code.add(code.mul(task, panel), i)
        inside = code.less(token, args.pixels)
        row = code.mul(builder.select(inside, token, code.number(0)), args.pitch)
        with code.loop(0, args.c) as d:
            key = builder.select(inside, code.load_element(args.qkv, row, args.c, d), zero)
            code.store_element(key, args.keys, code.mul(code.add(code.mul(task, args.c), d), panel), i)
            value = builder.select(inside, code.load_element(args.qkv, row, code.mul(args.c, 2), d), zero)
            place = code.mul(code.add(code.mul(code.div(d, panel), args.tokens), token), panel)
            code.store_element(value, args.values, place, code.rem(d, panel))


def _attend(kernels: KernelModule, code: Operation, args: Attend[Pointer, Int]) -> None:
    scores_buffer = code.scratch()
    panel = kernels.shape.panel
    with code.each_block(args.block, args.pixels) as (start, count):
        # Find the task's queries and their results.
        queries = code.at(args.qkv, code.mul(start, args.pitch))
        output = code.at(args.output, code.mul(start, args.c))
        # Multiply the queries by all keys.
        scores = Product(
            a=queries,
            a_pitch=args.pitch,
            b=args.keys,
            c=scores_buffer,
            c_pitch=args.tokens,
            rows=count,
            depth=args.c,
            panels=code.div(args.tokens, panel),
            accumulate=0,
        )
        kernels.call(code, scores)
        # Turn each query's scores into weights.
        with code.loop(0, count) as i:
            _softmax(code, code.at(scores_buffer, code.mul(i, args.tokens)), args.pixels, args.tokens)
        # Multiply the weights by all values.
        averages = Product(
            a=scores_buffer,
            a_pitch=args.tokens,
            b=args.values,
            c=output,
            c_pitch=args.c,
            rows=count,
            depth=args.tokens,
            panels=code.div(args.c, panel),
            accumulate=0,
        )
        kernels.call(code, averages)


def _softmax(code: Function, row: Pointer, pixels: Number, tokens: Number) -> None:
    """The softmax of a row of `pixels` scores, in place; those up to `tokens` become zero."""
    builder = code.builder

    def larger(x: Any, y: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", x, y), x, y)

    totals = [code.variable() for _ in range(LANES // code.width)]
    largest_lanes = code.variable()

    # Find the largest score.
    with code.loop(pixels, tokens) as j:
        code.store_element(Float(ir.Constant(F32, LOWEST)), row, j)
    code.put(code.constant(LOWEST), largest_lanes)
    with code.loop(0, tokens, code.width) as j:
        code.put(code.intrinsic("llvm.maxnum", code.load(row, j), code.get(largest_lanes)), largest_lanes)
    largest = code.broadcast(_fold_lanes(code, larger, [largest_lanes]))

    # Compute e^(score - largest), and their sum.
    for total in totals:
        code.put(code.constant(0), total)
    with code.loop(0, tokens, LANES) as j:
        for i, total in enumerate(totals):
            value = exp(code, code.minus(code.load(row, j, i * code.width), largest))
            code.store(value, row, j, i * code.width)
            code.put(code.plus(code.get(total), value), total)

    # Divide by the sum.
    with code.loop(pixels, tokens) as j:
        code.store_element(Float(ir.Constant(F32, 0)), row, j)
    inverse = code.broadcast(builder.fdiv(ir.Constant(F32, 1), _fold_lanes(code, builder.fadd, totals)))
    with code.loop(0, tokens, code.width) as j:
        code.store(code.times(code.load(row, j), inverse), row, j)


def _fold_lanes(code: Function, combine: Callable[[Any, Any], Any], variables: list[Pointer]) -> Float:
    """All lanes of some vectors, combined in their order into one float."""
    vectors = [code.get(variable) for variable in variables]
    lanes = [code.lane(vector, i) for vector in vectors for i in range(code.width)]
    return reduce(combine, lanes)


EMITTERS: Emitters = {Pack: _pack, Attend: _attend}
