"""Winograd's transforms: of an image's tiles into 36 planes of values, and of 36 planes of products into an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

from tfs_rt.backends.winograd import toom
from tfs_rt.backends.winograd.blocks.statistics import add_statistics
from tfs_rt.backends.winograd.emit import Function, Int, Number, Pointer, Vector
from tfs_rt.backends.winograd.kernels import KernelModule
from tfs_rt.backends.winograd.vector_math import matrix_product

M = toom.M
N = toom.N
Pixel: TypeAlias = tuple[int, int]  # of a tile: row and column


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTransform:
    """B^T d B of a row of tiles of a strip of 6 rows, into 36 planes that are `plane` floats apart."""

    strip: Pointer
    strip_width: Number
    c: Number
    tiles: Number
    to: Pointer
    plane: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputTransform:
    """A row of tiles into an image (h, w, c), from (y, x): A^T p A + bias, and + residual if `add_residual` is 1.

    Tiles over the image's edge take the way by `buffer`: M x M pixels, and statistics that nobody reads.
    """

    products: Pointer
    plane: Number
    c: Number
    tiles: Number
    y: Number
    x: Number
    h: Number
    w: Number
    bias: Pointer
    residual: Pointer
    add_residual: Number
    image: Pointer
    sums: Pointer
    buffer: Pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One whole tile of that, into an image of `to_width` columns."""

    products: Pointer
    plane: Number
    c: Number
    bias: Pointer
    residual: Pointer
    add_residual: Number
    to: Pointer
    to_width: Number
    sums: Pointer


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """`rows` x `columns` pixels of a tile in a buffer, into an image: the residual is added here."""

    buffer: Pointer
    c: Number
    rows: Number
    columns: Number
    residual: Pointer
    add_residual: Number
    to: Pointer
    to_width: Number
    sums: Pointer


def add_transforms(kernels: KernelModule) -> None:
    """Add the blocks InputTransform and OutputTransform, and those that the second calls."""
    kernels.add_block(InputTransform, _input_transform)
    kernels.add_block(Tile, _tile)
    kernels.add_block(Patch, _patch)
    kernels.add_block(OutputTransform, _output_transform)


def _input_transform(kernels: KernelModule, code: Function, args: InputTransform) -> None:
    matrix = toom.inputs()
    with code.loop(0, args.tiles) as tile, code.loop(0, args.c, code.width) as c:
        corner = code.at(args.strip, code.mul(tile, M, args.c), c)
        pitch = code.mul(args.strip_width, args.c)

        # Compute B^T d, column by column.
        columns = []
        for j in range(N):
            column = [code.load(corner, code.mul(pitch, i), code.mul(args.c, j)) for i in range(N)]
            columns.append(matrix_product(code, matrix, column))

        # Multiply by B, row by row.
        cell = code.at(args.to, code.mul(tile, args.c), c)
        for i in range(N):
            for j, value in enumerate(matrix_product(code, matrix, [column[i] for column in columns])):
                code.store(value, cell, code.mul(args.plane, i * N + j))


def _tile(kernels: KernelModule, code: Function, args: Tile) -> None:
    matrix = toom.outputs()
    pitch = code.mul(args.to_width, args.c)
    with code.loop(0, args.c, code.width) as c:
        # Compute A^T p A.
        columns = []
        for j in range(N):
            column = [code.load(args.products, code.mul(args.plane, i * N + j), c) for i in range(N)]
            columns.append(matrix_product(code, matrix, column))
        rows = [matrix_product(code, matrix, [column[i] for column in columns]) for i in range(M)]

        # Add the bias, and the residual if there is one, and store the pixels.
        bias = code.load(args.bias, c)
        values = {(i, j): code.plus(rows[i][j], bias) for i, j in product(range(M), repeat=2)}
        places = {(i, j): code.add(code.mul(pitch, i), code.mul(args.c, j), c) for i, j in values}
        with code.builder.if_else(code.equal(args.add_residual, 1)) as (with_residual, without):
            with with_residual:
                summed = {at: code.plus(value, code.load(args.residual, places[at])) for at, value in values.items()}
                _store_tile(code, args, summed, places, c)
            with without:
                _store_tile(code, args, values, places, c)


def _store_tile(
    code: Function, args: Tile, values: Mapping[Pixel, Vector], places: Mapping[Pixel, Int], c: Number
) -> None:
    """Write a tile's pixels, and add them to the statistics."""
    for at, value in values.items():
        code.store(value, args.to, places[at])
    add_statistics(code, list(values.values()), args.sums, args.c, c)


def _patch(kernels: KernelModule, code: Function, args: Patch) -> None:
    total = code.variable()
    with code.loop(0, args.rows) as i, code.loop(0, args.columns) as j, code.loop(0, args.c, code.width) as c:
        place = code.add(code.mul(code.add(code.mul(i, args.to_width), j), args.c), c)
        code.put(code.load(args.buffer, code.mul(code.add(code.mul(i, M), j), args.c), c), total)
        with code.builder.if_then(code.equal(args.add_residual, 1)):
            code.put(code.plus(code.get(total), code.load(args.residual, place)), total)
        value = code.get(total)
        code.store(value, args.to, place)
        add_statistics(code, [value], args.sums, args.c, c)


def _output_transform(kernels: KernelModule, code: Function, args: OutputTransform) -> None:
    rows = code.minimum(code.sub(args.h, args.y), M)
    # Go through the tiles, of which the last may be cut off by the image's border.
    with code.loop(0, args.tiles) as tile:
        x = code.add(args.x, code.mul(tile, M))
        columns = code.minimum(code.sub(args.w, x), M)
        place = code.mul(code.add(code.mul(args.y, args.w), x), args.c)
        # Find the tile's products, its place in the image and its residual.
        products = code.at(args.products, code.mul(tile, args.c))
        to = code.at(args.image, place)
        residual = code.at(args.residual, place)
        tile_arguments = Tile(
            products=products,
            plane=args.plane,
            c=args.c,
            bias=args.bias,
            residual=residual,
            add_residual=args.add_residual,
            to=to,
            to_width=args.w,
            sums=args.sums,
        )
        # Write a whole tile at once.
        with code.builder.if_else(code.equal(code.add(rows, columns), 2 * M)) as (whole, part):
            with whole:
                kernels.call(code, tile_arguments)
            # Write a part of a tile into a buffer, and copy the pixels inside the image from there.
            with part:
                unread = code.at(args.buffer, code.mul(args.c, M * M))
                buffered = replace(tile_arguments, add_residual=0, to=args.buffer, to_width=M, sums=unread)
                kernels.call(code, buffered)
                patch = Patch(
                    buffer=args.buffer,
                    c=args.c,
                    rows=rows,
                    columns=columns,
                    residual=residual,
                    add_residual=args.add_residual,
                    to=to,
                    to_width=args.w,
                    sums=args.sums,
                )
                kernels.call(code, patch)
