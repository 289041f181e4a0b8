"""The one boundary: an engine holds a network on some device and takes one reverse step at a time.

A backend is one file and one entry of `backends.registry.BACKENDS`; it is imported when it is chosen, not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf, nan
from typing import Any, Protocol, Required, TypedDict, TypeVar, Unpack

from tfs_rt.images import RGB, Array
from tfs_rt.sampling.tables import StepRow, StepTable
from tfs_rt.spec import ModelSpec

Handle = TypeVar("Handle")


class Engine(Protocol[Handle]):
    """A network on a device. `Handle` is whatever the device keeps an array in; the loop never looks inside."""

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What beside the backend's name and versions may decide a pixel: the number of threads, say."""
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


class How(TypedDict, total=False):
    """How a batch is fused."""

    size: Required[tuple[int, int]]  # (H, W) of the results
    seed: int  # 0 unless given
    on_step: Callable[[int], None] | None  # told the number of each step


class Loop(Protocol):
    """Runs whole tables over batches of images: any engine by `Stepwise`, or a device of its own."""

    @property
    def facts(self) -> dict[str, Any]:
        """What beside the backend's name and versions may decide a pixel: the GPU, say."""
        ...

    @property
    def largest_batch(self) -> int:
        """The most cases that can be run at once."""
        ...

    def begin(
        self, table: StepTable, cases: Sequence[Sequence[RGB]], ids: Sequence[str], **how: Unpack[How]
    ) -> Callable[[], list[RGB]]:
        """Begin a batch; the function returned gives its images. A second may begin before the first is asked for."""
        ...


def reverse_step(prediction: Any, x_t: Any, x_0: Any, row: StepRow, z: Any) -> tuple[Any, Any]:
    """The update of `tables`, for any array type with arithmetic and `clip` (NumPy's and PyTorch's have both)."""
    x_0_prev, guess = x_0, row.r_xt * x_t + row.r_pred * prediction
    x_0 = guess.clip(-1, 1)
    x_0[~(abs(guess) < inf)] = nan  # of an infinity the clip would make a plausible pixel
    x_prev = row.c_x0 * x_0 + row.c_xt * x_t
    if z is not None:
        x_prev = x_prev + row.c_z * z
    if x_0_prev is not None and row.c_x0_prev:
        x_prev = x_prev + row.c_x0_prev * x_0_prev
    return x_prev, x_0
