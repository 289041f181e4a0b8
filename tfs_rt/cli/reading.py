"""From the options of `tfs-rt fuse` to its cases, and to how their files are read."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tfs_rt.cli.parsers import LARGEST_SIDE, height_and_width
from tfs_rt.errors import UsageError
from tfs_rt.spec import SLOTS

if TYPE_CHECKING:
    from tfs_rt.cases.bids_choice import BidsChoice
    from tfs_rt.cases.case import Case, FoundCase
    from tfs_rt.cases.load import ReadingOptions

WINDOW = re.compile(rf"(?:({'|'.join(SLOTS)})=)?([^:=]+):([^:=]+)")
SERIES = re.compile(rf"({'|'.join(SLOTS)})=([0-9.]{{1,64}})")
BIDS_LABEL = re.compile(r"([a-z-]+)=([A-Za-z0-9]+)")
LARGEST_VALUE = 1e12  # of a window's ends

Window = tuple[float, float]  # the values of black and white


def parse_case(m1: Path | None, m2: Path | None, functional: Path | None, case_id: str | None) -> list[Case]:
    """The case of `--m1`, `--m2` and `--functional`, if they are given."""
    from tfs_rt.cases.discover import case_from_files

    if m1 and m2 and functional:
        return [case_from_files(m1, m2, functional, case_id)]
    if m1 or m2 or functional or case_id:
        raise UsageError("--m1 --m2 --functional", "only some of the three are given", "give all three")
    return []


def find_cases(
    sources: Sequence[Path], given: list[Case], output: Path, *, any_pair: bool, bids: Sequence[str] = ()
) -> list[FoundCase]:
    """All cases of the sources; UsageError if there are no sources. `bids` holds the texts of `--bids`."""
    from tfs_rt.cases.discover import discover

    choice = _parse_bids(bids) if bids else None
    found = discover(sources, output=output, given=given, any_pair=any_pair, bids=choice)
    if not found:
        raise UsageError("CASES", "nothing to fuse", "give a folder of cases, a CSV, or --m1 --m2 --functional")
    return found


def _parse_bids(texts: Sequence[str]) -> BidsChoice:
    """The choice of `--bids space=LABEL,run=LABEL`."""
    from tfs_rt.cases.bids_choice import ANAT_SESSION, KEYS, BidsChoice

    labels: dict[str, str] = {}
    for part in ",".join(texts).split(","):
        match = BIDS_LABEL.fullmatch(part.strip())
        if not match:
            raise UsageError("--bids", f"{part!r} is not KEY=LABEL", "write space=MNI152NLin2009cAsym,run=1")
        key, label = match.groups()
        if key not in KEYS:
            raise UsageError("--bids", f"{key!r} is not an entity of BIDS", f"choose one of {', '.join(KEYS)}")
        if labels.setdefault(key, label) != label:
            raise UsageError("--bids", f"{key} has two labels ({labels[key]}, {label})", "give it one")
    anat_session = labels.pop(ANAT_SESSION, None)
    return BidsChoice(labels, anat_session)


def parse_target_size(text: str | None) -> tuple[int, int] | None:
    """(H, W) of `--target-size`."""
    if text is None:
        return None
    size = height_and_width(text)
    if size is None or size[0] * size[1] > LARGEST_SIDE**2:
        remedy = f"write 256 or 320x256 (width x height), up to {LARGEST_SIDE}x{LARGEST_SIDE}"
        raise UsageError("--target-size", f"{text!r} is not a size", remedy)
    return size


def parse_reading(
    windows: Sequence[str],
    colormap: str | None,
    *,
    allow_lossy: bool = False,
    nan: str | None = None,
    series: Sequence[str] = (),
    same_frame: bool = False,
    offered: tuple[str, ...] | None = None,
) -> ReadingOptions:
    """Options for reading files. A window `LOW:HIGH` is for all three images, `m1=LOW:HIGH` for one; so is a series.

    `offered`: the options that remedies may name, None for all.
    """
    from tfs_rt.cases.load import ReadingOptions

    by_slot: dict[str, Window] = {}
    window_for_all = False
    for text in windows:
        slot, window = _parse_window(text)
        window_for_all = window_for_all or slot is None
        for name in [slot] if slot else SLOTS:
            if name in by_slot:
                raise UsageError("--window", f"{name} has two windows", "give it one")
            by_slot[name] = window
    ordered = {slot: by_slot[slot] for slot in SLOTS if slot in by_slot}
    return ReadingOptions(
        windows=ordered,
        window_for_all=window_for_all,
        colormap=colormap,
        allow_lossy=allow_lossy,
        nan_is_background=nan is not None,
        series=_parse_series(series),
        same_frame=same_frame,
        offered=offered,
    )


def _parse_series(texts: Sequence[str]) -> dict[str, str]:
    """By slot, the number or the beginning of the UID of the series to read."""
    by_slot: dict[str, str] = {}
    for text in texts:
        match = SERIES.fullmatch(text)
        if not match:
            remedy = "write m1=NUMBER or m1=UID (m2, functional), as the message about the folder lists them"
            raise UsageError("--series", f"{text!r} does not name a series", remedy)
        if match[1] in by_slot:
            raise UsageError("--series", f"{match[1]} has two series", "give it one")
        by_slot[match[1]] = match[2]
    return {slot: by_slot[slot] for slot in SLOTS if slot in by_slot}


def _parse_window(text: str) -> tuple[str | None, Window]:
    """The slot, if one is named, and its window."""
    match = WINDOW.fullmatch(text)
    low = _number(match[2]) if match else math.nan
    high = _number(match[3]) if match else math.nan
    if not match or not (-LARGEST_VALUE < low < high < LARGEST_VALUE):
        remedy = "write LOW:HIGH, or m1=LOW:HIGH (m2, functional), in the files' own units, LOW below HIGH"
        raise UsageError("--window", f"{text!r} is not a window", remedy)
    return match[1], (low, high)


def _number(text: str) -> float:
    """The number that a text writes; NaN if it writes none."""
    try:
        return float(text)
    except ValueError:
        return math.nan
