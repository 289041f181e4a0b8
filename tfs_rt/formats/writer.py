"""A result as a file: in the inputs' format where all three are DICOM or NIfTI, as a PNG otherwise."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tfs_rt.formats.registry import DICOM, NIFTI
from tfs_rt.images import RGB
from tfs_rt.optional import import_optional

FORMATS = {"dicom": DICOM, "nifti": NIFTI}


def encode(form: str, slices: Sequence[RGB], frames: dict[str, Any], text: dict[str, str]) -> bytes:
    """A file's bytes, which depend on the pixels, on the sources' frames (by slot) and on the text alone."""
    if form == "png":
        (image,) = slices
        return encode_png(image, text)
    found = FORMATS[form]
    return import_optional(found.module, f"a result in {form}", found.remedy).encode(slices, frames, text)


def encode_png(image: RGB, text: dict[str, str] | None = None) -> bytes:
    """A PNG that depends on the pixels and its text alone."""
    buffer, info = io.BytesIO(), PngInfo()
    for keyword, value in (text or {}).items():
        info.add_text(keyword, value)
    Image.fromarray(image).save(buffer, format="PNG", pnginfo=info)
    return buffer.getvalue()
