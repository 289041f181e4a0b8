"""Names of modalities, and their order in the slots m1, m2, functional."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tfs_rt.cases import bids_names
from tfs_rt.cases.listing import image_stem

ANATOMICAL = ("ct", "mr-t1", "mr-gad", "mr-pd", "mr-t2")  # in slot order: mr-t2 is m2 in every published group
FUNCTIONAL = ("pet", "spect")
MODALITIES = (*ANATOMICAL, *FUNCTIONAL)  # in slot order


def modality_of_name(name: str) -> str | None:
    """The modality that a file or folder is called: `mr-t1` for MR_T1.PNG; None if its name is another."""
    stem = image_stem(name).lower().replace("_", "-")
    return stem if stem in MODALITIES else None


def modality_of(file: Path) -> str | None:
    """The modality in a file's name, in that of a BIDS image, or else in its folder's; None if there is none."""
    if modality := modality_of_name(file.name):
        return modality
    bids_name = bids_names.parse(file.name)
    return bids_name.modality if bids_name else modality_of_name(file.parent.name)


def any_modality(names: Iterable[str]) -> bool:
    """True if any of the names is that of a modality."""
    return any(map(modality_of_name, names))
