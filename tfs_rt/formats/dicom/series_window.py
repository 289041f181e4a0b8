"""The one window of a series. Its files may have different ones, but a slice must not look brighter than the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats.dicom.folder import naming
from tfs_rt.formats.dicom.voi import REMEDY, centre_and_width

TABLE = ("LUTDescriptor", "LUTData")


def common_window(groups: Sequence[tuple[str, Dataset]], path: Path) -> Dataset | None:
    """The item with the window or the lookup table of all slices, None if they have none.

    Of windows that differ, the one that holds them all. `groups` are each slice's name, and the item with its window.
    InputError if some slices have one and others not, or if tables or curved windows differ.
    """
    found = [_own_window(name, group, path) for name, group in groups]
    if all(window is None for window in found):
        return None
    for (name, _), window in zip(groups, found, strict=True):
        if window is None:
            raise InputError(path, f"{name} has no window of its own, unlike others", REMEDY)
    windows = [window for window in found if window]
    if len(set(windows)) == 1:
        return groups[0][1]
    return _around(windows, groups, path)


def _own_window(name: str, group: Dataset, path: Path) -> tuple[object, ...] | None:
    """A slice's window as (function, centre, width), or its table as its values; None if it has neither."""
    if (sequence := group.get("VOILUTSequence")) and sequence[0].get("LUTData"):
        return tuple(str(sequence[0][keyword].value) for keyword in TABLE)
    with naming(name, path):
        shown = centre_and_width(group, path)
    if shown is None:
        return None
    return str(group.get("VOILUTFunction") or "LINEAR").strip().upper(), *shown


def _around(windows: Sequence[tuple[object, ...]], groups: Sequence[tuple[str, Dataset]], path: Path) -> Dataset:
    """The linear window from the lowest to the highest value of different ones."""
    lows: list[float] = []
    highs: list[float] = []
    for (name, _), window in zip(groups, windows, strict=True):
        match window:
            case ["LINEAR" | "LINEAR_EXACT" as function, float(centre), float(width)] if function == windows[0][0]:
                lows.append(centre - width / 2)
                highs.append(centre + width / 2)
            case _:
                raise InputError(path, f"{name} has another kind of window than the others", REMEDY)
    item = Dataset()
    item.WindowCenter = (min(lows) + max(highs)) / 2
    item.WindowWidth = max(highs) - min(lows)
    item.VOILUTFunction = str(windows[0][0])
    return item
