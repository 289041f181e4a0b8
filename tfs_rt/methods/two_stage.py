"""What is done today: upsample the three images by bicubic, then fuse them by a classical method."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import numba
import numpy as np
import PIL
import scipy

from tfs_rt.images import RGB, resize
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt.methods.compiled import cache_notice
from tfs_rt.methods.ctsr import fuse as ctsr
from tfs_rt.methods.method import ImageLike, check_cases
from tfs_rt.sampling.engine import How

Upsample = Callable[[RGB, tuple[int, int]], RGB]  # (image, size = (H, W))
METHODS: dict[str, Callable[[RGB, RGB, RGB], RGB]] = {"bitonicx": bitonicx.fuse, "ctsr": ctsr.fuse}


@dataclass(frozen=True, slots=True)
class TwoStage:
    """A classical method after upsampling, bicubic unless told; at scale 1 plain fusion. It draws no noise."""

    method: str
    scale: int
    upsample: Upsample = resize
    steps: int = 1
    trained_size: None = None

    def fuse(
        self,
        cases: Sequence[Sequence[ImageLike]],
        ids: Sequence[str],
        *,
        size: tuple[int, int],
        seed: int = 0,
        on_step: Callable[[int], None] | None = None,
    ) -> list[RGB]:
        """Fuse a batch, as `tfs_rt.methods.diffusion.Pipeline.fuse` does; the seed decides nothing."""
        checked = check_cases(cases, ids, size, seed)
        fused = [METHODS[self.method](*(self.upsample(image, size) for image in images)) for images in checked]
        if on_step:
            on_step(1)
        return fused

    def begin(
        self, cases: Sequence[Sequence[ImageLike]], ids: Sequence[str], **how: Unpack[How]
    ) -> Callable[[], list[RGB]]:
        """`fuse`, put off."""
        return partial(self.fuse, cases, ids, **how)

    def self_test(self) -> None:
        """There is nothing that it is held to."""

    @property
    def notice(self) -> str:
        """The notice for the user about this machine; empty if there is none."""
        return cache_notice()

    def provenance(self) -> dict[str, Any]:
        """Method and versions; a sidecar has the sizes of inputs and result."""
        versions = {package.__name__: package.__version__ for package in (np, PIL, scipy, numba)}
        return {"method": self.method, "versions": versions}
