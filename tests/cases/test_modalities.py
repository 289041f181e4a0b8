"""The modality of a file, by its name or by its folder's."""

from pathlib import Path

import pytest

from tfs_rt.cases.modalities import modality_of


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("k/CT.nii.gz", "ct"),
        ("ct/001.nii.gz", "ct"),
        ("study/CT", "ct"),  # a folder that is a series
        ("ct/mr-t1.png", "mr-t1"),  # the file's own name counts first
        ("ct/sub-01_T1w.nii.gz", "mr-t1"),
        ("k/001.nii.gz", None),
    ],
)
def test_a_modality_stands_in_the_name_of_the_file_or_else_of_its_folder(path: str, modality: str | None) -> None:
    assert modality_of(Path(path)) == modality
