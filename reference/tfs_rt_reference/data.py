"""Training material: registered groups of images with their fused ground truth.

A data folder holds `manifest.csv` (columns id, m1, m2, functional, split, ...) and `groups/<id>/<modality>.png`
with the ground truth beside them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tfs_rt.errors import InputError
from tfs_rt.images import RGB, Array, resize, to_condition, to_model
from tfs_rt.spec import SLOTS


@dataclass(frozen=True, slots=True)
class Group:
    """One registered group at full resolution."""

    id: str
    sources: tuple[RGB, ...]  # m1, m2, functional, each (H, W, 3)
    truth: RGB


def read_rgb(path: Path) -> RGB:
    """A PNG as (H, W, 3) uint8."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_groups(root: Path, split: str, *, truth: str = "fused_bitonicx_det.png") -> list[Group]:
    """All groups of one split, in the manifest's order."""
    manifest = root / "manifest.csv"
    try:
        with manifest.open(newline="", encoding="utf-8") as file:
            rows = [row for row in csv.DictReader(file) if row.get("split") == split]
    except OSError as error:
        raise InputError(manifest, f"cannot be read ({error.strerror})", "give a data folder") from error
    if not rows:
        raise InputError(manifest, f"lists no case of split {split!r}", "check the split's name")
    folders = [root / "groups" / row["id"] for row in rows]
    return [
        Group(row["id"], tuple(read_rgb(folder / f"{row[slot]}.png") for slot in SLOTS), read_rgb(folder / truth))
        for row, folder in zip(rows, folders, strict=True)
    ]


def low_resolution(image: RGB, scale: int) -> RGB:
    """What a scanner of `scale` times coarser pixels would show: Pillow's antialiased bicubic."""
    height, width = image.shape[:2]
    return resize(image, (height // scale, width // scale))


def crops(
    groups: list[Group], *, scale: int, size: int, margin: int, rng: np.random.Generator
) -> Iterator[tuple[Array, Array]]:
    """Endless training pairs: condition (9, size, size) and x_0 (3, size, size), both in [-1, 1].

    A crop is cut at any pixel of the full-resolution group and degraded then, so that every sub-pixel phase of the
    low-resolution grid is seen; `margin` pixels around it keep the degradation's border effects out.
    """
    while True:
        group = groups[rng.integers(len(groups))]
        cut = size + 2 * margin
        top, left = (int(rng.integers(side - cut + 1)) for side in group.truth.shape[:2])
        window = np.s_[top : top + cut, left : left + cut]
        images = [image[window] for image in (*group.sources, group.truth)]
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        images = [np.ascontiguousarray(np.rot90(i, turns)[:, :: -1 if mirrored else 1]) for i in images]
        inner = np.s_[:, margin : margin + size, margin : margin + size]
        condition = to_condition([low_resolution(i, scale) for i in images[:-1]], (cut, cut))
        yield condition[inner], to_model(images[-1])[inner]
