"""Names of images in a BIDS dataset: `sub-01_ses-02_ce-gd_T1w.nii.gz`.

A name has entities (`sub-01`, `ses-02`, `ce-gd`) and a suffix (`T1w`), which says the modality.
Brain Imaging Data Structure 1.10, https://bids-specification.readthedocs.io. Its official part has no suffix for CT and
SPECT; the ones here follow its drafts.
"""

from __future__ import annotations

import re
from typing import NamedTuple

SUFFIXES = {
    "T1w": "mr-t1",
    "T2w": "mr-t2",
    "PDw": "mr-pd",
    "FLAIR": "mr-flair",
    "ct": "ct",
    "pet": "pet",
    "spect": "spect",
}  # modalities
IMAGE = re.compile(rf"(?:(?P<entities>.*)_)?(?P<suffix>{'|'.join(SUFFIXES)})\.nii(?:\.gz)?", re.IGNORECASE)
ENTITY = re.compile(r"[A-Za-z]+-[A-Za-z0-9]+")


class BidsName(NamedTuple):
    """A parsed name of an image."""

    entities: dict[str, str]  # label by key: {"sub": "01", "ses": "02"}
    modality: str


def is_image(name: str) -> bool:
    """True if a name has the suffix and the ending of an image, in any case, whatever its entities are."""
    return bool(IMAGE.fullmatch(name))


def parse(name: str) -> BidsName | None:
    """The parts of an image's name; None if it is not a valid BIDS name."""
    match = IMAGE.fullmatch(name)
    if not match or not match["entities"] or match["suffix"] not in SUFFIXES:
        return None

    # Each key may occur once, and the subject comes first.
    pairs = match["entities"].split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if ENTITY.fullmatch(pair))
    if len(entities) != len(pairs) or next(iter(entities)) != "sub":
        return None

    # T1 with a contrast medium is a modality of its own.
    is_enhanced = match["suffix"] == "T1w" and "ce" in entities
    return BidsName(entities, "mr-gad" if is_enhanced else SUFFIXES[match["suffix"]])
