"""Marks in an image that name tfs-rt as its maker, so that results are never taken for inputs."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path

from tfs_rt.facts import Facts
from tfs_rt.output.folder import SERIES_FILE
from tfs_rt.output.provenance import RESEARCH_USE
from tfs_rt.system.files import open_regular

MARKS = (b"tfs-rt:case", b"tfs-rt recipe:")
HEAD = 2**13  # bytes from the start of a file, in which its text lies
NIFTI_HEADER = 352  # bytes


def png_text(case_id: str, inputs: dict[str, str], provenance: Facts, recipe: str) -> dict[str, str]:
    """Text for a result image, in case its sidecar is lost. No path and no time, but the case's id.

    `inputs` are the inputs' SHA-256 by slot, and `recipe` is the recipe's hash.
    """
    made_by = provenance.get("method") or provenance["model"]["name"]
    return {
        "Software": f"tfs-rt {provenance['versions']['tfs-rt']}",
        "tfs-rt:case": case_id,
        "tfs-rt:made-by": made_by.encode(errors="backslashreplace").decode(),
        "tfs-rt:recipe-sha256": recipe,
        "tfs-rt:inputs-sha256": " ".join(inputs.values()),
        "tfs-rt:seed": str(provenance["seed"]),
        "Disclaimer": f"image made by fusion; {RESEARCH_USE}",
    }


def is_result_folder(folder: Path, names: Sequence[str]) -> bool:
    """True for the folder of a series that is a result; `names` are those of all entries in it."""
    return bool(names) and all(map(SERIES_FILE.fullmatch, names)) and is_result(folder / min(names))


def is_result(image: Path) -> bool:
    """True if an image's PNG text, DICOM equipment or NIfTI description names tfs-rt as its maker."""
    try:
        with open_regular(image) as file:
            head = file.read(HEAD)
            if image.name.endswith(".nii.gz"):
                head = zlib.decompressobj(wbits=31).decompress(head, NIFTI_HEADER)
            return any(mark in head for mark in MARKS)
    except (OSError, zlib.error):
        return False
