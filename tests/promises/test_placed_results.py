"""DICOM volumes through the whole command: a series comes out, at the place of its sources, and is kept or replaced."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from support.helpers import Cli, write_case
from support.made_series import ACROSS, COLUMNS, DOWN, ROWS, SLICES, source_corners, write_volume_case

NAMES = [f"000{number}.dcm" for number in range(1, SLICES + 1)]
CORNERS = ((-0.5, -0.5), (-0.5, 4 * COLUMNS - 0.5), (4 * ROWS - 0.5, -0.5), (4 * ROWS - 0.5, 4 * COLUMNS - 0.5))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of one case, a DICOM volume."""
    write_volume_case(tmp_path / "in" / "k")
    return tmp_path / "in"


def corner_places(dataset: Dataset) -> list[np.ndarray]:
    """The outer corners of a slice by its own header (PS3.3 C.7.6.2.1.1)."""
    position = np.array([float(number) for number in dataset.ImagePositionPatient])
    down, across = (float(number) for number in dataset.PixelSpacing)
    return [position + DOWN * down * row + ACROSS * across * column for row, column in CORNERS]


def test_a_dicom_volume_gives_a_series_where_it_was_with_the_same_bytes_every_time(
    source: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    done = cli("fuse", source, "-o", out, "--samples", 2, "--batch", 2, "--sheet")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (out / "k").iterdir()) == NAMES
    for name, expected in zip(NAMES, source_corners(), strict=True):
        np.testing.assert_allclose(corner_places(pydicom.dcmread(out / "k" / name)), expected, atol=1e-4)
        np.testing.assert_allclose(corner_places(pydicom.dcmread(out / "spread" / "k" / name)), expected, atol=1e-4)
    result = json.loads((out / "k.json").read_text())["result"]
    assert (result["file"], result["slices"], result["form"]) == ("k", SLICES, "series")
    # It is kept and shown on a sheet, and another run writes the same bytes.
    sheet = (out / "sheets" / "001.png").read_bytes()
    assert "1 of them already" in cli("fuse", source, "-o", out, "--samples", 2, "--sheet").err
    assert (out / "sheets" / "001.png").read_bytes() == sheet
    assert cli("fuse", source, "-o", tmp_path / "two", "--samples", 2).code == 0
    for folder in ("k", "spread/k"):
        for name in NAMES:
            assert (out / folder / name).read_bytes() == (tmp_path / "two" / folder / name).read_bytes()


def test_verify_names_a_series_that_was_changed_or_has_no_sidecar(source: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    assert cli("fuse", source, "-o", out).code == 0
    assert cli("verify", out).code == 0
    slice_2 = (out / "k" / "0002.dcm").read_bytes()
    (out / "k" / "0002.dcm").write_bytes(slice_2[:-1] + b"x")
    changed = cli("verify", out)
    assert (changed.code, f"{out}/k: is not the series that was written" in changed.err) == (3, True)
    (out / "k" / "0002.dcm").unlink()
    assert cli("verify", out).code == 3
    (out / "k" / "0002.dcm").write_bytes(slice_2)
    (out / "k.json").unlink()
    alone = cli("verify", out)
    assert (alone.code, f"{out}/k: has no sidecar" in alone.err) == (3, True)
    assert cli("fuse", source, "-o", out).code == 0
    assert cli("verify", out).code == 0


def test_multi_frame_gives_one_file_and_is_refused_where_the_result_is_not_dicom(
    source: Path, tmp_path: Path, cli: Cli
) -> None:
    out = tmp_path / "out"
    write_case(source / "p")
    done = cli("fuse", source, "-o", out, "--multi-frame")
    assert done.code == 3
    assert "p: case p: its result is PNG, and --multi-frame is for DICOM: leave out --multi-frame" in done.err
    assert pydicom.dcmread(out / "k.dcm").NumberOfFrames == SLICES
    assert "1 of them already" in cli("fuse", source, "-o", out, "--multi-frame").err
    # Without it, the series takes the file's place.
    assert cli("fuse", source, "-o", out).code == 0
    assert sorted(path.name for path in out.glob("k*")) == ["k", "k.json"]
    refused = cli("fuse", source, "-o", out, "--multi-frame")
    assert (refused.code, "multi_frame: null there, true now" in refused.err) == (2, True)


def test_a_single_slice_with_a_place_is_one_file_with_that_place(tmp_path: Path, cli: Cli) -> None:
    write_volume_case(tmp_path / "in" / "k", slices=1)
    assert cli("fuse", tmp_path / "in", "-o", tmp_path / "out", "--multi-frame").code == 0
    dataset = pydicom.dcmread(tmp_path / "out" / "k.dcm")
    (expected,) = source_corners(1)
    np.testing.assert_allclose(corner_places(dataset), expected, atol=1e-4)


def test_a_series_never_takes_the_place_of_files_of_somebody_else(source: Path, tmp_path: Path, cli: Cli) -> None:
    before = sorted(path.name for path in (source / "k").iterdir())
    done = cli("fuse", source, "-o", source)
    assert done.code == 4
    assert (
        f"{source}/k: holds mr-t1.dcm, which no run has written, and a result should go there: move mr-t1.dcm away"
        in done.err
    )
    assert sorted(path.name for path in (source / "k").iterdir()) == before
    assert not (source / "k.json").exists()


def test_results_in_a_folder_of_cases_are_not_cases(tmp_path: Path, cli: Cli) -> None:
    write_volume_case(tmp_path / "in" / "p1" / "s1")
    for kept in ("", ", 1 of them already"):
        done = cli("fuse", tmp_path / "in", "-o", tmp_path / "in")
        assert (done.code, f"1 of 1 cases fused into {tmp_path}/in{kept}" in done.err) == (0, True), done.err
    assert cli("verify", tmp_path / "in").code == 0
