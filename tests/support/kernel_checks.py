"""Checks of the CUDA kernels against NumPy and Pillow, for any way to launch them: on the CPU, and on a GPU.

A test module collects them with a subclass of `KernelChecks`, and brings the fixture `launch`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from support.helpers import FEW, model_spec
from tfs_rt.backends.gpu.resampling import tables
from tfs_rt.images import from_model, to_model
from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.loop import warm_start
from tfs_rt.sampling.noise import gaussian, noise_key
from tfs_rt.sampling.tables import StepRow, step_table

Launch = Callable[..., None]  # (kernel's name, threads, arguments): NumPy arrays are written in place
GUARD = np.full(64, 0xA5, dtype=np.uint8)
UNTOUCHED = np.float32(7.5)  # fills memory that a kernel must leave alone
# known answers of Random123, for a counter and a key of zeros, and of ones
PHILOX_OF_ZEROS = [0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B]
PHILOX_OF_ONES = [0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0]


class Guarded:
    """A copy of an array between guard bytes."""

    def __init__(self, array: NDArray[Any]) -> None:
        self.memory = np.concatenate([GUARD, array.ravel().view(np.uint8), GUARD])
        self.array = self.memory[len(GUARD) : -len(GUARD)].view(array.dtype).reshape(array.shape)

    def intact(self) -> bool:
        return bool((self.memory[: len(GUARD)] == GUARD).all() and (self.memory[-len(GUARD) :] == GUARD).all())


def ints(*values: int) -> list[np.int32]:
    return list(map(np.int32, values))


def words(*keys: int) -> NDArray[np.uint64]:
    return np.array([half for key in keys for half in (key & (2**64 - 1), key >> 64)], dtype=np.uint64)


# Along x, then y: Pillow 13 turns that round where the height loses over twice what the width does (its pull 9549).
SIZES = [
    ((64, 64), (256, 256)),
    ((64, 48), (128, 192)),
    ((33, 47), (132, 188)),
    ((7, 9), (8, 8)),
    ((255, 254), (256, 255)),
    ((31, 13), (33, 12)),
    ((100, 77), (31, 13)),
    ((256, 256), (64, 64)),
    ((3, 200), (90, 3)),
    ((16, 16), (16, 64)),
    ((16, 16), (64, 16)),
    ((21, 20), (21, 20)),
    ((1, 1), (4, 4)),
    ((1, 7), (5, 1)),
    ((128, 1), (1, 128)),
    ((1, 1), (1, 1)),
]


def finish(launch: Launch, x: NDArray[np.float32], size: tuple[int, int]) -> tuple[NDArray[np.uint8], bool]:
    image, bad = np.zeros((len(x), *size, 3), np.uint8), np.zeros(1, np.int32)
    batch, channels, *padded = x.shape
    launch("tfs_finish", batch * padded[0] * padded[1], x, image, bad, *ints(batch, channels, *size, *padded))
    return image, bool(bad[0])


class KernelChecks:
    """Each kernel's arithmetic and indices."""

    @pytest.mark.parametrize(("size", "target"), SIZES)
    def test_two_passes_are_pillows_bicubic(
        self, launch: Launch, rng: Generator, size: tuple[int, int], target: tuple[int, int]
    ) -> None:
        (h, w), (height, width) = size, target
        source = np.stack([rng.integers(0, 256, (h, w, 3)), 255 * rng.integers(0, 2, (h, w, 3))]).astype(np.uint8)
        across, ours = np.zeros((2, h, width, 3), np.uint8), np.zeros((2, height, width, 3), np.uint8)
        first, taps, weights = tables(w, width)
        sizes = ints(weights.shape[1], 2 * h, w, width, 3)
        launch("tfs_resample", across.size, source, across, first, taps, weights, *sizes)
        first, taps, weights = tables(h, height)
        sizes = ints(weights.shape[1], 2, h, height, width * 3)
        launch("tfs_resample", ours.size, across, ours, first, taps, weights, *sizes)
        for image, result in zip(source, ours, strict=True):
            expected = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(result, np.asarray(expected))

    @pytest.mark.parametrize(
        ("size", "padded"),
        [
            ((16, 24), (16, 24)),
            ((13, 17), (16, 24)),
            ((9, 30), (16, 32)),
            ((2, 3), (16, 16)),
            ((5, 2), (64, 64)),
            ((1, 1), (8, 8)),
            ((1, 6), (16, 16)),
            ((6, 1), (6, 16)),
            ((31, 33), (32, 64)),
        ],
    )
    @pytest.mark.parametrize(("slots", "channels"), [(3, 12), (1, 6)])
    def test_pixels_become_the_padded_condition(
        self, launch: Launch, rng: Generator, size: tuple[int, int], padded: tuple[int, int], slots: int, channels: int
    ) -> None:
        images = rng.integers(0, 256, (2, slots, *size, 3)).astype(np.uint8)
        x = np.full((2, channels, *padded), UNTOUCHED)
        launch("tfs_normalise", 2 * slots * padded[0] * padded[1], images, x, *ints(2, slots, channels, *size, *padded))
        pad = ((0, 0), *((0, after - before) for before, after in zip(size, padded, strict=True)))
        for case, result in zip(images, x, strict=True):
            expected = np.pad(np.concatenate([to_model(image) for image in case]), pad, mode="reflect")
            np.testing.assert_array_equal(result[: 3 * slots], expected)
            assert (result[3 * slots :] == UNTOUCHED).all()

    @pytest.mark.parametrize(("word", "expected"), [(0, PHILOX_OF_ZEROS), (2**64 - 1, PHILOX_OF_ONES)])
    def test_philox_meets_random123s_known_answers(self, launch: Launch, word: int, expected: list[int]) -> None:
        block = np.zeros(4, np.uint64)
        launch("test_philox", 1, np.full(4, word, np.uint64), np.full(2, word, np.uint64), block)
        assert block.tolist() == expected

    @pytest.mark.parametrize("draw", [0, 1, 4000])
    @pytest.mark.parametrize(("case", "count"), [("a", 3 * 256 * 256), ("b", 3 * 81 * 77), ("c", 5)])
    def test_noise_is_that_of_the_cpu(self, launch: Launch, case: str, draw: int, count: int) -> None:
        key, blocks = noise_key(7, case), -(-count // 8)
        z = np.zeros(8 * blocks, np.float32)
        launch("test_gaussian", blocks, words(key), np.int32(draw), z, np.int32(blocks))
        expected = gaussian(key, draw, (count,))
        # Both are float64, rounded once to float32. They differ only beside a tie of that rounding: one number in some
        # ten million.
        np.testing.assert_array_max_ulp(z[:count], expected, maxulp=1)
        assert np.mean(z[:count] == expected) >= 0.999

    @pytest.mark.parametrize("start", [(0.05, 0.9987), (0.0, 1.0), (0.7, 0.0)])
    @pytest.mark.parametrize(("channels", "size"), [(12, (16, 24)), (12, (5, 7)), (6, (3, 1))])
    def test_a_chain_starts_where_the_sampler_starts_it(
        self, launch: Launch, rng: Generator, start: tuple[float, float], channels: int, size: tuple[int, int]
    ) -> None:
        keys = [noise_key(1, "a"), noise_key(1, "b")]
        x = rng.uniform(-1, 1, (2, channels, *size)).astype(np.float32)
        condition = x[:, :-3].copy()
        blocks = -(-3 * size[0] * size[1] // 8)
        launch("tfs_start", 2 * blocks, x, words(*keys), np.array(start, np.float32), *ints(2, channels, *size))
        z = np.stack([gaussian(key, 0, (3, *size)) for key in keys])
        # luma is a float32 sum of three, in an order of einsum's own: some units in the last place of 1
        np.testing.assert_allclose(x[:, -3:], start[0] * warm_start(condition) + start[1] * z, atol=1e-6, rtol=0)
        np.testing.assert_array_equal(x[:, :-3], condition)

    def test_a_chain_without_noise_reads_no_key(self, launch: Launch) -> None:
        x, keys = np.zeros((1, 6, 2, 2), np.float32), np.zeros(0, np.uint64)
        launch("tfs_start", 2, x, keys, np.array([1, 0], np.float32), *ints(1, 6, 2, 2))
        assert not x.any()

    def test_select_takes_the_steps_row_and_advance_goes_on(self, launch: Launch, rng: Generator) -> None:
        table, row = rng.standard_normal((5, 301)).astype(np.float32), np.zeros(301, np.float32)
        step = np.zeros(1, np.int32)
        for expected in table:
            launch("tfs_select", 301, table, step, row, np.int32(301))
            np.testing.assert_array_equal(row, expected)
            launch("tfs_advance", 1, step)
        assert step == 5

    @pytest.mark.parametrize("size", [(16, 24), (5, 7)])
    @pytest.mark.parametrize(("sampler", "tolerance"), [("ddim", 0.0), ("dpmpp-2m", 0.0), ("ddpm", 1e-6)])
    def test_update_is_the_engines_reverse_step(
        self, launch: Launch, rng: Generator, sampler: str, tolerance: float, size: tuple[int, int]
    ) -> None:
        """To the bit, but for noise that may be one unit off in the last place."""
        table = step_table(model_spec(), dataclasses.replace(FEW, sampler=sampler, steps=5))
        rows = np.pad(table.rows, ((0, 0), (0, 1)), constant_values=np.nan).astype(np.float32)
        keys = [noise_key(2, "a"), noise_key(2, "b")]
        x, blocks = 3 * rng.standard_normal((2, 12, *size), dtype=np.float32), -(-3 * size[0] * size[1] // 8)
        condition, x_0 = x[:, :-3].copy(), np.full((2, 3, *size), np.nan, np.float32)
        for i, row in enumerate(map(StepRow._make, table.rows.tolist())):
            prediction = rng.standard_normal((2, 3, *size), dtype=np.float32)
            z = np.stack([gaussian(key, i + 1, (3, *size)) for key in keys]) if row.c_z else None
            expected, clean = reverse_step(prediction, x[:, -3:].copy(), x_0.copy() if i else None, row, z)
            step = np.array([i], np.int32)
            launch("tfs_update", 2 * blocks, prediction, x, x_0, rows, step, words(*keys), *ints(2, 12, *size))
            np.testing.assert_allclose(x[:, -3:], expected, atol=tolerance, rtol=0)
            np.testing.assert_array_equal(x_0, clean)
            np.testing.assert_array_equal(x[:, :-3], condition)

    def test_what_the_network_breaks_stays_broken(self, launch: Launch) -> None:
        """A clip that turned NaN into -1 would hide it from `tfs_finish`."""
        x, x_0 = np.zeros((1, 12, 2, 2), np.float32), np.zeros((1, 3, 2, 2), np.float32)
        prediction = np.full_like(x_0, np.nan)
        rows, step = np.array([[1, 1, -1, 1, 0, 0, 0, 0]], np.float32), np.zeros(1, np.int32)
        launch("tfs_update", 2, prediction, x, x_0, rows, step, words(0), *ints(1, 12, 2, 2))
        assert np.isnan(x[:, -3:]).all()
        assert np.isnan(x_0).all()

    @pytest.mark.parametrize("size", [(32, 64), (29, 51), (1, 1)])
    def test_finish_gives_the_pixels_of_the_cpu(self, launch: Launch, rng: Generator, size: tuple[int, int]) -> None:
        x = np.full((2, 12, 32, 64), np.nan, np.float32)  # it must not look at the condition
        halves = np.arange(-4, 516) / np.float32(2)  # every level, every tie between two, and some beyond
        x[:, -3:] = rng.permutation(np.resize(halves, 2 * 3 * 32 * 64)).reshape(2, 3, 32, 64) / np.float32(127.5) - 1
        x[1, -3:] += rng.normal(0, 0.7, (3, 32, 64)).astype(np.float32)
        image, bad = finish(launch, x, size)
        assert not bad
        for case, result in zip(x, image, strict=True):
            np.testing.assert_array_equal(result, from_model(case[-3:, : size[0], : size[1]]))

    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("where", [(0, 9, 0, 0), (1, 11, 4, 6), (1, 10, 7, 7)])
    def test_finish_reports_one_bad_value_anywhere(self, launch: Launch, value: float, where: tuple[int, ...]) -> None:
        x = np.zeros((2, 12, 8, 8), np.float32)
        x[where] = value
        assert finish(launch, x, (5, 7))[1]
