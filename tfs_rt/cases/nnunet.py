"""Images with nnU-Net names in one folder: `case_0000.png` is m1, `case_0001.png` m2, `case_0002.png` functional."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.listing import image_stem
from tfs_rt.cases.modalities import any_exact, modality_of_name
from tfs_rt.cases.pairing import LIST_IT, may_hold_a_case
from tfs_rt.cases.source import Source, SourceKind
from tfs_rt.errors import InputError
from tfs_rt.output.marks import is_result
from tfs_rt.spec import SLOTS

NAME = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")  # without its ending
CHANNELS = [0, 1, 2]  # of the slots in their order
EXPECTED = "_0000 (m1), _0001 (m2), _0002 (functional)"


class ChannelFile(NamedTuple):
    """A file of a case, and the channel in its name."""

    channel: int
    file: Path


def any_name(names: Iterable[str]) -> bool:
    """True if any of the images has a name in the way of nnU-Net."""
    return any(NAME.fullmatch(image_stem(name)) for name in names)


def is_folder(images: Iterable[str]) -> bool:
    """True if images are cases with channels. `CT_0001.png` beside `PET_0001.png` are not: their numbers are cases."""
    names = list(images)
    matches = [match for name in names if (match := NAME.fullmatch(image_stem(name)))]
    modalities = {modality for match in matches if (modality := modality_of_name(match["id"]))}
    return bool(matches) and not any_exact(names) and not may_hold_a_case(modalities, any_pair=True)


def _recognises(source: Source) -> bool:
    return source.path.is_dir() and is_folder(source.listing.images)


def _find_cases(source: Source) -> Iterator[FoundCase]:
    # Group the files by case. Results of an earlier run may have such names, too.
    groups: dict[str, list[ChannelFile]] = defaultdict(list)
    for name in source.listing.images:
        match = NAME.fullmatch(image_stem(name))
        file = source.path / name
        if match and not is_result(file):
            groups[match["id"]].append(ChannelFile(int(match["channel"]), file))

    for case_id, members in groups.items():
        channels = sorted(member.channel for member in members)
        if channels == CHANNELS:
            yield Case(case_id, {SLOTS[channel]: file for channel, file in members})
        else:
            names = ", ".join(f"_{channel:04d}" for channel in channels)
            reason = f"has the channels {names}, expected {EXPECTED}"
            files = tuple(file for _, file in members)
            remedy = f"give it one image for each of the three, or {LIST_IT}"
            yield RefusedCase(case_id, InputError(source.path / case_id, reason, remedy), files)


NNUNET = SourceKind(
    name="folder of images with nnU-Net names",
    naming_remedy="name the images of each case <id>_0000 (m1), <id>_0001 (m2) and <id>_0002 (functional)",
    recognises=_recognises,
    find_cases=_find_cases,
    allows_later_kinds=True,
)
