"""A training log as a picture: the loss and the validation's PSNR and SSIM over the iterations."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from tfs_rt.system.files import write_file

PANELS = {"loss": "loss", "psnr": "validation PSNR in dB", "ssim": "validation SSIM"}
WIDTH = 420
HEIGHT = 260
MARGIN = 44
INK = (30, 30, 30)
GREY = (200, 200, 200)
LINE = (31, 90, 180)


def draw(log: Sequence[dict[str, Any]], path: Path) -> None:
    """Write a PNG with one panel for each quantity."""
    # Begin an empty sheet.
    sheet = Image.new("RGB", (WIDTH * len(PANELS), HEIGHT), "white")
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    for number, (key, title) in enumerate(PANELS.items()):
        # Find the panel's place and the range of its values.
        left = WIDTH * number
        points = [(line["iteration"], line[key]) for line in log]
        lows, highs = ([pick(p[axis] for p in points) for axis in (0, 1)] for pick in (min, max))
        # Draw the frame, the title and the ends of both axes.
        pen.rectangle([left + MARGIN, MARGIN, left + WIDTH - 12, HEIGHT - MARGIN], outline=GREY)
        pen.text((left + MARGIN, 16), f"{title}: {points[-1][1]:g} at iteration {points[-1][0]}", fill=INK, font=font)
        for text, y in ((f"{highs[1]:.4g}", MARGIN), (f"{lows[1]:.4g}", HEIGHT - MARGIN)):
            pen.text((left + MARGIN - 4, y), text, fill=INK, font=font, anchor="rm")
        for text, x in ((str(lows[0]), left + MARGIN), (str(highs[0]), left + WIDTH - 12)):
            pen.text((x, HEIGHT - MARGIN + 6), text, fill=INK, font=font, anchor="ma")

        # Draw the curve.
        def place(point: tuple[float, float], left=left, lows=lows, highs=highs) -> tuple[float, float]:
            x, y = ((v - low) / ((high - low) or 1) for v, low, high in zip(point, lows, highs, strict=True))
            return left + MARGIN + x * (WIDTH - 12 - MARGIN), HEIGHT - MARGIN - y * (HEIGHT - 2 * MARGIN)

        pen.line([place(point) for point in points], fill=LINE, width=2)
    # Write the sheet.
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    write_file(path, buffer.getvalue())
