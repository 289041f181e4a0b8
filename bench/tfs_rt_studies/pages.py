"""Helpers of the documentation's pages: shipped scales, cases that may be shown, fused groups, pictures."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from tfs_rt.assets import shipped_bundles
from tfs_rt.images import RGB
from tfs_rt.methods.method import FusionMethod
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.system.files import write_file
from tfs_rt_reference.data.groups import Group, read_cases, read_groups


def shipped_scales() -> list[int]:
    """The scales for which a model ships."""
    return [scale for scale in (2, 4, 8) if f"x{scale}" in shipped_bundles()]


def shown_groups(root: Path, count: int) -> list[Group]:
    """The first groups of a set that may be shown, whatever their split."""
    splits = sorted({record["split"] for record in read_cases(root)})
    return [group for split in splits for group in read_groups(root, split)][:count]


def fused(fuser: FusionMethod, group: Group) -> RGB:
    """A group as a method fuses it from its degraded sources."""
    return fuser.begin(ImageBatch([group.degraded(fuser.scale)], [group.id], size=group.size))()[0]


def write_jpeg(path: Path, image: RGB) -> None:
    """A picture small enough for a repository."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=85)
    write_file(path, buffer.getvalue())
