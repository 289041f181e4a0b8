"""Pseudo-colour for functional images without colour: a table of 256 colours, looked up by grey level.

Each map is piecewise linear between the stops below. The colours of the training images (PET and SPECT of the Harvard
Whole Brain Atlas) lie on two curves that are not among the well-known maps. We call them `atlas-pet` and `atlas-spect`.
They are read off the images that were not resampled, which hold at most 128 colours, evenly spaced, whose order gives
the level. As ordered, these colours are on average 1.2 levels (PET) and 1.5 levels (Tc-SPECT of 72 colours; 4.7 where
it has 92) from the maps.

Mean distance in RGB, in levels, of pixels brighter than 16 from the nearest colour of a map, in the tri-modal groups of
train and val, and of test (Tl-SPECT):

    map            PET   Tc-SPECT   Tl-SPECT
    atlas-pet      2.3       78         1.7
    atlas-spect     92        1.4        64
    hot            108      101          99
    hot-iron       120       95          99
    jet             41       96          56     (not offered)

`hot` is the map of MATLAB and Matplotlib. `hot-iron` is DICOM's (PS3.6 section B.1.1), within one level. DICOM's PET,
Hot Metal Blue and PET 20 Step are 24 to 81 levels away, and the rainbow of examples/make_examples.py 26 (PET) and 8
(Tl-SPECT).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfs_rt.errors import UsageError
from tfs_rt.images import RGB

Stop = tuple[float, tuple[int, int, int]]  # grey level, RGB

STOPS: dict[str, tuple[Stop, ...]] = {
    "atlas-pet": (
        (0, (0, 0, 0)),
        (255 * 15 / 127, (0, 0, 123)),
        (255 * 31 / 127, (0, 85, 255)),
        (255 * 63 / 127, (255, 255, 0)),
        (255 * 95 / 127, (255, 0, 0)),
        (255, (255, 0, 255)),
    ),
    "atlas-spect": (
        (0, (0, 0, 0)),
        (255 * 10.4 / 71, (42, 73, 75)),
        (255 * 25 / 71, (83, 0, 144)),
        (255 * 40 / 71, (190, 90, 121)),
        (255 * 57 / 71, (255, 114, 0)),
        (255, (255, 222, 255)),
    ),
    "hot": ((0, (0, 0, 0)), (255 * 3 / 8, (255, 0, 0)), (255 * 6 / 8, (255, 255, 0)), (255, (255, 255, 255))),
    "hot-iron": (
        (0, (0, 0, 0)),
        (127.5, (255, 0, 0)),
        (191.25, (255, 127, 0)),
        (255, (255, 255, 255)),
    ),
}


def pseudo_colour(image: RGB, name: str) -> RGB:
    """A grey image (H, W, 3) uint8 in the colours of a map of STOPS; UsageError for an unknown name."""
    return table(name)[image[..., 0]]


def table(name: str) -> NDArray[np.uint8]:
    """The colours of a map by grey level: (256, 3) uint8, rounded; UsageError for an unknown name."""
    if name not in STOPS:
        raise UsageError("colour map", f"there is none called {name!r}", f"choose one of {', '.join(STOPS)}")
    levels, colours = zip(*STOPS[name], strict=True)
    channels = [np.interp(np.arange(256), levels, values) for values in np.transpose(colours)]
    return np.rint(np.transpose(channels)).astype(np.uint8)
