"""Group normalisation: statistics of an image, and from them a slope and an offset for each channel."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, nan
from typing import Generic

from llvmlite import ir

from tfs_rt.backends.winograd.arguments import NumberT, PointerT
from tfs_rt.backends.winograd.blocks.statistics import STATISTICS, add_statistics
from tfs_rt.backends.winograd.emit import F32, F64, Float, Function, Int, Number, Pointer
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.operations.operation import Emitters, Operation

GROUP_NORM_EPSILON = 1e-5  # PyTorch's, and SR3's


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics(Generic[PointerT, NumberT]):
    """The statistics of an image's channels, by blocks of pixels: a task is a block."""

    image: PointerT
    c: NumberT
    pixels: NumberT
    block: NumberT
    sums: PointerT


@dataclass(frozen=True, slots=True, kw_only=True)
class Norm(Generic[PointerT, NumberT]):
    """Group normalisation as slope x + offset by channel, from two images' statistics. A task is a group.

    Everything is computed in float64. Of the second image, c2 may be 0.
    """

    sums1: PointerT
    count1: NumberT  # blocks
    c1: NumberT
    sums2: PointerT
    count2: NumberT
    c2: NumberT
    groups: NumberT
    pixels: NumberT
    gamma: PointerT
    beta: PointerT
    slope: PointerT
    offset: PointerT


@dataclass(frozen=True, slots=True, kw_only=True)
class Affine(Generic[PointerT, NumberT]):
    """to = slope image + offset by channel."""

    image: PointerT
    c: NumberT
    slope: PointerT
    offset: PointerT
    to: PointerT
    pixels: NumberT
    block: NumberT  # pixels of a task


def _statistics(kernels: KernelModule, code: Operation, args: Statistics[Pointer, Int]) -> None:
    with code.each_task() as task:
        sums = code.reset_statistics(args.sums, task, args.c)
        start = code.mul(task, args.block)
        stop = code.minimum(code.add(start, args.block), args.pixels)
        with code.each_vector(start, stop, args.c) as (place, c):
            add_statistics(code, [code.load(args.image, place)], sums, args.c, c)


def _norm(kernels: KernelModule, code: Operation, args: Norm[Pointer, Int]) -> None:
    builder = code.builder
    channels_of_group = code.div(code.add(args.c1, args.c2), args.groups)
    totals = [code.variable(F64), code.variable(F64)]  # of the values, and of their squares
    number = builder.sitofp(code.mul(channels_of_group, args.pixels), F64)
    with code.each_task() as group:
        # Begin a group with sums of zero.
        for total in totals:
            code.builder.store(ir.Constant(F64, 0), total)
        first = code.mul(group, channels_of_group)

        # Add the sums of all blocks of each channel, which belongs to one of the two images.
        with code.loop(first, code.add(first, channels_of_group)) as i:
            in_first = code.less(i, args.c1)
            of_first = code.at(args.sums1, i)
            of_second = code.at(args.sums2, code.sub(i, args.c1))
            source = builder.select(in_first, of_first, of_second)
            count = builder.select(in_first, args.count1, args.count2)
            channels = builder.select(in_first, args.c1, args.c2)
            with code.loop(0, count) as block:
                rows = [code.mul(code.add(code.mul(block, STATISTICS), row), channels) for row in range(STATISTICS)]
                statistics = [code.load_element(source, row) for row in rows]
                for total, value in zip(totals, _moments(code, *statistics), strict=True):
                    builder.store(builder.fadd(builder.load(total, typ=F64), value), total)

        # Compute the slopes and offsets from the means.
        mean, square = (builder.fdiv(builder.load(total, typ=F64), number) for total in totals)
        _write_slopes(code, args, first, channels_of_group, mean, square)


def _moments(code: Function, pivot: Float, sum_: Float, squares: Float, number: Float) -> tuple[Float, Float]:
    """The sums of a block's values and of their squares, in float64.

    The statistics hold a pivot p and the sums of d = v - p and of d^2: sum v = n p + sum d, and
    sum v^2 = sum d^2 + 2 p sum d + n p^2.
    """
    builder = code.builder
    p, d, d_squared, n = (builder.fpext(value, F64) for value in (pivot, sum_, squares, number))
    n_p = builder.fmul(n, p)
    twice = builder.fmul(ir.Constant(F64, 2), builder.fmul(p, d))
    values = builder.fadd(n_p, d)
    return values, builder.fadd(d_squared, builder.fadd(twice, builder.fmul(n_p, p)))


def _write_slopes(
    code: Function, args: Norm[Pointer, Int], first: Number, count: Number, mean: Float, square: Float
) -> None:
    """The slopes and offsets of `count` channels from `first`, from the means of values and of squares."""
    builder = code.builder
    zero = ir.Constant(F64, 0)
    variance = builder.fsub(square, builder.fmul(mean, mean))

    # By rounding the variance may be below 0. A NaN stays a NaN, and an infinity becomes one.
    variance = builder.select(builder.fcmp_ordered("<", variance, zero), zero, variance)
    finite = builder.fcmp_ordered("<", variance, ir.Constant(F64, inf))
    variance = builder.select(finite, variance, ir.Constant(F64, nan))

    root = code.intrinsic("llvm.sqrt", builder.fadd(variance, ir.Constant(F64, GROUP_NORM_EPSILON)))
    with code.loop(first, code.add(first, count)) as i:
        gamma = builder.fpext(code.load_element(args.gamma, i), F64)
        beta = builder.fpext(code.load_element(args.beta, i), F64)
        slope = builder.fdiv(gamma, root)
        code.store_element(builder.fptrunc(slope, F32), args.slope, i)
        offset = builder.fsub(beta, builder.fmul(mean, slope))
        code.store_element(builder.fptrunc(offset, F32), args.offset, i)


def _affine(kernels: KernelModule, code: Operation, args: Affine[Pointer, Int]) -> None:
    with (
        code.each_block(args.block, args.pixels) as (start, count),
        code.each_vector(start, code.add(start, count), args.c) as (place, c),
    ):
        value = code.fma(code.load(args.slope, c), code.load(args.image, place), code.load(args.offset, c))
        code.store(value, args.to, place)


EMITTERS: Emitters = {Statistics: _statistics, Norm: _norm, Affine: _affine}
