"""Winograd's matrices."""

from __future__ import annotations

import numpy as np

from tfs_rt.backends.winograd import toom


def test_winograds_products_are_a_convolution() -> None:
    random = np.random.default_rng(0)
    d = random.standard_normal((6, 6))
    g = random.standard_normal((3, 3))
    products = (toom.filters() @ g @ toom.filters().T) * (toom.inputs() @ d @ toom.inputs().T)
    direct = [[(d[i : i + 3, j : j + 3] * g).sum() for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(toom.outputs() @ products @ toom.outputs().T, direct, atol=1e-13)
