"""Contact sheets: the sources beside the result, for people who look."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfs_rt.images import RGB

TILE, GAP, LABEL = 256, 8, 20
ROWS = 6


def contact_sheet(rows: Sequence[tuple[str, Sequence[tuple[str, RGB]]]]) -> RGB:
    """One row per case, (case id, [(label, image), ...]); small images are enlarged with hard pixels."""
    columns = max(len(images) for _, images in rows)
    sheet = Image.new("RGB", (GAP + columns * (TILE + GAP), len(rows) * (TILE + LABEL + GAP) + GAP), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for i, (case_id, images) in enumerate(rows):
        top = GAP + i * (TILE + LABEL + GAP)
        for j, (label, image) in enumerate(images):
            left = GAP + j * (TILE + GAP)
            text = f"{case_id}  {label}" if j == 0 else label
            draw.text((left, top), _shortened(text, font), fill="black", font=font)
            sheet.paste(_fitted(image), (left, top + LABEL))
    return np.asarray(sheet)


def _fitted(image: RGB) -> Image.Image:
    height, width = image.shape[:2]
    factor = TILE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = Image.Resampling.BICUBIC if factor < 1 else Image.Resampling.NEAREST
    return Image.fromarray(image).resize(size, smooth)


def _shortened(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= TILE:
        return text
    while font.getlength(text + "...") > TILE:
        text = text[:-1]
    return text + "..."
