"""A network on the CPU: condition, x_t and noise level in, prediction out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from tfs_rt.backends.noise_biases import bias_rows
from tfs_rt.backends.winograd.kernels import Shape
from tfs_rt.backends.winograd.layout import Layout, Tensor, given, lay_out
from tfs_rt.backends.winograd.machine import machine
from tfs_rt.backends.winograd.operations import LANES
from tfs_rt.backends.winograd.packing import Packing
from tfs_rt.backends.winograd.program import Crew, Program
from tfs_rt.errors import EnvironmentFault
from tfs_rt.images import Array
from tfs_rt.models.onnx.weights import Weights
from tfs_rt.sampling.schedule import Float64
from tfs_rt.spec import Architecture

NOISE = ".noise_func.0"  # ends the name of a block's linear layer on the noise level
BLOCK = 1024  # pixels of a task of the skip
GATE, SKIP = "SE_block.linear1.weight", "condition_skip.weight"
SIZES = 2  # of images whose programs, with their memory, are kept
ROWS = 64  # noise levels whose biases are kept


@dataclass(frozen=True, slots=True)
class Laid:
    """A program for one size of image, and the images it reads and writes."""

    program: Program
    table: NDArray[np.int64]
    source: Array  # (h, w, C), folded
    result: Array  # (h, w, C'), folded
    condition: Array  # (9, H, W), for the skip; nothing without one, and so ...
    skip: Array  # (3, H, W)


class Network:
    """An architecture's network from its weights; called with one image.

    Raises KeyError or ValueError, when it is called first, if the weights are not those of the architecture, and
    EnvironmentFault if this processor's kernels do not take its layers.
    """

    def __init__(self, arch: Architecture, weights: Weights, shape: Shape, threads: int) -> None:
        self.arch, self.machine = arch, machine(shape)
        self.width = self.machine.shape.width
        self.crew, self.packing = Crew(self.machine, threads), Packing(weights, self.machine.shape)
        self.lock = Lock()
        self.laid: dict[tuple[int, int], Laid] = {}
        self.rows: dict[float, Array] = {}
        NETWORKS.add(self)

    def renew(self) -> None:
        """Begin anew after a fork, in the child: another thread, which is not there, may have been in a call.

        Its lock would stay locked and its program half done. What is packed is whole at any instant, and stays shared.
        """
        self.lock = Lock()
        self.laid = {}
        self.crew.renew()

    def __call__(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """(1, 9, H, W), (1, 3, H, W), (1, 1) -> (1, 3, H, W); one call at a time, whoever calls."""
        with self.lock:
            return self._said(condition, x_t, noise_level)

    def _said(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        h, w = x_t.shape[2:]
        if (h, w) not in self.laid:
            for size in list(self.laid)[: 1 - SIZES]:
                del self.laid[size]
            self.laid[h, w] = self._lay_out(h, w)
        laid = self.laid[h, w]
        self._fill(laid.source, condition[0], x_t[0])
        if self.arch.condition_skip:
            laid.condition[...] = condition[0]
        row = self._biases(float(noise_level[0, 0]))
        self.crew.run(laid.table, laid)
        said = self._unfolded(laid.result, h, w)
        if self.arch.condition_skip:
            said += laid.skip
        if self.arch.sigma_data:
            said = row[-2] * x_t[0] - row[-1] * said
        return said[None]

    def _lay_out(self, h: int, w: int) -> Laid:
        fold, stride = self.arch.patch_size, self.arch.stride
        if h % stride or w % stride:
            raise ValueError(f"{h}x{w} are no multiples of {stride}")
        for name, wanted in ((GATE, self.arch.gate != "none"), (SKIP, self.arch.condition_skip)):
            if (name in self.packing.weights) != wanted:
                raise ValueError(f"{name} is {'missing' if wanted else 'not expected'}")
        widths = [self.arch.inner_channel * multiplier for multiplier in self.arch.channel_multiplier]
        if any(width % self.machine.shape.panel for width in (*widths, self.arch.inner_channel)):
            reason = f"computes layers of a multiple of {self.machine.shape.panel} channels, and this model has others"
            raise EnvironmentFault("backend winograd", reason, "choose --backend ort-cpu")
        layout = Layout(self.arch, self.machine, self.packing)
        folded = self.arch.in_channel * fold**2
        whole = self.packing.whole(folded, self.width)
        data = layout.buffers.own(h // fold, w // fold, whole)
        source = Tensor(data, layout.buffers.take(1, 2, whole), filled=whole - folded)
        result = lay_out(layout, source)
        skip = self._lay_out_skip(layout, h, w)
        layout.program.give_scratch(layout.buffers, self.crew.threads, layout.scratch)
        return Laid(layout.program, layout.program.table, data, result.data, *skip)

    def _lay_out_skip(self, layout: Layout, h: int, w: int) -> tuple[Array, Array]:
        """Not by NumPy's matrix product: its library's threads would go on looking for work, on the program's cores."""
        channels, out = self.arch.condition_channels, self.arch.out_channel
        if not self.arch.condition_skip:
            return np.zeros(0, dtype=np.float32), np.zeros(0, dtype=np.float32)
        pixels = self.packing.whole(h * w, LANES)
        planes, skip = layout.buffers.own(channels, pixels), layout.buffers.own(out, pixels)
        weights = self.packing.vector(SKIP, out, channels, 1, 1)
        sizes = given(c=channels, co=out, pixels=pixels, block=BLOCK)
        layout.add("mix", -(-pixels // BLOCK), planes=planes, weights=weights, to=skip, **sizes)
        return planes[:, : h * w].reshape(channels, h, w), skip[:, : h * w].reshape(out, h, w)

    def _fill(self, source: Array, condition: Array, x_t: Array) -> None:
        """Gate, fold patches into channels, and put channels last."""
        images, fold, (h, w) = np.concatenate([condition, x_t]), self.arch.patch_size, x_t.shape[1:]
        if self.arch.gate != "none":
            gated = images if self.arch.gate == "all" else images[: len(condition)]
            gated *= self._gate(gated)[:, None, None]
        patches = images.reshape(len(images), h // fold, fold, w // fold, fold)
        channels = source[..., : len(images) * fold**2].reshape(h // fold, w // fold, len(images), fold, fold)
        channels[...] = patches.transpose(1, 3, 0, 2, 4)  # a view: what it is given, the source has

    def _gate(self, images: Array) -> Array:
        """TMFA: a factor for each channel (paper, section 2.2)."""
        x = images.mean(axis=(1, 2))
        for i, hidden in ((1, len(x) // 4), (2, len(x))):
            weight = self.packing.named(f"SE_block.linear{i}.weight", (hidden, len(x)))
            x = weight @ x + self.packing.named(f"SE_block.linear{i}.bias", (hidden,))
            x = np.maximum(x, 0) if i == 1 else 1 / (1 + np.exp(-x))
        return x

    def _unfolded(self, result: Array, h: int, w: int) -> Array:
        fold, out = self.arch.patch_size, self.arch.out_channel
        patches = result[..., : out * fold**2].reshape(h // fold, w // fold, out, fold, fold)
        unfolded = patches.transpose(2, 0, 3, 1, 4).reshape(out, h, w)
        return np.array(unfolded, order="C")  # a copy in any case: the next call writes into the result

    def _biases(self, level: float) -> Array:
        """Write every convolution's bias for a noise level; the row of all noise biases."""
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
            if len(self.rows) >= ROWS:
                self.rows.clear()
            levels: Float64 = np.array([level], dtype=np.float64)
            self.rows[level] = bias_rows(self.arch, self.packing.weights, modules, levels)[0]
        return self.rows[level]


def _renew_all() -> None:
    for network in NETWORKS:
        network.renew()


NETWORKS: WeakSet[Network] = WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
