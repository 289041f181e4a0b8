"""The two-stage baseline: upsample the three images by bicubic, then fuse them by a classical method."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

from tfs_rt.images import RGB, resize
from tfs_rt.methods.method import ImageLike, check_cases
from tfs_rt.methods.registry import METHODS, load_module
from tfs_rt.sampling.engine import How

Upsample = Callable[[RGB, tuple[int, int]], RGB]  # (image, size = (H, W))


@dataclass(frozen=True, slots=True)
class TwoStage:
    """A classical method after upsampling, by default bicubic. At scale 1 it only fuses. It draws no noise."""

    method: str  # a name in METHODS without a bundle
    scale: int
    upsample: Upsample = resize
    steps: int = 1
    trained_size: None = None

    def __post_init__(self) -> None:
        load_module(self.method)

    def fuse(
        self,
        cases: Sequence[Sequence[ImageLike]],
        ids: Sequence[str],
        *,
        size: tuple[int, int],
        seed: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> list[RGB]:
        """Fuse a batch, as `tfs_rt.methods.diffusion.Pipeline.fuse` does; the seed changes nothing."""
        fuse_images = load_module(self.method).fuse
        results = []
        for images in check_cases(cases, ids, size, seed):
            upsampled = [self.upsample(image, size) for image in images]
            results.append(fuse_images(*upsampled))
        if on_step:
            on_step(1)
        return results

    def begin(
        self, cases: Sequence[Sequence[ImageLike]], ids: Sequence[str], **how: Unpack[How]
    ) -> Callable[[], list[RGB]]:
        """Return a function that does `fuse`: the batch is computed when its images are asked for."""
        return partial(self.fuse, cases, ids, **how)

    def self_test(self) -> None:
        """Nothing to test: a classical method has no expected result."""

    @property
    def notice(self) -> str:
        """A notice for the user about this machine; empty if there is none."""
        if "numba" not in METHODS[self.method].packages:
            return ""
        from tfs_rt.methods.compiled import cache_notice

        return cache_notice()

    def provenance(self) -> dict[str, Any]:
        """Method and package versions. A sidecar also has the sizes of inputs and result."""
        packages = ("numpy", "PIL", *METHODS[self.method].packages)
        versions = {name: sys.modules[name].__version__ for name in packages}
        return {"method": self.method, "versions": versions}
