"""Names in an output folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tfs_rt.formats.registry import FORMATS
from tfs_rt.output.folder import (
    ENDINGS,
    RESERVED_IDS,
    SERIES,
    result_folders,
    result_name,
    result_names,
    result_stem,
    sidecar_name,
    spread_names,
)


@pytest.mark.parametrize(
    ("case_id", "stem"),
    [
        ("k1", "k1"),
        ("sub-01", "sub-01"),
        ("sub-01_desc-fused_T2w", "sub-01/anat/sub-01_desc-fused_T2w"),
        ("sub-01_ses-02_desc-fused_T2w", "sub-01/ses-02/anat/sub-01_ses-02_desc-fused_T2w"),
    ],
)
def test_only_ids_of_bids_lie_in_folders(case_id: str, stem: str) -> None:
    assert result_stem(case_id) == stem
    assert sidecar_name(case_id) == f"{stem}.json"
    assert result_name(case_id, "nifti") == f"{stem}.nii.gz"


def test_results_and_spreads_of_two_cases_never_share_a_name() -> None:
    names = [name for case_id in ("a", "b") for name in (*result_names(case_id), *spread_names(case_id))]
    assert len(set(names)) == len(names) == 18


def test_reserved_ids_are_those_whose_sidecar_would_be_a_file_of_a_run_or_a_bundle() -> None:
    assert {"report.json", "model.json", "dataset_description.json"} <= {sidecar_name(name) for name in RESERVED_IDS}


def test_results_are_looked_for_in_the_folder_and_in_folders_of_bids(tmp_path: Path) -> None:
    inner = [tmp_path / "sub-1" / "anat", tmp_path / "sub-2" / "ses-a" / "anat"]
    for folder in (*inner, tmp_path / "spread", tmp_path / "other" / "anat"):
        folder.mkdir(parents=True)
    assert result_folders(tmp_path) == [tmp_path, *inner]


def test_every_format_that_results_are_written_in_has_one_of_its_endings() -> None:
    written = {name: entry.endings for name, entry in FORMATS.items() if entry.writer}
    assert set(ENDINGS) == {*written, SERIES}
    for name, endings in written.items():
        assert ENDINGS[name] in endings
