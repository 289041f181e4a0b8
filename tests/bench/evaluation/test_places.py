"""Places of results and ground truth, by what their headers say."""

from typing import Any

import numpy as np

from tfs_rt.formats.picture import Picture
from tfs_rt_bench.evaluation.places import place_problem, place_warnings


def picture(form: str, corners: list[float] | None = None, slices: int = 2) -> Picture:
    image = np.zeros((4, 4, 3), np.uint8)
    subject: dict[str, Any] = {"grid": {"size": (4, 4), "corners": [corners], "within": 0.1}} if corners else {}
    return Picture((image,) * slices, {"format": form}, subject, None)


def test_only_places_that_both_headers_give_are_doubted() -> None:
    assert not place_problem(picture("dicom", [1, 2]), picture("dicom", [1, 2.01]))
    assert "different places" in place_problem(picture("dicom", [1, 2]), picture("dicom", [1, 3]))
    assert not place_problem(picture("dicom", [1, 2]), picture("png"))
    assert place_problem(picture("dicom", [1]), picture("nifti", [1])) == (
        "places in dicom and nifti files are not compared"
    )
    assert not place_problem(picture("dicom", [1], 1), picture("nifti", [1], 1))


def test_cases_with_one_problem_are_counted_in_one_line() -> None:
    found = place_warnings([("ours", "a", "odd"), ("ours", "b", ""), ("ours", "c", "odd"), ("x2", "a", "odd")])
    assert [line.split(":")[0] for line in found] == [
        "ours and its ground truth, case a and 1 more",
        "x2 and its ground truth, case a",
    ]
