"""Displacements of images: the numbers are those of the formula, written out."""

import math
from collections import Counter

import numpy as np
import pytest

from tfs_rt.cases.registration import SIDE, displacements, nmi


def entropy(counts: Counter) -> float:
    total = sum(counts.values())
    return -sum(count / total * math.log(count / total) for count in counts.values())


@pytest.mark.parametrize("shape", [(8, 8), (5, 13)])
def test_nmi_is_the_formula_written_out(shape: tuple[int, int], rng: np.random.Generator) -> None:
    a = rng.integers(0, 16, shape).astype(np.uint8)
    b = (a // 2 + rng.integers(0, 3, shape)).astype(np.uint8)
    alone = (Counter(a.ravel().tolist()), Counter(b.ravel().tolist()))
    together = Counter(zip(a.flat, b.flat, strict=True))
    expected = (entropy(alone[0]) + entropy(alone[1])) / entropy(together)
    constant = np.zeros_like(a)
    assert nmi(a, [b, a]) == pytest.approx([expected, 2], rel=1e-12)
    assert nmi(constant, [constant]) == 1


def test_the_gain_of_a_shift_is_that_of_trying_every_one(rng: np.random.Generator) -> None:
    """Brute force over all shifts, image by image; at the grid's own size nothing is interpolated."""
    blob = np.zeros((SIDE, SIDE))
    blob[20:44, 24:40] = rng.integers(4, 16, (24, 16)) * 16
    images = [
        np.repeat(plane.astype(np.uint8)[..., None], 3, axis=2) for plane in (blob, 240 - blob, np.roll(blob, 3, 1))
    ]
    levels = [image[..., 0] // 16 for image in images]

    def agreement(k: int, dy: int, dx: int) -> float:
        """The NMI of image k, moved back by (dy, dx), with the others. The border is uniform: it is rolled."""
        back = np.roll(levels[k], (-dy, -dx), (0, 1))
        return sum(float(nmi(levels[i], [back])[0]) for i in range(3) if i != k)

    for k, displacement in enumerate(displacements(images)):
        tried = {(dy, dx): agreement(k, dy, dx) for dy in range(-6, 7) for dx in range(-6, 7)}
        best = max(tried, key=lambda shift: tried[shift])
        assert displacement.shift_gain == pytest.approx(tried[best] - tried[0, 0], abs=1e-12)
        assert displacement.shift * SIDE == pytest.approx(np.hypot(*best), abs=0.75)  # a parabola's vertex
    assert displacements(images)[2].shift * SIDE == pytest.approx(3, abs=0.1)
