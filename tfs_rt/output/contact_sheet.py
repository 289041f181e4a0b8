"""Contact sheets: the inputs of each case beside its result."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tfs_rt.images import RGB

TILE = 256  # pixels: longer side of an image on a sheet
GAP = 8  # pixels between images
LABEL = 20  # pixels: height of the text above an image
FONT_SIZE = 13
ROWS = 6  # cases on a sheet


def contact_sheet(rows: Sequence[tuple[str, Sequence[tuple[str, RGB]]]]) -> RGB:
    """A sheet (H, W, 3) uint8 with one row per case: (case id, [(label, image), ...]).

    Images smaller than a tile are enlarged without smoothing, so that their pixels can be seen.
    """
    columns = max(len(images) for _, images in rows)
    sheet = Image.new("RGB", (GAP + columns * (TILE + GAP), len(rows) * (TILE + LABEL + GAP) + GAP), "white")
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for i, (case_id, images) in enumerate(rows):
        top = GAP + i * (TILE + LABEL + GAP)
        for j, (label, image) in enumerate(images):
            left = GAP + j * (TILE + GAP)
            text = f"{case_id}  {label}" if j == 0 else label
            draw.text((left, top), _shorten(text, font), fill="black", font=font)
            sheet.paste(_fit_tile(image), (left, top + LABEL))
    return np.asarray(sheet)


def _fit_tile(image: RGB) -> Image.Image:
    height, width = image.shape[:2]
    factor = TILE / max(height, width)
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    smooth = Image.Resampling.BICUBIC if factor < 1 else Image.Resampling.NEAREST
    return Image.fromarray(image).resize(size, smooth)


def _shorten(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    if font.getlength(text) <= TILE:
        return text
    while font.getlength(text + "...") > TILE:
        text = text[:-1]
    return text + "..."
