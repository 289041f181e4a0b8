"""Names of modalities: the words that files and folders are called by, and their order in the slots.

A name is split into words at `-`, `_`, `.` and spaces; capitals do not matter. It names a modality if one of its words,
or a few of them in a row, stand in SYNONYMS: `001_t1.png`, `patient7-MR-T2.png`, `SPECT-Tc`. A part of a word never
counts: `contact.png` is not CT. A name with two modalities (`ct_pet.png`), or with a word for something made of an
image (`ct_mask.png`), names none.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from tfs_rt.cases import bids_names
from tfs_rt.cases.listing import image_stem

# Magnetic resonance without a word for its contrast. It may be m2 beside CT.
PLAIN_MR = "mr"
# A T2-weighted image in which fluid is dark. It may be m2 where no mr-t2 is.
FLAIR = "mr-flair"
AS_T2 = (FLAIR, PLAIN_MR)  # may stand in for mr-t2, with a warning
ANATOMICAL = ("ct", "mr-t1", "mr-gad", "mr-pd", "mr-t2")  # in slot order: mr-t2 is m2 in every published group
FUNCTIONAL = ("pet", "spect")
MODALITIES = (*ANATOMICAL, *FUNCTIONAL)  # in slot order; files that are called exactly so need no other rule

# All words for each modality, in small letters; `-` stands between the words of a phrase.
SYNONYMS: dict[str, tuple[str, ...]] = {
    "ct": ("ct", "ctac", "cect", "ncct", "ldct"),
    "mr-t1": ("t1", "t1w", "t1n", "mrt1", "mprage", "t1-weighted", "t1-pre-contrast", "t1-native"),
    "mr-gad": (
        *("gad", "gadolinium", "mrgad", "t1c", "t1+c", "t1ce", "cet1", "t1gd", "t1gad", "t1post", "t1postcontrast"),
        *("t1-ce", "ce-t1", "ce-gad", "ce-gd", "t1-gd", "gd-t1", "t1-gad", "t1-contrast", "t1-post-contrast"),
    ),
    "mr-pd": ("pd", "pdw", "mrpd", "proton", "proton-density", "pd-weighted"),
    "mr-t2": ("t2", "t2w", "mrt2", "t2-weighted"),
    FLAIR: ("flair", "t2flair", "t2f", "mrflair", "t2-flair", "flair-t2"),
    PLAIN_MR: ("mr", "mri", "mrt", "irm"),
    "pet": ("pet", "tep", "fdg", "suv", "18f-fdg", "fdg-18f", "f18-fdg", "amyloid", "pib", "florbetapir", "av45"),
    "spect": (
        *("spect", "nm", "tc99m", "99mtc", "mibi", "sestamibi", "hmpao", "tl201", "201tl", "datscan"),
        *("spect-tc", "spect-tl", "tc-spect", "tl-spect", "tc-99m", "99m-tc", "tl-201", "spect-tc99m", "spect-tl201"),
    ),
}
WHOLE_NAMES = {"pt": "pet"}  # too short to count as one word of several
KNOWN = f"{', '.join(MODALITIES)}, or a synonym such as t1, T2w, flair, mri, fdg"  # for messages
# Of two modalities in one name, the first is the more exact word for both.
MORE_EXACT = {
    ("mr-gad", "mr-t1"),
    (FLAIR, "mr-t2"),
    *((name, PLAIN_MR) for name in (*ANATOMICAL[1:], FLAIR)),
}
# Words for something made of an image, and for MR of a contrast that has no slot.
SOMETHING_ELSE = frozenset(
    (
        *("mask", "masks", "seg", "segs", "segmentation", "segmentations", "dseg", "probseg", "label", "labels", "roi"),
        *("overlay", "fused", "fusion", "map", "maps", "thumb", "thumbnail", "preview", "gt", "groundtruth"),
        *("scout", "localizer", "localiser", "topogram", "mip", "sinogram"),
        *("dwi", "adc", "dti", "swi", "mra", "tof", "bold", "asl", "t2star"),
    )
)
NEGATIONS = frozenset(("no", "non", "without"))
CONTRAST_MEDIA = frozenset(("gad", "gd", "gadolinium", "contrast"))
SEPARATORS = re.compile(r"([-_. ]+)")
LONGEST_PHRASE = 3  # words


class Name(NamedTuple):
    """The name of a file or folder, read by its words."""

    modalities: tuple[str, ...]  # those that it names
    rest: str  # the name without the words that name them, and without its ending
    # It says that it is something else than an image of a modality.
    is_something_else: bool

    @property
    def modality(self) -> str | None:
        """The one modality that it names; None if it names none or several."""
        return self.modalities[0] if len(self.modalities) == 1 and not self.is_something_else else None


PHRASES: dict[tuple[str, ...], str] = {
    tuple(phrase.split("-")): modality for modality, phrases in SYNONYMS.items() for phrase in phrases
}


@lru_cache(maxsize=4096)
def parse(name: str) -> Name:
    """The modalities that a name's words name, and the rest of it."""
    stem = unicodedata.normalize("NFC", image_stem(name))
    if modality := WHOLE_NAMES.get(stem.lower()):
        return Name((modality,), "", is_something_else=False)

    # Take the words of phrases out of the name.
    parts = SEPARATORS.split(stem)
    words = [word.lower() for word in parts[::2]]
    found: list[str] = []
    rest: list[str] = []
    index = 0
    for start, end, modality in _phrases(words):
        rest += parts[2 * index : 2 * start]
        found.append(modality)
        index = end
    rest += parts[2 * index :]

    less_exact = {less for more, less in MORE_EXACT if more in found}
    modalities = tuple(dict.fromkeys(modality for modality in found if modality not in less_exact))
    is_something_else = not SOMETHING_ELSE.isdisjoint(words)
    return Name(modalities, "".join(rest).strip("-_. "), is_something_else)


def _phrases(words: list[str]) -> Iterator[tuple[int, int, str]]:
    """(start, end, modality) of the longest phrases of SYNONYMS among words, from left to right."""
    index = 0
    while index < len(words):
        # Pass over `without gad`.
        if words[index] in NEGATIONS and words[index + 1 : index + 2] and words[index + 1] in CONTRAST_MEDIA:
            index += 2
            continue
        for length in range(LONGEST_PHRASE, 0, -1):
            if modality := PHRASES.get(tuple(words[index : index + length])):
                yield index, index + length, modality
                index += length
                break
        else:
            index += 1


def exact_modality(name: str) -> str | None:
    """The modality that a file or folder is called exactly: `mr-t1` for MR_T1.PNG; None if its name is another."""
    stem = image_stem(name).lower().replace("_", "-")
    return stem if stem in MODALITIES else None


def modality_of_name(name: str) -> str | None:
    """The one modality that a file's or folder's name names by whole words; None if it names none or several."""
    return exact_modality(name) or parse(name).modality


def modality_of(file: Path) -> str | None:
    """The modality in a file's name, in that of a BIDS image, or else in its folder's; None if there is none."""
    if bids_name := bids_names.parse(file.name):
        return bids_name.modality
    if exact_modality(file.name) or parse(file.name).modalities:
        return modality_of_name(file.name)
    return modality_of_name(file.parent.name)


def is_called_by_modality(name: str) -> bool:
    """True if a name holds nothing but the words for one modality, as `pet.png` and `SPECT-Tc` do."""
    return exact_modality(name) is not None or (parse(name).modality is not None and not parse(name).rest)


def is_called_something_else(name: str) -> bool:
    """True if a name holds nothing but words for something made of images, as `masks` and `GT` do."""
    return all(word.lower() in SOMETHING_ELSE for word in SEPARATORS.split(name)[::2])


def any_exact(names: Iterable[str]) -> bool:
    """True if any of the names is exactly that of a modality."""
    return any(map(exact_modality, names))


def any_modality(names: Iterable[str]) -> bool:
    """True if any of the names names a modality."""
    return any(map(modality_of_name, names))
