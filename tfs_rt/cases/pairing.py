"""Pair images by modality: two anatomical images and a functional one make a case."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tfs_rt.cases.case import Case, FoundCase, Problem, RefusedCase
from tfs_rt.cases.listing import MOST_NAMES, shorten
from tfs_rt.cases.modalities import ANATOMICAL, AS_T2, FLAIR, FUNCTIONAL, KNOWN, PLAIN_MR, exact_modality, parse
from tfs_rt.errors import InputError
from tfs_rt.spec import SLOTS

LIST_IT = "list the case in a CSV with id,m1,m2,functional"
ALL_ANATOMICAL = (*ANATOMICAL, *AS_T2)  # in slot order
AS_M1 = ANATOMICAL[:-1]  # go with mr-t2


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
    left_out: tuple[Path, ...] = ()  # all images of the modalities of which --bids leaves none


def pair(candidate: Candidate, naming_remedy: str, *, any_pair: bool) -> FoundCase:
    """The case of a candidate's images, or the refused case with the problem of them.

    `naming_remedy` is given if no image is named by a modality. `any_pair` accepts a pair without mr-t2, in the order
    of ALL_ANATOMICAL.
    """
    problem = candidate.problem
    if not problem and (incomplete := _problem(candidate, naming_remedy, any_pair)):
        problem = candidate.hint or incomplete
    if problem:
        files = tuple(file for files in candidate.images.values() for file in files) + candidate.left_out
        return RefusedCase(candidate.id, InputError(candidate.folder, *problem), files, dataset=candidate.dataset)
    present = _anatomical(candidate.images) + [name for name in FUNCTIONAL if name in candidate.images]
    in_slot_order = [name for name in (*ALL_ANATOMICAL, *FUNCTIONAL) if name in present]
    modalities = dict(zip(SLOTS, in_slot_order, strict=True))
    files = {slot: candidate.images[name][0] for slot, name in modalities.items()}
    return Case(candidate.id, files, dataset=candidate.dataset, modalities=modalities)


def is_whole(candidate: Candidate, *, any_pair: bool) -> bool:
    """True if a candidate's images are one case."""
    return not candidate.problem and not _problem(candidate, "", any_pair)


def functional_slot(modalities: Iterable[str]) -> dict[str, str]:
    """The functional one of some modalities, by its slot; empty if there is none, or more than one."""
    found = [name for name in modalities if name in FUNCTIONAL]
    return {"functional": found[0]} if len(found) == 1 else {}


def anatomical_slots(modalities: Collection[str]) -> dict[str, str]:
    """The two anatomical ones of some modalities, by slot; empty if there are not two, or their order is not known."""
    found = _anatomical(modalities)
    return dict(zip(SLOTS, found, strict=False)) if len(found) == 2 and _is_known_order(*found) else {}


def may_hold_a_case(modalities: Collection[str], *, any_pair: bool) -> bool:
    """True if images of some of these modalities can be a case."""
    anatomical = [name for name in ALL_ANATOMICAL if name in modalities]
    pairs = [(m1, m2) for index, m1 in enumerate(anatomical) for m2 in anatomical[index + 1 :]]
    has_pair = any(any_pair or _is_known_order(m1, m2) for m1, m2 in pairs)
    return has_pair and not set(FUNCTIONAL).isdisjoint(modalities)


def _anatomical(modalities: Collection[str]) -> list[str]:
    """The anatomical ones among modalities, in slot order. FLAIR stands in for mr-t2 and is left out beside it."""
    found = [name for name in ALL_ANATOMICAL if name in modalities]
    if len(found) > 2 and "mr-t2" in found and FLAIR in found:
        found.remove(FLAIR)
    return found


def _is_known_order(m1: str, m2: str) -> bool:
    """True if it is known that the second of two anatomical modalities is m2."""
    return m1 == "ct" if m2 == PLAIN_MR else m1 in AS_M1 and m2 not in AS_M1


def _problem(candidate: Candidate, naming_remedy: str, any_pair: bool) -> Problem | None:
    """The reason why the images are not one case; None if they are."""
    if not candidate.images:
        names = f" (found {_unknown(candidate.other_images)})" if candidate.other_images else ""
        return Problem(f"no file is named by its modality{names}", naming_remedy)

    # One file for each modality.
    for modality, files in candidate.images.items():
        if len(files) > 1:
            names = _seen(candidate, files)
            reason = f"found {len(files)} images of {modality} ({names}); expected one"
            return Problem(reason, f"keep one, or {LIST_IT}")

    # One functional and two anatomical images.
    functional = [name for name in FUNCTIONAL if name in candidate.images]
    if len(functional) != 1:
        return _wrong_number(candidate, "functional", len(functional), 1, "one of pet, spect")
    anatomical = _anatomical(candidate.images)
    if len(anatomical) != 2:
        expected = f"two of {', '.join(ANATOMICAL)}" if any_pair else f"mr-t2 and one of {', '.join(AS_M1)}"
        return _wrong_number(candidate, "anatomical", len(anatomical), 2, expected)

    # The order of the two.
    if not any_pair and not _is_known_order(*anatomical):
        names = " and ".join(sorted(anatomical))
        reason = f"it is not known which of {names} is m2 (the models were trained with mr-t2 as m2)"
        if PLAIN_MR in anatomical:
            reason = f"{reason}; mr does not say its contrast"
        return _missing(candidate, reason, LIST_IT)
    return None


def _wrong_number(candidate: Candidate, kind: str, number: int, right: int, expected: str) -> Problem:
    """The problem of too many or too few images, with the names of all that there are."""
    names = _seen(candidate, (file for files in candidate.images.values() for file in files))
    images = "image" if number == 1 else "images"
    reason = f"found {number} {kind} {images} in {names}; expected {expected}"
    if number > right:
        return Problem(reason, f"remove the others, or {LIST_IT}")
    return _missing(candidate, reason, f"add what is missing, or {LIST_IT}")


def _seen(candidate: Candidate, files: Iterable[Path]) -> str:
    """The names of images, and what those were understood as that are not called exactly so."""
    modalities = {file: modality for modality, files in candidate.images.items() for file in files}
    names: list[str] = []
    for file in files:
        if candidate.dataset:  # names in a BIDS dataset say the modality by its own words
            names.append(file.name)
            continue
        name = file.relative_to(candidate.folder).as_posix()
        is_exact = exact_modality(name) == modalities[file]
        names.append(name if is_exact else f"{name} ({modalities[file]})")
    return ", ".join(names)


def _missing(candidate: Candidate, reason: str, remedy: str) -> Problem:
    """The problem of a missing image. An image whose name is not a modality may be the one: it is named."""
    if not candidate.other_images:
        return Problem(reason, remedy)
    unknown = f"{_unknown(candidate.other_images)} does not name a modality"
    if all(len(parse(name).modalities) > 1 for name in candidate.other_images):
        return Problem(f"{reason}; {unknown}", f"rename it by one modality alone, or {LIST_IT}")
    return Problem(f"{reason}; {unknown}", f"rename it by its modality (known: {KNOWN}), or {LIST_IT}")


def _unknown(names: list[str]) -> str:
    """The first of many names that were not understood. A name of several modalities says which."""
    words: list[str] = []
    for name in names[: MOST_NAMES + 1]:
        several = parse(name).modalities
        words.append(f"{name} (names {' and '.join(several)})" if len(several) > 1 else name)
    return shorten(words)
