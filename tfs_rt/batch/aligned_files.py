"""The files of an aligned case: volumes, transforms, a page and, last, the sidecar.

OUTPUT/CASE/mr-t1.nii.gz, mr-t2.nii.gz, pet.nii.gz    images on one grid, as `tfs-rt fuse OUTPUT` finds them
OUTPUT/CASE/m2.tfm, functional.tfm                    for ITK: from the grid to each image that was moved
OUTPUT/CASE/quality.html                              a page to look at
OUTPUT/CASE/alignment.json                            figures, warnings, hashes of inputs and outputs
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt import __version__
from tfs_rt.batch.notices import input_warnings
from tfs_rt.batch.quality_page import quality_page
from tfs_rt.cases.align import Aligned, AlignOptions, doubts
from tfs_rt.cases.case import Case
from tfs_rt.cases.colour import has_colour
from tfs_rt.cases.load import ReadCase, ReadingOptions
from tfs_rt.cases.modalities import PLAIN_MR, modality_of
from tfs_rt.errors import InputError
from tfs_rt.facts import Facts, digest, json_bytes
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.png import encode_png
from tfs_rt.geometry.transform_file import itk_transform
from tfs_rt.optional import import_optional
from tfs_rt.output.provenance import RESEARCH_USE
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import file_sha256, path_sha256, read_regular

SIDECAR = "alignment.json"
PAGE = "quality.html"
DIGEST = "alignment_sha256"  # key of the sidecar's own digest, the last
LIMIT = 2**22  # bytes of a sidecar
BY_HEADER = {"CT": "ct", "PT": "pet", "NM": "spect"}  # names by DICOM's modality
DEFAULTS = {"m1": "mr-t1", "m2": "mr-t2", "functional": "pet"}  # names of images whose modality is not known


def recipe(reading: ReadingOptions) -> Facts:
    """All settings that decide what is written, and the versions."""
    return {
        "reading": reading.recipe(),
        "allow_lossy": reading.allow_lossy,
        "same_frame": reading.same_frame,
        "versions": {"tfs-rt": __version__, "numpy": np.__version__},
    }


def aligned_files(case: Case, read: ReadCase, settings: Facts, options: AlignOptions) -> tuple[Facts, dict[str, bytes]]:
    """The sidecar's facts, and the content of each file by its name, the sidecar last."""
    aligned = read.aligned
    if aligned is None:
        raise ValueError("the case was read without alignment")
    names = image_names(case, read.inputs)
    made_by = f"tfs-rt {__version__}"
    files: dict[str, bytes] = {}
    # The images.
    for slot, picture in aligned.pictures.items():
        if aligned.format == "png":
            files[f"{names[slot]}.png"] = encode_png(picture.slices[0])
        else:
            files[f"{names[slot]}.nii.gz"] = _volume(picture, aligned)
    # The transforms, and the page.
    for slot, transform in aligned.transforms.items():
        if aligned.facts[slot]["by"] != "target":
            files[f"{slot}.tfm"] = itk_transform(transform).encode()
    titles = {slot: f"{slot} ({name})" for slot, name in names.items()}
    files[PAGE] = quality_page(case.id, aligned, options.target, titles, made_by)
    # The sidecar.
    facts = {
        "case": case.id,
        "inputs": read.inputs,
        "outputs": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        "warnings": input_warnings(read.inputs),
        **settings,
        "notice": RESEARCH_USE,
        "recipe_sha256": _recipe_hash(case, {slot: facts["sha256"] for slot, facts in read.inputs.items()}, settings),
    }
    files[SIDECAR] = json_bytes(facts | {DIGEST: digest(facts)})
    return facts, files


def done_sidecar(folder: Path, case: Case, settings: Facts, *, strict: bool) -> Facts | None:
    """The sidecar of a case that is done: by these settings from these files, with all that it wrote; else None."""
    facts = read_sidecar(folder)
    if facts is None or (strict and any(map(doubts, facts["inputs"].values()))):
        return None
    try:
        hashes = {slot: path_sha256(path) for slot, path in case.files.items()}
        is_whole = all(file_sha256(folder / name) == sha256 for name, sha256 in facts["outputs"].items())
    except OSError:
        return None
    return facts if is_whole and facts["recipe_sha256"] == _recipe_hash(case, hashes, settings) else None


def is_stale(folder: Path, case: Case, settings: Facts) -> bool:
    """True if a folder holds what a run wrote by other settings, or of files that are known to have changed."""
    facts = read_sidecar(folder)
    if facts is None:
        return False
    try:
        hashes = {slot: path_sha256(path) for slot, path in case.files.items()}
    except OSError:
        return False
    return facts["recipe_sha256"] != _recipe_hash(case, hashes, settings)


def check_place(folder: Path) -> None:
    """InputError if a case's folder holds anything that no run has written: it would be lost."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise InputError(folder, "is a link or a file where a folder should go", "move it, or choose another --output")
    facts = read_sidecar(folder)
    own = {SIDECAR, *facts["outputs"]} if facts else set()
    other = sorted(path.name for path in folder.iterdir() if path.name not in own) if folder.is_dir() else []
    if other:
        reason = f"holds {other[0]}, which no run has written, and aligned images should go there"
        raise InputError(folder, reason, f"move {other[0]} away, or choose another --output")


def read_sidecar(folder: Path) -> Facts | None:
    """The sidecar in a case's folder; None if there is none, or it was changed."""
    try:
        facts: Any = json.loads(read_regular(folder / SIDECAR, LIMIT))
        own = facts.pop(DIGEST)
        return facts if own == digest(facts) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def image_names(case: Case, inputs: dict[str, Facts]) -> dict[str, str]:
    """By slot: the modality by which an image is called, from names or headers, such that no two are the same."""
    names: dict[str, str] = {}
    for slot in SLOTS:
        named = case.modalities.get(slot) or modality_of(case.files[slot])
        names[slot] = named or BY_HEADER.get(inputs[slot].get("modality", ""), DEFAULTS[slot])
    # MR without a word for its contrast is m2 beside CT alone; two of one modality cannot be told apart.
    if names["m1"] == PLAIN_MR:
        names["m1"] = DEFAULTS["m1"]
    if names["m2"] == names["m1"] or (names["m2"] == PLAIN_MR and names["m1"] != "ct"):
        names["m2"] = DEFAULTS["m2"]
    if names["m2"] == names["m1"]:
        names["m1"] = DEFAULTS["m1"]
    return names


def _volume(picture: Picture, aligned: Aligned) -> bytes:
    """A picture as NIfTI: its values with their window, or its colours or levels."""
    encoder = import_optional("tfs_rt.formats.nifti.values", "aligned volumes", "pip install 'tfs-rt[nifti]'")
    if picture.measured:
        values, window = picture.measured.values, picture.measured.window
    else:
        values, window = np.stack(picture.slices), None
        if not has_colour(picture):
            values = np.ascontiguousarray(values[..., 0])
    return encoder.encode_values(values, aligned.grid, window, in_space=aligned.in_space)


def _recipe_hash(case: Case, hashes: dict[str, str], settings: Facts) -> str:
    """SHA-256 of everything that decides a case's files."""
    return digest({"case": case.id, "inputs": hashes, **settings})
