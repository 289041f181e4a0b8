"""The place of a result of another size: the outer corners of every slice stay where they were."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from support.made_series import ACROSS, COLUMNS, DOWN, FIRST, NORMAL, REFERENCE, ROWS, SPACING, STEP, source_corners
from tfs_rt.formats.dicom.placement import is_placed, placement_of

DIRECTIONS = (*ACROSS.tolist(), *DOWN.tolist())


def frame(slices: int = 3, **changes: Any) -> dict[str, Any]:
    """A `Picture.frame` of an oblique volume, as far as placing needs it."""
    planes = tuple((tuple((FIRST + STEP * index * NORMAL).tolist()), DIRECTIONS, SPACING) for index in range(slices))
    known = {"planes": planes, "rows": ROWS, "columns": COLUMNS, "thickness": 3.0, "frame_of_reference": REFERENCE}
    return known | changes


@pytest.mark.parametrize(("rows", "columns"), [(ROWS, COLUMNS), (4 * ROWS, 4 * COLUMNS), (17, 31), (3, 4)])
def test_the_corners_of_every_slice_stay_at_any_size(rows: int, columns: int) -> None:
    placement = placement_of([frame()], rows, columns)
    assert placement
    for place, expected in zip(placement.slices, source_corners(), strict=True):
        # PS3.3 C.7.6.2.1.1, for the corners half a pixel outside the centres.
        across, down = np.array(place.directions[:3]), np.array(place.directions[3:])
        row_step, column_step = place.spacing
        found = [
            np.array(place.position) + across * column_step * column + down * row_step * row
            for row in (-0.5, rows - 0.5)
            for column in (-0.5, columns - 0.5)
        ]
        np.testing.assert_allclose(found, expected, atol=1e-10)


def test_the_first_pixels_centre_moves_by_three_eighths_of_a_pixel_at_four_times_the_size() -> None:
    flat = ((0.0, 0.0, 7.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (2.0, 1.0))
    placement = placement_of([frame(planes=(flat,))], 4 * ROWS, 4 * COLUMNS)
    assert placement
    (place,) = placement.slices
    # A pixel of 1 x 2 mm becomes 4 x 4 pixels of 0.25 x 0.5 mm; the first one's centre is 3/8 nearer to the corner.
    assert place == ((-0.375, -0.75, 7.0), flat[1], (0.5, 0.25), 7.0)
    assert placement.between is None


def test_slices_keep_their_distance_and_their_order() -> None:
    placement = placement_of([frame()], 16, 20)
    assert placement
    assert placement.between == pytest.approx(STEP, abs=1e-10)
    assert (placement.thickness, placement.frame_of_reference) == (3.0, REFERENCE)
    steps = np.diff([place.location for place in placement.slices])
    np.testing.assert_allclose(steps, STEP, atol=1e-10)


def test_the_first_source_with_places_counts_and_any_frame_of_reference() -> None:
    unplaced = frame(planes=(None,) * 3, frame_of_reference="1.2.3")
    placement = placement_of([unplaced, frame(frame_of_reference="")], ROWS, COLUMNS)
    assert placement
    assert placement.slices[0].position == pytest.approx(FIRST)
    assert placement.frame_of_reference == "1.2.3"
    assert placement_of([unplaced], ROWS, COLUMNS) is None


def test_only_distinct_places_with_a_spacing_are_places() -> None:
    (one, two, three) = frame()["planes"]
    assert is_placed(frame())
    assert not is_placed(None)
    assert not is_placed(frame(planes=(one, None, three)))
    assert not is_placed(frame(planes=(one, one, three)))
    assert not is_placed(frame(planes=((*one[:2], ()), two, three)))
    assert not is_placed(frame(planes=()))
