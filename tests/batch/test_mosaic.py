"""Mosaics of slices, and edges."""

from __future__ import annotations

import numpy as np

from tfs_rt.batch.mosaic import edges, mosaic, shown_slices, with_edges
from tfs_rt.formats.volume import Grid


def test_edges_of_a_disc_lie_on_its_circle() -> None:
    y, x = np.mgrid[0:100, 0:100]
    radius = np.hypot(y - 50, x - 50)
    disc = np.repeat((np.where(radius < 30, 200, 0).astype(np.uint8))[..., None], 3, axis=2)
    found = edges(disc)
    assert found.sum() > 2 * np.pi * 30 * 0.7
    assert np.abs(radius[found] - 30).max() < 2.5
    drawn = with_edges(np.zeros_like(disc), [(disc, (255, 140, 0))])
    assert (drawn[found] == (255, 140, 0)).all()
    assert not drawn[~found].any()


def test_slices_are_shown_from_end_to_end_of_the_head_and_tiles_have_its_proportions() -> None:
    slices = [np.full((10, 20, 3), 100 if 5 <= k < 35 else 0, np.uint8) for k in range(40)]
    indices = shown_slices(slices)
    assert (len(indices), indices[0], indices[-1]) == (9, 5, 34)
    # Pixels of 1 mm by 4 mm: a slice is 20 mm wide and 40 mm high.
    sheet = mosaic(slices, indices, Grid((40, 10, 20), np.diag([1.0, 4.0, 2.0, 1.0])))
    assert sheet.shape == (3 * 420, 630, 3)


def test_an_image_without_foreground_and_a_single_slice_are_shown() -> None:
    black = [np.zeros((4, 4, 3), np.uint8)]
    assert shown_slices(black) == [0]
    assert not edges(black[0]).any()
