"""Pair images by modality: two anatomical images and a functional one make a case."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.cases.case import Case, FoundCase, Problem, RefusedCase
from tfs_rt.cases.listing import shorten
from tfs_rt.cases.modalities import ANATOMICAL, FUNCTIONAL, MODALITIES
from tfs_rt.errors import InputError
from tfs_rt.spec import SLOTS

LIST_IT = "list the case in a CSV with id,m1,m2,functional"


@dataclass(frozen=True, slots=True)
class Candidate:
    """Images that may be one case, by modality."""

    id: str
    folder: Path
    images: dict[str, list[Path]] = field(default_factory=dict)  # by modality
    other_images: list[str] = field(default_factory=list)  # names of images that are not called by a modality
    problem: Problem | None = None  # it is refused, whatever its images are
    hint: Problem | None = None  # explains best why images are missing, if any are
    dataset: Path | None = None  # the BIDS dataset that holds it


def pair(candidate: Candidate, naming_remedy: str, *, any_pair: bool) -> FoundCase:
    """The case of a candidate's images, or the refused case with the problem of them.

    `naming_remedy` is given if no image is named by a modality. `any_pair` accepts a pair without mr-t2, in the order
    of ANATOMICAL.
    """
    problem = candidate.problem
    if not problem and (incomplete := _problem(candidate, naming_remedy, any_pair)):
        problem = candidate.hint or incomplete
    if problem:
        files = tuple(file for files in candidate.images.values() for file in files)
        return RefusedCase(candidate.id, InputError(candidate.folder, *problem), files)
    in_slot_order = [candidate.images[name][0] for name in MODALITIES if name in candidate.images]
    return Case(candidate.id, dict(zip(SLOTS, in_slot_order, strict=True)), dataset=candidate.dataset)


def _problem(candidate: Candidate, naming_remedy: str, any_pair: bool) -> Problem | None:
    """The reason why the images are not one case; None if they are."""
    if not candidate.images:
        names = f" (found {shorten(candidate.other_images)})" if candidate.other_images else ""
        return Problem(f"no file is named by its modality{names}", naming_remedy)

    # One file for each modality.
    for modality, files in candidate.images.items():
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            reason = f"found {len(files)} images of {modality} ({names}); expected one"
            return Problem(reason, f"keep one, or {LIST_IT}")

    # One functional and two anatomical images.
    functional = [name for name in FUNCTIONAL if name in candidate.images]
    if len(functional) != 1:
        return _wrong_number(candidate, "functional", len(functional), 1, "one of pet, spect")
    anatomical = [name for name in ANATOMICAL if name in candidate.images]
    if len(anatomical) != 2:
        others = ", ".join(name for name in ANATOMICAL if name != "mr-t2")
        expected = f"two of {', '.join(ANATOMICAL)}" if any_pair else f"mr-t2 and one of {others}"
        return _wrong_number(candidate, "anatomical", len(anatomical), 2, expected)

    # The order of the two.
    if "mr-t2" not in anatomical and not any_pair:
        names = " and ".join(sorted(anatomical))
        reason = f"it is not known which of {names} is m2 (the models were trained with mr-t2 as m2)"
        return _missing(candidate, reason, LIST_IT)
    return None


def _wrong_number(candidate: Candidate, kind: str, number: int, right: int, expected: str) -> Problem:
    """The problem of too many or too few images, with the names of all that there are."""
    names = ", ".join(file.name for files in candidate.images.values() for file in files)
    images = "image" if number == 1 else "images"
    reason = f"found {number} {kind} {images} in {names}; expected {expected}"
    if number > right:
        return Problem(reason, f"remove the others, or {LIST_IT}")
    return _missing(candidate, reason, f"add what is missing, or {LIST_IT}")


def _missing(candidate: Candidate, reason: str, remedy: str) -> Problem:
    """The problem of a missing image. An image whose name is not a modality may be the one: it is named."""
    if not candidate.other_images:
        return Problem(reason, remedy)
    known = ", ".join(MODALITIES)
    return Problem(
        f"{reason}; {shorten(candidate.other_images)} does not name a modality",
        f"rename it by its modality (known: {known}), or {LIST_IT}",
    )
