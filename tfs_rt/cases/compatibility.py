"""Checks that the files of a case belong together: content, modality, size, patient, place and order of frames."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np

from tfs_rt.cases.case import Case
from tfs_rt.cases.colour import has_colour
from tfs_rt.cases.names import is_same_name
from tfs_rt.errors import InputError
from tfs_rt.facts import Facts
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.registry import place_format

# DICOM modalities that do not belong in a slot.
WRONG_MODALITIES = {"m1": ("PT", "NM"), "m2": ("PT", "NM"), "functional": ("CT", "MR")}
CHECK_FILES = "check which files belong together"
# Remedies for what must agree in the files of a case.
REMEDIES = {
    "patient": CHECK_FILES,
    "issuer of the patient's id": CHECK_FILES,
    "patient's birth date": CHECK_FILES,
    "patient's name": CHECK_FILES,
    "orientation": "give all three headers one, or none",
}
OTHER_REMEDY = "register and resample them onto one grid first, or give --align"
RESAMPLE = "resample them first, or give --align"
FRAME = "frame of reference"  # key of its UID
SAME_FRAME = f"{OTHER_REMEDY}, or give --same-frame if they are"
NAME = "patient's name"
# Keys of a subject that tell patients apart; the others say where an image lies.
PERSON = ("patient", "issuer of the patient's id", "patient's birth date", "patient's name")
IDENTIFIERS = ("patient", "patient's birth date")  # keys: two names are of one patient if both of these agree


def check_compatibility(
    case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts], *, same_frame: bool = False
) -> None:
    """Raise InputError if the pictures cannot be one case; `pictures` and `inputs` are by slot.

    Notes in `inputs` what is accepted all the same: two spellings of a name, a capture of a screen, and with
    `same_frame` different frames of reference.
    """
    _check_contents(case, pictures, inputs)
    _check_modalities(case, pictures, inputs)
    _check_sizes(case, pictures)
    _check_subjects(case, pictures, inputs)
    _check_frames_of_reference(case, pictures, inputs, same_frame=same_frame)
    _check_frame_orders(case, pictures)


def check_before_alignment(
    case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts], *, by_headers: bool, same_frame: bool
) -> None:
    """Raise InputError if pictures that may lie anywhere cannot be one case: they are of different patients.

    If the headers are to say how they lie to each other, they must also be of one space, or `same_frame` says so.
    """
    _check_contents(case, pictures, inputs)
    _check_modalities(case, pictures, inputs)
    persons = {
        slot: replace(picture, subject={key: value for key, value in picture.subject.items() if key in PERSON})
        for slot, picture in pictures.items()
    }
    _check_subjects(case, persons, inputs)
    if by_headers:
        _check_one_space(case, pictures, inputs, same_frame=same_frame)


def _check_one_space(case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts], *, same_frame: bool) -> None:
    """Refuse places that do not say that they are measured from one origin, unless the user says it."""
    spaces = {
        slot: (place_format(picture.facts["format"]), picture.subject.get(FRAME)) for slot, picture in pictures.items()
    }
    first, *others = spaces
    for slot in others:
        is_known = spaces[first][0] != "dicom" or spaces[first][1]
        if spaces[slot] == spaces[first] and is_known:
            continue
        if not same_frame:
            reason = f"{case.files[first].name} and {case.files[slot].name} do not say that they have one {FRAME}"
            raise InputError(f"case {case.id}", reason, "leave out --no-register, or give --same-frame if they have")
        inputs[slot].setdefault("same_frame_as", f"{first}, as --same-frame says")


def values_agree(a: Any, b: Any) -> bool:
    """True if two files say the same: places within the smaller of their tolerances, anything else exactly."""
    if not (isinstance(a, dict) and isinstance(b, dict)):
        return a == b
    try:
        if a["size"] != b["size"] or np.shape(a["corners"]) != np.shape(b["corners"]):
            return False
        distance = np.abs(np.subtract(a["corners"], b["corners"])).max()
        return bool(distance <= min(a["within"], b["within"]))
    except (KeyError, TypeError, ValueError):
        # A hostile file may have taken over its reader, and can answer anything.
        return False


def _check_contents(case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts]) -> None:
    """Refuse one image in two slots, whatever its files are called; black slices beyond the head may be the same."""
    for one, other in combinations(inputs, 2):
        is_same = _content(inputs[one]) == _content(inputs[other])
        if is_same and any(map(np.ptp, pictures[one].slices)):
            names = f"{case.files[one].name} and {case.files[other].name}"
            reason = f"{one} and {other} are the same file's content ({names})"
            raise InputError(f"case {case.id}", reason, "give each slot its own image")


def _content(facts: Facts) -> tuple[str, str]:
    """The hash of an input, and the series that it is of a folder with several."""
    return facts["sha256"], facts.get("series_instance_uid", "")


def _check_modalities(case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts]) -> None:
    """Refuse a file whose header says a modality of another slot: colours could be put on anything.

    A capture of a screen in colours says the modality of the program that it was taken from.
    """
    for slot, picture in pictures.items():
        modality = picture.facts.get("modality")
        if modality in WRONG_MODALITIES[slot]:
            if slot == "functional" and "capture" in picture.facts and has_colour(picture):
                inputs[slot]["capture_says"] = modality
                continue
            reason = f"says that it is {modality}, but lies in the {slot} slot"
            raise InputError(case.files[slot], reason, "swap the slots")


def _check_sizes(case: Case, pictures: dict[str, Picture]) -> None:
    """Refuse pictures of different sizes or numbers of slices."""
    sizes = {slot: _size(picture) for slot, picture in pictures.items()}
    if len(set(sizes.values())) > 1:
        names = ", ".join(f"{case.files[slot].name} {size}" for slot, size in sizes.items())
        raise InputError(f"case {case.id}", f"expected 3 images of one size, got {names}", RESAMPLE)


def _size(picture: Picture) -> str:
    """WIDTHxHEIGHT, and xSLICES of a volume."""
    height, width = picture.slices[0].shape[:2]
    count = len(picture.slices)
    return f"{width}x{height}x{count}" if count > 1 else f"{width}x{height}"


def _check_subjects(case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts]) -> None:
    """Refuse files that are of different patients, or that lie differently in space."""
    for (one, a), (other, b) in combinations(pictures.items(), 2):
        if place_format(a.facts["format"]) != place_format(
            b.facts["format"]
        ):  # each says in its own way how a grid lies
            continue
        for key in sorted((a.subject.keys() & b.subject.keys()) - {FRAME}):
            if values_agree(a.subject[key], b.subject[key]):
                continue
            if key == NAME and _is_one_patient(a.subject, b.subject):
                inputs[other].setdefault("name_spelled_unlike", one)
                continue
            reason = f"{case.files[one].name} and {case.files[other].name} do not have the same {key}"
            raise InputError(f"case {case.id}", reason, REMEDIES.get(key, OTHER_REMEDY))


def _is_one_patient(a: Facts, b: Facts) -> bool:
    """True if two subjects with different names have one id and birth date, and may have two spellings of one name."""
    if not all(key in a and key in b for key in IDENTIFIERS):
        return False
    return is_same_name(str(a[NAME]), str(b[NAME]))


def _check_frames_of_reference(
    case: Case, pictures: dict[str, Picture], inputs: dict[str, Facts], *, same_frame: bool
) -> None:
    """Refuse places that are measured from different origins, unless the user says that they are not."""
    frames = {slot: picture.subject[FRAME] for slot, picture in pictures.items() if FRAME in picture.subject}
    for (one, a), (other, b) in combinations(frames.items(), 2):
        if pictures[one].facts["format"] != pictures[other].facts["format"] or a == b:
            continue
        if not same_frame:
            reason = f"{case.files[one].name} and {case.files[other].name} do not have the same {FRAME}"
            raise InputError(f"case {case.id}", reason, SAME_FRAME)
        inputs[other].setdefault("same_frame_as", f"{one}, as --same-frame says")


def _check_frame_orders(case: Case, pictures: dict[str, Picture]) -> None:
    """Refuse frames that were sorted by their places beside those of a file without places."""
    reordered = [slot for slot, picture in pictures.items() if "frame_order" in picture.facts]
    unplaced: list[str] = []
    for slot, picture in pictures.items():
        if "grid" not in picture.subject and "order_from" not in picture.facts:
            unplaced.append(slot)
    if reordered and unplaced:
        one = case.files[reordered[0]].name
        other = case.files[unplaced[0]].name
        reason = f"frames of {one} are not stored in the order of their places, and {other} does not say where its lie"
        raise InputError(f"case {case.id}", reason, f"export {other} with the place of each frame, or both as NIfTI")
