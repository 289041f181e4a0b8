"""What a run needs of a method of fusion, whether a model's pipeline or a classical one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Unpack

from tfs_rt.engine import How
from tfs_rt.images import RGB
from tfs_rt.spec import SLOTS


class Fuser(Protocol):
    """Three images in, one out: ready to fuse."""

    @property
    def scale(self) -> int:
        """How many times larger a result is than its inputs."""
        ...

    @property
    def steps(self) -> int:
        """How often `on_step` is called for a batch."""
        ...

    @property
    def trained_size(self) -> int | None:
        """The side of the images it was trained on, if it was."""
        ...

    def begin(self, cases: Sequence[Sequence[RGB]], ids: Sequence[str], **how: Unpack[How]) -> Callable[[], list[RGB]]:
        """Begin a batch: for each case its images in slot order, uint8 (h, w, 3) -> (H, W, 3) of `size` = (H, W).

        The function returned ends it. One more batch may begin before.
        """
        ...

    def self_test(self) -> None:
        """EnvironmentFault if it is known to compute wrongly on this machine, now; nothing else may be under way."""
        ...

    def provenance(self) -> dict[str, Any]:
        """What decides the pixels beside inputs, size and seed, with the `versions` of the packages that compute."""
        ...


def check_cases(cases: Sequence[Sequence[RGB]], ids: Sequence[str]) -> None:
    """ValueError unless every case has an id and three images of one size, uint8 (h, w, 3)."""
    if len(cases) != len(ids):
        raise ValueError(f"{len(cases)} cases with {len(ids)} ids")
    for case_id, images in zip(ids, cases, strict=True):
        found = [(image.dtype.name, image.shape) for image in images]
        same = len(found) == len(SLOTS) and len(set(found)) == 1
        if not same or found[0][0] != "uint8" or found[0][1][2:] != (3,) or len(found[0][1]) != 3:
            raise ValueError(f"case {case_id}: expected 3 images of one size, uint8 (h, w, 3), got {found}")
