"""The head window, for CT without a window of its own.

The percentiles of a CT reach from air, or from padding far below it, to bone. Between them the brain is one flat grey.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfs_rt.errors import InputError

HEAD_WINDOW = (0.0, 80.0)  # HU: centre 40, width 80, the usual window of the brain
WORDS = f"window {HEAD_WINDOW[0]:g} to {HEAD_WINDOW[1]:g} HU, the head window for CT without one"
ORIGIN = "head"  # in the facts, as the origin of a window
WINDOW = "give its window in its own values, as --window m1=LOW:HIGH, or convert it to HU"
AIR = -900.0  # HU: lower is air, or padding (-1024, -2000, -3024)
LEAST_AIR = -1050.0  # HU: lower is padding
BONE = 1000.0  # HU: nothing in a head but bone and metal is higher
WHOLE = 1e-3  # HU: a scaled value nearer to a whole number is one
TISSUE = (-200.0, 200.0)  # HU: from fat to blood and brain
ENOUGH = 0.05  # share of the values that must be air, or tissue
FEW = 0.1  # share of the values that may lie between air and tissue
# Width between the percentiles: a wider window does not tell the parts of a brain apart.
NARROW = 400.0
# In HU: in a wider window the grey and the white matter are two levels apart, or less.
WIDE = 1000.0
SAMPLES = 2**20  # values that are looked at


def sample(stored: NDArray[Any], slope: float, intercept: float) -> NDArray[np.float64]:
    """About SAMPLES values in the unit, evenly taken from all stored ones."""
    step = math.ceil((stored.size / SAMPLES) ** (1 / stored.ndim)) or 1
    return stored[(slice(None, None, step),) * stored.ndim].astype(np.float64) * slope + intercept


def has_air(values: NDArray[np.float64]) -> bool:
    """True if the values of a file named CT are in HU: some of them are air. Padding below air is in any unit."""
    return bool(((values <= AIR) & (values >= LEAST_AIR)).any())


def is_hounsfield(values: NDArray[np.float64]) -> bool:
    """True for values that only CT has: whole numbers, air, tissue and bone, and few between air and tissue."""
    low, high = TISSUE
    air = float(((values <= AIR) & (values >= LEAST_AIR)).mean())
    tissue = float(((values > low) & (values < high)).mean())
    between = float(((values > AIR) & (values <= low)).mean())
    is_whole = bool((np.abs(values - np.rint(values)) <= WHOLE).all())
    return is_whole and min(air, tissue) >= ENOUGH and between <= FEW and bool((values > BONE).any())


def wide(window: tuple[float, float]) -> float:
    """The width in HU of a window in which a brain is one grey; 0 if it is narrower."""
    width = window[1] - window[0]
    return width if width > WIDE else 0.0


def check_narrow(window: tuple[float, float], path: Path) -> None:
    """InputError for CT that is not in HU, if its percentiles are too far apart to be a window."""
    low, high = window
    if high - low > NARROW:
        reason = f"is CT without a window, and its values ({low:.6g} to {high:.6g}) do not look like HU"
        raise InputError(path, reason, WINDOW)
