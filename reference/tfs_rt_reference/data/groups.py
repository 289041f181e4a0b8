"""Training material: registered groups of images with their fused ground truth, as `tfs-rt prepare` writes them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfs_rt.cases.load import read_file
from tfs_rt.errors import InputError, first_line
from tfs_rt.images import RGB, resize
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular

MANIFEST = "manifest.json"
LIMIT = 2**30  # bytes of a manifest


@dataclass(frozen=True, slots=True)
class Group:
    """One registered group at full resolution."""

    id: str
    sources: tuple[RGB, ...]  # m1, m2, functional, each (H, W, 3)
    truth: RGB

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.truth.shape[0], self.truth.shape[1]

    def degraded(self, scale: int) -> list[RGB]:
        """The sources with `scale` times coarser pixels."""
        return [low_resolution(image, scale) for image in self.sources]


def read_manifest(root: Path) -> dict[str, Any]:
    """The manifest of a set, complete or not."""
    try:
        manifest = json.loads(read_regular(root / MANIFEST, LIMIT))
        recipe = manifest["recipe"]
        return {**manifest, "recipe": dict(recipe), "complete": bool(manifest["complete"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"is not a training set's manifest ({first_line(error)})"
        raise InputError(root / MANIFEST, reason, "make a set with tfs-rt prepare") from error


def read_cases(root: Path) -> list[dict[str, Any]]:
    """The records of a complete set's groups, from its manifest."""
    manifest = read_manifest(root)
    if not manifest["complete"]:
        raise InputError(root, "is not complete: its making was interrupted", "run the same tfs-rt prepare again")
    return manifest["cases"]


def read_groups(root: Path, split: str) -> list[Group]:
    """All groups of one split of a prepared set, by id."""
    groups = []
    for record in read_cases(root):
        if record["split"] == split:
            names = [name for name in record["files"] if "/x1/" in name or "/truth/" in name]
            *sources, truth = (_read(root / name, record["files"][name]) for name in names)
            groups.append(Group(record["id"], tuple(sources), truth))
    if not groups:
        raise InputError(root, f"holds no case of split {split!r}", "check the split's name")
    return groups


def _read(path: Path, sha256: str) -> RGB:
    image, found = read_file(path)
    if found != sha256:
        raise InputError(path, "is not the file that the manifest lists", "run the same tfs-rt prepare again")
    return image


def low_resolution(image: RGB, scale: int) -> RGB:
    """The image with `scale` times coarser pixels, by Pillow's antialiased bicubic filter."""
    height, width = image.shape[:2]
    return resize(image, (height // scale, width // scale))


def singly(groups: Sequence[Group]) -> list[Group]:
    """Each source image as a group of its own and its own truth: super-resolution without fusion, as SR3 does it."""
    return [
        Group(f"{g.id}_{slot}", (image,), image) for g in groups for slot, image in zip(SLOTS, g.sources, strict=True)
    ]
