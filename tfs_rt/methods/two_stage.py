"""The two-stage baseline: upsample the three images by bicubic, then fuse them by a classical method."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from tfs_rt.images import RGB, resize
from tfs_rt.methods.method import BaseMethod, check_batch
from tfs_rt.methods.registry import METHODS, load_module
from tfs_rt.sampling.engine import ImageBatch

Upsample = Callable[[RGB, tuple[int, int]], RGB]  # (image, size = (H, W))


@dataclass(frozen=True, slots=True)
class TwoStage(BaseMethod):
    """A classical method after upsampling, by default bicubic. At scale 1 it only fuses. It draws no noise."""

    method: str  # a name in METHODS without a bundle
    scale: int
    upsample: Upsample = resize
    steps: int = 1
    trained_size: None = None

    def __post_init__(self) -> None:
        load_module(self.method)

    def begin(self, batch: ImageBatch) -> Callable[[], list[RGB]]:
        """Check a batch and return a function that computes its images. The seed changes nothing."""
        return partial(self._fuse_batch, check_batch(batch))

    def _fuse_batch(self, batch: ImageBatch) -> list[RGB]:
        fuse = load_module(self.method).fuse
        results = []
        for images in batch.cases:
            upsampled = [self.upsample(image, batch.size) for image in images]
            results.append(fuse(*upsampled))
        if batch.on_step:
            batch.on_step(1)
        return results

    def describe(self, size: tuple[int, int] | None) -> str:
        """Its method, the upsampling before it, and a notice about this machine."""
        enlargement = f" to {size[1]}x{size[0]}" if size else f" x{self.scale}"
        upsampled = f", after bicubic{enlargement}" if size or self.scale > 1 else ""
        notice = f"; {self.notice}" if self.notice else ""
        return f"method: {self.method}{upsampled}{notice}"

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
