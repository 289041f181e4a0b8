"""Make small BIDS datasets."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np

SIDE = 8
SUFFIXES = ("T1w", "T2w", "pet")
DATATYPE = {"pet": "pet", "ct": "ct", "spect": "spect"}  # folder by suffix; anat for the others
IDS = ("sub-01_desc-fused_T2w", "sub-02_ses-a_desc-fused_T2w", "sub-02_ses-b_desc-fused_T2w")  # of write_dataset


def write_image(dataset: Path, name: str, level: int = 100) -> Path:
    """Write a small volume into the folder that its name says."""
    path = _path(dataset, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    volume = np.stack([level + 8 * x + 4 * y + 10 * k for k in range(2)]).astype(np.uint8)
    nib.save(nib.Nifti1Image(volume.transpose(2, 1, 0), np.diag([-2.0, -2, 3, 1])), path)
    return path


def touch_images(dataset: Path, *names: str) -> Path:
    """Make empty files in the folders that their names say."""
    for name in names:
        path = _path(dataset, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return dataset


def _path(dataset: Path, name: str) -> Path:
    labels = name.split("_")
    folders = [label for label in labels if label.startswith(("sub-", "ses-"))]
    return dataset.joinpath(*folders, DATATYPE.get(labels[-1], "anat"), f"{name}.nii.gz")


def write_session(dataset: Path, labels: str, suffixes: tuple[str, ...] = SUFFIXES) -> None:
    """Write the images of a session, each brighter than the one before."""
    for number, suffix in enumerate(suffixes):
        write_image(dataset, f"{labels}_{suffix}", 60 + 20 * number)


def write_dataset(dataset: Path) -> Path:
    """Write a dataset of two subjects, one of them in two sessions."""
    write_session(dataset, "sub-01")
    for session in ("ses-a", "ses-b"):
        write_session(dataset, f"sub-02_{session}")
    description = {"Name": "made", "BIDSVersion": "1.10.0", "License": "CC0"}
    (dataset / "dataset_description.json").write_text(json.dumps(description))
    return dataset
