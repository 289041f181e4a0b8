"""Choice among the images of a BIDS dataset by the entities in their names: `--bids space=MNI152NLin2009cAsym,run=1`.

An entity is a key and a label, as `run-1`. An image without the entity stays if no image of its modality in the session
has it, except for `space`: an image without it is in its own space. In `space=T1w` it is native anatomy that has none.
An entity of one acquisition (`acq-mprage`) leaves the modalities alone in which no image has the label, if another has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.cases import bids_names
from tfs_rt.cases.modalities import FUNCTIONAL
from tfs_rt.errors import UsageError

# Keys in the order in which names have them (BIDS 1.10, appendix of entities; `cohort` belongs to `space`).
ENTITIES = (
    *("sub", "ses", "sample", "task", "acq", "ce", "trc", "stain", "rec", "dir", "run", "mod", "echo", "flip", "inv"),
    *("mt", "part", "proc", "hemi", "space", "cohort", "split", "chunk", "seg", "res", "den", "label", "desc"),
)
NUMBERS = ("run", "echo", "flip", "inv", "split")  # their labels are numbers: 01 is 1
OF_FOLDERS = ("sub", "ses")  # choose subjects and sessions, not images in them
NOT_IN_RESULTS = ("sub", "ses", "desc")  # a result has its own
# Say how one modality was acquired, so that the others have labels of their own.
OF_ACQUISITION = ("task", "acq", "trc", "rec", "mod", "echo", "flip", "inv", "mt", "part")
NONE = "none"  # stands for images without the entity
ANAT_SESSION = "anat-ses"  # a key of ours: the session of the anatomical images
KEYS = (*ENTITIES, ANAT_SESSION)
ANATOMICAL_SPACES = ("T1w", "T2w")
Images = Mapping[str, list[Path]]  # by modality


@dataclass(frozen=True, slots=True)
class BidsChoice:
    """The images to take from BIDS datasets."""

    labels: dict[str, str] = field(default_factory=dict)  # by entity; NONE for images without it
    anat_session: str | None = None  # label of the session whose anatomical images go with all others' functional ones

    def includes(self, session: str) -> bool:
        """True if a session, `sub-01_ses-02` or `sub-01`, is among those that were chosen."""
        entities = dict(word.split("-", 1) for word in session.split("_") if "-" in word)
        return all(self.labels[key] == entities.get(key, NONE) for key in OF_FOLDERS if key in self.labels)

    def select(self, images: Images) -> dict[str, list[Path]]:
        """The images that are chosen, by modality; modalities without one are left out."""
        chosen = {modality: list(files) for modality, files in images.items()}
        for key, label in self.labels.items():
            if key in OF_FOLDERS:
                continue
            chosen = _chosen_by(chosen, key, label)
        return {modality: files for modality, files in chosen.items() if files}

    @property
    def requested_labels(self) -> list[str]:
        """The chosen entities that the name of a result has: `space-T1w`."""
        named = [key for key in ENTITIES if key in self.labels and key not in NOT_IN_RESULTS]
        return [f"{key}-{self.labels[key]}" for key in named if self.labels[key] != NONE]

    def result_labels(self, images: Images) -> list[str]:
        """The chosen entities that some of these images have, as a result's name has them: `space-T1w`."""
        words: list[str] = []
        for key in [key for key in ENTITIES if key in self.labels and key not in NOT_IN_RESULTS]:
            found = [_entities(file).get(key) for files in images.values() for file in files]
            words += [f"{key}-{label}" for label in found if label and _is_same(key, label, self.labels[key])][:1]
        return words

    def check_used(self, files: Iterable[Path]) -> None:
        """UsageError if no image of the datasets, given by their files, has one of the entities."""
        found = [_entities(file) for file in files]
        for key, label in self.labels.items():
            if label != NONE and not any(key in entities for entities in found):
                raise UsageError("--bids", f"no image of a BIDS dataset has the entity {key!r}", "leave it out")
        if self.anat_session and not any(entities.get("ses") == self.anat_session for entities in found):
            reason = f"no image of a BIDS dataset is of ses-{self.anat_session}"
            raise UsageError("--bids", reason, f"give {ANAT_SESSION} the label of a session")


def differences(files: Iterable[Path]) -> dict[str, list[str]]:
    """The entities in which images differ, with their labels, NONE first."""
    all_entities = [_entities(file) for file in files]
    found: dict[str, list[str]] = {}
    for key in ENTITIES:
        labels = {entities.get(key, NONE) for entities in all_entities}
        if len(labels) > 1:
            found[key] = sorted(labels, key=lambda label: (label != NONE, label))
    return found


def _chosen_by(images: Images, key: str, label: str) -> dict[str, list[Path]]:
    """The images that one entity chooses, by modality."""
    chosen = {
        modality: _select(files, key, label, is_anatomical=modality not in FUNCTIONAL)
        for modality, files in images.items()
    }
    # T1 with a contrast medium is chosen in place of T1 without.
    if key == "ce" and label != NONE and chosen.get("mr-gad"):
        chosen["mr-t1"] = []
    # A label that is of one modality alone says nothing about the others.
    has_label = any(_has_label(file, key, label) for files in images.values() for file in files)
    if key in OF_ACQUISITION and has_label:
        chosen = {modality: files or images[modality] for modality, files in chosen.items()}
    return chosen


def _has_label(file: Path, key: str, label: str) -> bool:
    return _is_same(key, _entities(file).get(key, NONE), label)


def _select(files: list[Path], key: str, label: str, *, is_anatomical: bool) -> list[Path]:
    labels = {file: _entities(file).get(key) for file in files}
    matching = [file for file in files if _is_same(key, labels[file] or NONE, label)]
    without = [file for file in files if labels[file] is None]
    # The space of a native anatomical image is that of the anatomy.
    if key == "space":
        is_native = is_anatomical and label in ANATOMICAL_SPACES
        return matching or (without if is_native else [])
    return files if len(without) == len(files) else matching


def _is_same(key: str, label: str, wanted: str) -> bool:
    if key in NUMBERS and label.isdigit() and wanted.isdigit():
        return int(label) == int(wanted)
    return label == wanted


def _entities(file: Path) -> dict[str, str]:
    name = bids_names.parse(file.name)
    return name.entities if name else {}
