"""The boundary between sampling and backends.

An engine holds a network on some device and takes one reverse step at a time. A loop runs whole tables over batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from math import inf, nan
from typing import Any, Protocol, TypeVar

from tfs_rt.images import RGB, Array
from tfs_rt.sampling.tables import StepRow, StepTable
from tfs_rt.spec import ModelSpec

Handle = TypeVar("Handle")


class Engine(Protocol[Handle]):
    """A network on a device. `Handle` is the device's own array type; the loop never looks inside."""

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """Settings beside the backend's name and versions that can change pixels, such as the number of threads."""
        ...

    def to_device(self, array: Array, /) -> Handle:
        """Upload a float32 array."""
        ...

    def step(
        self, x_t: Handle, x_0: Handle | None, condition: Handle, row: StepRow, z: Handle | None, /
    ) -> tuple[Handle, Handle]:
        """One reverse step: (x_t, the previous step's x_0) -> (x_prev, x_0)."""
        ...

    def to_host(self, handle: Handle, /) -> Array:
        """Download as float32."""
        ...


@dataclass(frozen=True, slots=True)
class ImageBatch:
    """Cases that are fused together."""

    cases: Sequence[Sequence[RGB]]  # each case's images in slot order, uint8 (h, w, 3)
    ids: Sequence[str]  # one per case; with the seed, the key of the case's noise
    _: KW_ONLY
    size: tuple[int, int]  # (H, W) of the results
    seed: int = 0
    on_step: Callable[[int], None] | None = None  # called with the number of each step, from 1 on


class Loop(Protocol):
    """Runs whole tables over batches of images: `Stepwise` with any engine, or a device's own loop."""

    @property
    def facts(self) -> dict[str, Any]:
        """Settings beside the backend's name and versions that can change pixels, such as the GPU."""
        ...

    @property
    def largest_batch(self) -> int:
        """The largest number of cases in a batch."""
        ...

    def begin(self, table: StepTable, batch: ImageBatch) -> Callable[[], list[RGB]]:
        """Begin a batch and return a function that waits for its images, (H, W, 3) uint8 each.

        A second batch may begin before the first one's images are asked for.
        """
        ...


def reverse_step(prediction: Any, x_t: Any, x_0: Any, row: StepRow, z: Any) -> tuple[Any, Any]:
    """One step of `tables`, for any array type with arithmetic and `clip`, as NumPy's and PyTorch's."""
    x_0_prev = x_0
    unclipped = row.r_xt * x_t + row.r_pred * prediction
    x_0 = unclipped.clip(-1, 1)

    # Clipped, an infinity would become a plausible pixel: keep it as NaN.
    x_0[~(abs(unclipped) < inf)] = nan

    x_prev = row.c_x0 * x_0 + row.c_xt * x_t
    if z is not None:
        x_prev = x_prev + row.c_z * z
    if x_0_prev is not None and row.c_x0_prev:
        x_prev = x_prev + row.c_x0_prev * x_0_prev
    return x_prev, x_0
