"""The network on the CPU: condition, x_t and noise level in, prediction out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from tfs_rt.backends.noise_biases import bias_rows
from tfs_rt.backends.winograd.kernels import RegisterTile
from tfs_rt.backends.winograd.layout import Layout, Tensor, ceil_div
from tfs_rt.backends.winograd.machine import machine
from tfs_rt.backends.winograd.operations.attention import LANES
from tfs_rt.backends.winograd.operations.linear import LinearOfPlanes
from tfs_rt.backends.winograd.packing import Packing
from tfs_rt.backends.winograd.program import Program
from tfs_rt.backends.winograd.thread_pool import ThreadPool
from tfs_rt.backends.winograd.unet import lay_out_unet
from tfs_rt.errors import EnvironmentFault
from tfs_rt.images import Array
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.sampling.schedule import Float64
from tfs_rt.spec import Architecture

NOISE = ".noise_func.0"  # ends the name of a block's linear layer on the noise level
SKIP_PIXELS = 1024  # of a task of the skip from the condition to the output
GATE = "SE_block.linear1.weight"
SKIP = "condition_skip.weight"
SIZES_KEPT = 2  # of images whose programs are kept, with their memory
LEVELS_KEPT = 64  # noise levels whose biases are kept


@dataclass(frozen=True, slots=True)
class SizedProgram:
    """A program for one size of image, and the images that it reads and writes."""

    program: Program
    table: NDArray[np.int64]
    source: Array  # (h, w, C), folded
    result: Array  # (h, w, C'), folded
    condition: Array  # (9, H, W), for the skip; empty if the network has none
    skip: Array  # (3, H, W), likewise


class Network:
    """An architecture's network from its weights; called with one image.

    Raises KeyError or ValueError, when it is called first, if the weights are not those of the architecture, and
    EnvironmentFault if this processor's kernels do not take its layers.
    """

    def __init__(self, arch: Architecture, weights: Weights, shape: RegisterTile, threads: int) -> None:
        self.arch = arch
        self.machine = machine(shape)
        self.width = self.machine.shape.width
        self.thread_pool = ThreadPool(self.machine, threads)
        self.packing = Packing(weights, self.machine.shape)
        self.lock = Lock()
        self.programs: dict[tuple[int, int], SizedProgram] = {}
        self.rows: dict[float, Array] = {}  # of noise biases, by noise level
        NETWORKS.add(self)

    def reset_after_fork(self) -> None:
        """In a forked child, drop what another thread of the parent may have been in the midst of.

        That thread is missing here: its lock would stay locked and its program half done. Packed weights are whole
        at any instant, and stay shared.
        """
        self.lock = Lock()
        self.programs = {}
        self.thread_pool.reset_after_fork()

    def __call__(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """(1, 9, H, W), (1, 3, H, W), (1, 1) -> (1, 3, H, W); one call at a time, whoever calls."""
        with self.lock:
            return self._predict(condition, x_t, noise_level)

    def _predict(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        h, w = x_t.shape[2:]
        program = self._program_for(h, w)

        # Write the inputs and the noise level's biases where the program reads them.
        self._fold_inputs(program.source, condition[0], x_t[0])
        if self.arch.condition_skip:
            program.condition[...] = condition[0]
        row = self._write_biases(float(noise_level[0, 0]))

        self.thread_pool.run(program.table, program)
        output = self._unfold(program.result, h, w)
        if self.arch.condition_skip:
            output += program.skip
        if self.arch.sigma_data:
            output = row[-2] * x_t[0] - row[-1] * output
        return output[None]

    def _program_for(self, h: int, w: int) -> SizedProgram:
        """The program for a size; of several sizes, the last ones are kept."""
        if (h, w) not in self.programs:
            for size in list(self.programs)[: 1 - SIZES_KEPT]:
                del self.programs[size]
            self.programs[h, w] = self._lay_out(h, w)
        return self.programs[h, w]

    def _lay_out(self, h: int, w: int) -> SizedProgram:
        self._check(h, w)
        fold = self.arch.patch_size
        layout = Layout(self.arch, self.machine, self.packing)

        # The input: its channels are filled up to whole vectors.
        folded = self.arch.in_channel * fold**2
        channels = self.packing.round_up(folded, self.width)
        data = layout.buffers.allocate_exclusive(h // fold, w // fold, channels)
        source = Tensor(data, layout.buffers.allocate(1, 2, channels), filled=channels - folded)

        result = lay_out_unet(layout, source)
        condition, skip = self._lay_out_skip(layout, h, w)
        table = layout.program.build(self.thread_pool.threads)
        return SizedProgram(layout.program, table, data, result.data, condition, skip)

    def _check(self, h: int, w: int) -> None:
        """ValueError for a size or for weights that the architecture does not have; EnvironmentFault for its widths."""
        stride = self.arch.stride
        if h % stride or w % stride:
            raise ValueError(f"{h}x{w} are not multiples of {stride}")
        for name, wanted in ((GATE, self.arch.gate != "none"), (SKIP, self.arch.condition_skip)):
            if (name in self.packing.weights) != wanted:
                raise ValueError(f"{name} is {'missing' if wanted else 'not expected'}")
        panel = self.machine.shape.panel
        widths = [self.arch.inner_channel * multiplier for multiplier in self.arch.channel_multiplier]
        if any(width % panel for width in (*widths, self.arch.inner_channel)):
            reason = f"it computes layers of a multiple of {panel} channels, and this model has others"
            raise EnvironmentFault("backend winograd", reason, "choose --backend ort-cpu")

    def _lay_out_skip(self, layout: Layout, h: int, w: int) -> tuple[Array, Array]:
        """The linear layer from the condition to the output: where to write the condition, and its result.

        NumPy's matrix product would not do: its library's threads would go on spinning on the program's cores.
        """
        channels = self.arch.condition_channels
        out = self.arch.out_channel
        if not self.arch.condition_skip:
            return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32)
        pixels = self.packing.round_up(h * w, LANES)
        planes = layout.buffers.allocate_exclusive(channels, pixels)
        skip = layout.buffers.allocate_exclusive(out, pixels)
        weights = self.packing.vector(SKIP, out, channels, 1, 1)
        operation = LinearOfPlanes(
            planes=planes, c=channels, weights=weights, co=out, to=skip, pixels=pixels, block=SKIP_PIXELS
        )
        layout.program.add(operation, ceil_div(pixels, SKIP_PIXELS))
        return planes[:, : h * w].reshape(channels, h, w), skip[:, : h * w].reshape(out, h, w)

    def _fold_inputs(self, source: Array, condition: Array, x_t: Array) -> None:
        """Gate, fold patches into channels, and put channels last, in `source`: (h, w, C)."""
        images = np.concatenate([condition, x_t])
        fold = self.arch.patch_size
        h, w = x_t.shape[1:]
        if self.arch.gate != "none":
            gated = images if self.arch.gate == "all" else images[: len(condition)]
            gated *= self._gate(gated)[:, None, None]
        patches = images.reshape(len(images), h // fold, fold, w // fold, fold)
        channels = source[..., : len(images) * fold**2].reshape(h // fold, w // fold, len(images), fold, fold)
        channels[...] = patches.transpose(1, 3, 0, 2, 4)  # `channels` is a view of the source

    def _gate(self, images: Array) -> Array:
        """TMFA: a factor for each channel (paper, section 2.2)."""
        x = images.mean(axis=(1, 2))
        for i, hidden in ((1, len(x) // 4), (2, len(x))):
            weight = self.packing.original(f"SE_block.linear{i}.weight", (hidden, len(x)))
            x = weight @ x + self.packing.original(f"SE_block.linear{i}.bias", (hidden,))
            x = np.maximum(x, 0) if i == 1 else 1 / (1 + np.exp(-x))
        return x

    def _unfold(self, result: Array, h: int, w: int) -> Array:
        fold = self.arch.patch_size
        out = self.arch.out_channel
        patches = result[..., : out * fold**2].reshape(h // fold, w // fold, out, fold, fold)
        unfolded = patches.transpose(2, 0, 3, 1, 4).reshape(out, h, w)
        return np.array(unfolded, order="C")  # a copy in any case: the next call writes into the result

    def _write_biases(self, level: float) -> Array:
        """Write every convolution's bias for a noise level; returns the row of all noise biases."""
        noise = self._noise_modules()
        row = self._row(level, [name.removesuffix(NOISE) for name in noise])
        widths = [len(self.packing.weights[f"{name}.bias"]) for name in noise]
        own = dict(zip(noise, np.split(row[: sum(widths)], np.cumsum(widths)[:-1]), strict=True))
        for array, modules in self.packing.biases.values():
            parts = [own[name] if name in own else self.packing.weights[f"{name}.bias"] for name in modules]
            array[: len(parts[0])] = sum(part.astype(np.float32) for part in parts)
        return row

    def _noise_modules(self) -> Sequence[str]:
        return [m for _, modules in self.packing.biases.values() for m in modules if m.endswith(NOISE)]

    def _row(self, level: float, modules: Sequence[str]) -> Array:
        if level not in self.rows:
            if len(self.rows) >= LEVELS_KEPT:
                self.rows.clear()
            levels: Float64 = np.array([level], dtype=np.float64)
            self.rows[level] = bias_rows(self.arch, self.packing.weights, modules, levels)[0]
        return self.rows[level]


def _reset_after_fork() -> None:
    for network in NETWORKS:
        network.reset_after_fork()


NETWORKS: WeakSet[Network] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
