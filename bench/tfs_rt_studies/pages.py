"""Helpers of the documentation's pages: shipped scales, cases that may be shown, fused groups, pictures."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from tfs_rt.assets import shipped_bundles
from tfs_rt.errors import UsageError
from tfs_rt.images import RGB
from tfs_rt.methods.method import FusionMethod
from tfs_rt.output.results import write_json
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


def fuse_group(fuser: FusionMethod, group: Group) -> RGB:
    """A group as a method fuses it from its degraded sources."""
    return fuser.begin(ImageBatch([group.degraded(fuser.scale)], [group.id], size=group.size))()[0]


def write_jpeg(path: Path, image: RGB) -> None:
    """A picture small enough for a repository."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="JPEG", quality=85)
    write_file(path, buffer.getvalue())


def fill_page(page: Path, blocks: Mapping[str, Sequence[str]], figures: Any) -> None:
    """Replace the generated blocks of a page, and write its figures to a JSON file of the same name.

    A person writes the page. Each block stands between the lines `<!-- NAME -->` and `<!-- end -->`; UsageError if the
    page lacks one. A new page consists of its blocks alone.
    """
    if page.exists():
        text = page.read_text(encoding="utf-8")
    else:
        text = f"# {page.stem}\n" + "".join(f"\n<!-- {name} -->\n<!-- end -->\n" for name in blocks)
    for name, lines in blocks.items():
        body = "\n".join([f"<!-- {name} -->", "", *lines, "", "<!-- end -->"])
        block = re.compile(rf"<!-- {re.escape(name)} -->\n.*?<!-- end -->", re.DOTALL)
        text, count = block.subn(lambda _, body=body: body, text)
        if count != 1:
            reason = f"has {count} blocks named {name!r}, not one"
            raise UsageError(page, reason, f"mark its place by the lines <!-- {name} --> and <!-- end -->")
    write_file(page, text.encode())
    write_json(page.with_suffix(".json"), figures)
