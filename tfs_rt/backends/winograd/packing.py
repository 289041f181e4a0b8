"""Pack a network's weights for the operations, and check that each has the shape that the architecture needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.backends.winograd import toom
from tfs_rt.backends.winograd.kernels import RegisterTile
from tfs_rt.images import Array
from tfs_rt.models.onnx.weights import Weights


class Packing:
    """Weights by name, packed at their first use. Only then is the original dropped.

    So a signal or a fork at any instant leaves every weight in at least one of the two forms.
    Every method raises KeyError if a weight is missing and ValueError if it has another shape: machine code checks
    nothing.
    """

    def __init__(self, weights: Weights, shape: RegisterTile) -> None:
        self.weights = dict(weights)
        self.shape = shape
        self.made: dict[str, Array] = {}
        self.biases: dict[str, tuple[Array, tuple[str, ...]]] = {}  # by name: the sum, and the modules it is of

    def round_up(self, channels: int, multiple: int) -> int:
        """Channels in whole vectors or panels."""
        return -(-channels // multiple) * multiple

    def vector(self, name: str, *shape: int) -> Array:
        """A weight that is not packed: operations read single numbers or vectors of it."""
        return self._once(name, lambda: np.ascontiguousarray(self.original(name, shape), dtype=np.float32))

    def original(self, name: str, shape: tuple[int, ...]) -> Array:
        """A weight in its original form, whose shape is checked."""
        weight = self.weights[name]
        if weight.shape != shape:
            raise ValueError(f"{name} is {weight.shape}, expected {shape}")
        return weight

    def bias(self, name: str, channels: int, added: Iterable[str] = ()) -> Array:
        """A convolution's bias in whole panels: of one module, or of several that are added, written for each step."""
        modules = (name, *added)
        for module in modules:
            self.original(f"{module}.bias", (channels,))
        array = np.zeros(self.round_up(channels, self.shape.panel), dtype=np.float32)
        return self.biases.setdefault(name, (array, modules))[0]

    def tiles(self, name: str, channels: int, out: int) -> Array:
        """A 3x3 convolution's weights by Winograd's planes, (36, out / panel, channels, panel)."""

        def make() -> Array:
            taps = self._panels(self._by_taps(name, channels, out))
            rows = _at_points(list(taps.reshape(3, 3, *taps.shape[1:])))
            return np.stack([plane for row in rows for plane in _at_points(list(row))])

        return self._once(name, make)

    def taps(self, name: str, channels: int, out: int) -> Array:
        """A 3x3 convolution's weights by taps, (9, out / panel, channels, panel)."""

        return self._once(name, lambda: self._panels(self._by_taps(name, channels, out)))

    def points(self, name: str, widths: Sequence[int], out: int) -> list[Array]:
        """A 1x1 convolution's weights by source, each (out / panel, width, panel)."""
        if f"{name} 0" not in self.made:
            matrix = self._weight(name, (out, sum(widths), 1, 1))[:, :, 0, 0].T
            parts = np.split(matrix, np.cumsum(widths)[:-1])
            self.made |= {f"{name} {i}": self._panels(part) for i, part in enumerate(parts)}
            self.weights.pop(f"{name}.weight", None)
        return [self.made[f"{name} {i}"] for i in range(len(widths))]

    def attention(self, name: str, channels: int) -> Array:
        """An attention's queries, keys and values, the queries over the root of their number."""

        def make() -> Array:
            matrix = self._weight(name, (3 * channels, channels, 1, 1))[:, :, 0, 0].T.astype(np.float64)
            matrix[:, :channels] /= np.sqrt(channels)
            return self._panels(matrix)

        return self._once(name, make)

    def _by_taps(self, name: str, channels: int, out: int) -> Array:
        return self._weight(name, (out, channels, 3, 3)).transpose(2, 3, 1, 0).reshape(9, channels, out)

    def _weight(self, name: str, shape: tuple[int, ...]) -> Array:
        return self.original(f"{name}.weight", shape)

    def _once(self, name: str, make: Callable[[], Array]) -> Array:
        if name not in self.made:
            self.made[name] = make()
            self.weights.pop(f"{name}.weight", None)
        return self.made[name]

    def _panels(self, matrices: NDArray[Any]) -> Array:
        """(..., channels, out) -> (..., out / panel, channels, panel), zeros where channels are missing."""
        *many, channels, out = matrices.shape
        whole = self.round_up(channels, self.shape.width), self.round_up(out, self.shape.panel)
        split = np.zeros((*many, whole[1] // self.shape.panel, whole[0], self.shape.panel), dtype=np.float32)
        for panel in range(split.shape[-3]):
            columns = matrices[..., panel * self.shape.panel : (panel + 1) * self.shape.panel]
            split[..., panel, :channels, : columns.shape[-1]] = columns
        return split


def _at_points(taps: Sequence[Array]) -> list[Array]:
    """Three taps as six values, in an order of sums that no library decides: the same bits on every machine."""
    values = []
    for row in toom.filters().astype(np.float32):
        terms = [factor * tap for factor, tap in zip(row, taps, strict=True) if factor]
        values.append(sum(terms[1:], start=terms[0]))
    return values
