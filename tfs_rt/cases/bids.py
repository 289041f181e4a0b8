"""BIDS datasets: each session of each subject is a case.

DATASET/sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz        also T2w, PDw, FLAIR, ct, pet, spect, in any datatype folder

`tfs_rt.cases.bids_choice` chooses among several images of one modality, and `tfs_rt.cases.bids_sessions` gives sessions
without anatomical images those of the subject.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from tfs_rt.cases import bids_names
from tfs_rt.cases.bids_choice import BidsChoice, differences
from tfs_rt.cases.bids_sessions import share_anatomy
from tfs_rt.cases.case import FoundCase, Problem
from tfs_rt.cases.listing import shorten
from tfs_rt.cases.pairing import LIST_IT, Candidate, pair
from tfs_rt.cases.source import Source, SourceKind
from tfs_rt.errors import UsageError
from tfs_rt.output.bids_derivative import DESCRIPTION
from tfs_rt.output.folder import BIDS_RESULT
from tfs_rt.output.marks import is_result

WITH_IMAGES = {"anat", "ct", "nm", "pet", "spect"}
OTHERS = {"beh", "dwi", "eeg", "fmap", "func", "ieeg", "meg", "micr", "motion", "mrs", "nirs", "perf"}
DATATYPES = WITH_IMAGES | OTHERS
PATTERN = "sub-<label>[_ses-<label>][_<entity>-<label>]_<T1w, T2w, PDw, FLAIR, ct, pet or spect>.nii.gz"
NAMING = f"name the images of a session {PATTERN}"


def dataset_of(folder: Path) -> Path | None:
    """The dataset that a folder is, or that it is a subject or session of; None if it looks like none of them."""
    if (folder / DESCRIPTION).is_file() or any(map(_holds_data, _folders(folder, "sub-"))):
        return folder
    subject = _subject_of(folder)
    is_part = subject.name.startswith("sub-") and _holds_data(folder)
    return subject.parent if is_part else None


def _subject_of(folder: Path) -> Path:
    """The subject's folder of a session's, and any other folder itself."""
    return folder.parent if folder.name.startswith("ses-") and folder.parent.name.startswith("sub-") else folder


def _recognises(source: Source) -> bool:
    return source.path.is_dir() and dataset_of(source.path) is not None


def _find_cases(source: Source) -> Iterator[FoundCase]:
    dataset = dataset_of(source.path)
    is_dataset = dataset == source.path
    subjects = _folders(source.path, "sub-") if is_dataset else [_subject_of(source.path)]
    candidates: list[Candidate] = []
    for subject in subjects:
        sessions = _sessions(subject, dataset, source.bids)
        candidates += share_anatomy(sessions, source.bids, by_options=source.has_options)
    if source.path.name.startswith("ses-"):
        candidates = [candidate for candidate in candidates if candidate.folder == source.path]
    included = [candidate for candidate in candidates if source.bids.includes(candidate.id)]
    if candidates and not included:
        raise UsageError(
            "--bids", f"chooses no session of {source.path}", f"it has {shorten([c.id for c in candidates])}"
        )
    for candidate in included:
        named = replace(candidate, id=_case_id(candidate, source.bids))
        yield pair(_checked(named, source), NAMING, any_pair=source.any_pair)


def _sessions(subject: Path, dataset: Path | None, choice: BidsChoice) -> list[Candidate]:
    """The sessions of a subject that hold images, the subject's own folder first. Their ids are without a suffix."""
    candidates: list[Candidate] = []
    try:
        for folder in (subject, *_folders(subject, "ses-")):
            candidate = _session(subject, folder, dataset, choice)
            if candidate.images or candidate.problem:
                candidates.append(candidate)
    except OSError as error:
        problem = Problem(f"cannot be read ({error.strerror})", "check its permissions")
        candidates.append(Candidate(subject.name, subject, problem=problem))
    return candidates


def _session(subject: Path, folder: Path, dataset: Path | None, choice: BidsChoice) -> Candidate:
    """The chosen images in the datatype folders of a session, or of a subject without sessions."""
    labels = [subject.name] if folder == subject else [subject.name, folder.name]
    # Sort the images by modality, and check each name against its folder.
    images: dict[str, list[Path]] = {}
    problem = None
    for file in _image_files(folder):
        name = bids_names.parse(file.name)
        if name is None:
            problem = Problem(f"{file.name} is not a valid BIDS name", f"name it {PATTERN}")
            continue
        images.setdefault(name.modality, []).append(file)
        named = [f"{key}-{name.entities[key]}" for key in ("sub", "ses") if key in name.entities]
        if named != labels:
            reason = f"{file.name} is a name of {' and '.join(named)}, but lies in a folder of {' and '.join(labels)}"
            problem = Problem(reason, "move it to the folder of its name, or rename it")

    # Take those that were chosen, and say which were not if an image is missing then.
    chosen = choice.select(images)
    left_out = tuple(file for modality, files in images.items() if modality not in chosen for file in files)
    reason = f"--bids leaves none of {shorten([file.name for file in left_out])}"
    hint = Problem(reason, f"give labels that its images have, or {LIST_IT}") if left_out else None
    if not chosen:
        problem = problem or hint
    return Candidate("_".join(labels), folder, chosen, problem=problem, hint=hint, dataset=dataset, left_out=left_out)


def _case_id(candidate: Candidate, choice: BidsChoice) -> str:
    """The id of a session's case: a valid BIDS name, with the entities by which its images were chosen."""
    # A refused case may not stand for the result of other images.
    labels = choice.requested_labels if candidate.problem else choice.result_labels(candidate.images)
    return "_".join([candidate.id, *labels, "desc-fused_T2w"])


def _checked(candidate: Candidate, source: Source) -> Candidate:
    """A candidate with the problem of a label that is not valid, or with the entities that tell equal images apart."""
    if not BIDS_RESULT.fullmatch(candidate.id):
        label = candidate.folder.name
        return replace(
            candidate, problem=Problem(f"{label} is not a valid BIDS label", "write only letters and digits")
        )
    groups = dict(candidate.images)
    if {"mr-t1", "mr-gad", "mr-t2"} <= groups.keys():
        groups["T1w"] = [*groups["mr-t1"], *groups["mr-gad"]]
    for modality, files in groups.items():
        found = differences(files) if len(files) > 1 else {}
        if found and not candidate.hint:
            names = ", ".join(file.name for file in files)
            seen = "; ".join(f"{key}: {', '.join(labels)}" for key, labels in found.items())
            reason = f"found {len(files)} images of {modality} ({names}); expected one. They differ in {seen}"
            key, labels = next(iter(found.items()))
            option = f"choose one by --bids {key}={f', or {key}='.join(reversed(labels))}"
            return replace(candidate, hint=Problem(reason, option if source.has_options else LIST_IT))
    return candidate


def _image_files(folder: Path) -> list[Path]:
    """Files named like images in a session's datatype folders, without results of ours.

    A link to content that was not fetched counts, too: reading it will say so.
    """
    images: list[Path] = []
    for place in _folders(folder):
        if place.name in DATATYPES:
            with os.scandir(place) as entries:
                names = [e.name for e in entries if bids_names.is_image(e.name) and not e.is_dir()]
            images += [place / name for name in sorted(names) if not name.startswith(".")]
    return [file for file in images if not _is_result(file)]


def _is_result(file: Path) -> bool:
    """True if a file has the name of a result and says that we made it."""
    return bool(BIDS_RESULT.fullmatch(file.name.partition(".")[0])) and is_result(file)


def _folders(folder: Path, prefix: str = "") -> list[Path]:
    """The folders in a folder whose names begin with a prefix, sorted."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def _holds_data(subject: Path) -> bool:
    """True if a subject's folder holds images in datatype folders; False if it cannot be listed."""
    try:
        return any(_image_files(place) for place in (subject, *_folders(subject, "ses-")))
    except OSError:
        return False


BIDS = SourceKind(name="BIDS dataset", naming_remedy=NAMING, recognises=_recognises, find_cases=_find_cases)
