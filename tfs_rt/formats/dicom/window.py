"""From the stored values of a DICOM file to levels: modality transform, then window, then inversion (PS3.4 annex N.2).

Padding is black whatever the window, and counts in none. CT without a window has the head window.

LINEAR: from c - w/2 to c + w/2 - 1. LINEAR_EXACT: from c - w/2 to c + w/2. SIGMOID: 1 / (1 + exp(-4 (x - c) / w)).
A VOI table goes before a window if a file has both. (PS3.3 C.7.6.16.2.9, C.11.1, C.11.2)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.errors import InputError
from tfs_rt.formats import hounsfield
from tfs_rt.formats.dicom.numbers import number, unreadable
from tfs_rt.formats.dicom.pixels import padding_of
from tfs_rt.formats.dicom.planes import PER_FRAME, functional_group
from tfs_rt.formats.dicom.tables import Table, table_of
from tfs_rt.formats.levels import AS_STORED
from tfs_rt.formats.picture import Rules, to_levels

PERCENTILES = (0.5, 99.5)
WINDOW = "give one as --window m1=LOW:HIGH (or m2, functional), in the file's own units"
HUGE, TINY = 1e100, 1e-100  # beyond which arithmetic overflows
T = TypeVar("T")
Values = NDArray[np.float64]
Levels = NDArray[np.uint8]
Origin = Literal["user", "file", "head", "data", ""]


@dataclass(frozen=True, slots=True)
class Modality:
    """What makes stored values those of a unit."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None
    unit: str = ""

    def values(self, stored: NDArray[Any]) -> Values:
        """Stored values (H, W) in the unit."""
        if self.table:
            return self.table.look_up(stored).astype(np.float64)
        with np.errstate(over="ignore"):
            return stored * np.float64(self.slope) + np.float64(self.intercept)


@dataclass(frozen=True, slots=True)
class Window:
    """What makes values levels: linear between `low` and `high`, a step if they are one, or a sigmoid around them."""

    low: float
    high: float
    words: str
    sigmoid: bool = False

    def levels(self, values: Values) -> Levels:
        """Values (H, W) as levels from 0 to 255."""
        if self.low == self.high:
            return np.where(values > self.low, 255, 0).astype(np.uint8)
        if self.sigmoid:
            middle, width = (self.low + self.high) / 2, self.high - self.low
            with np.errstate(over="ignore"):
                return np.rint(255 / (1 + np.exp(-4 * (values - middle) / width))).astype(np.uint8)
        return to_levels(values, (self.low, self.high))


@dataclass(frozen=True, slots=True)
class Lookup:
    """What makes values levels by the file's own table."""

    table: Table
    words: str = "a lookup table (VOI LUT)"

    def levels(self, values: Values) -> Levels:
        """Values (H, W) as levels from 0 to 255."""
        return np.rint(self.table.look_up(values) * (255 / (2**self.table.bits - 1))).clip(0, 255).astype(np.uint8)


Voi = Window | Lookup


@dataclass(frozen=True, slots=True)
class Grey:
    """The frames' levels, and by which rule they are such."""

    frames: list[Levels]
    words: str
    window_from: Origin
    wide: float = 0.0  # HU: how far the window of a CT reaches, if that is so far that a brain is one grey


def grey_levels(dataset: Dataset, stored: NDArray[Any], request: Rules, inverted: bool, path: Path) -> Grey:
    """The levels of frames (N, H, W) of stored values; InputError if a value or a window is not valid."""
    modalities = _by_frame(dataset, len(stored), lambda index: _modality(dataset, index, path))
    for modality, frame in zip(modalities, stored, strict=True):
        if not (np.abs(modality.values(frame)) < HUGE).all():
            raise InputError(path, "has values that are no numbers (NaN or infinite)", "replace them first")
    padding = padding_of(dataset, stored, path)
    rules, origin = _rules(dataset, stored, padding, modalities, request, path)
    frames = []
    for rule, modality, frame, padded in zip(rules, modalities, stored, padding, strict=True):
        levels = rule.levels(modality.values(frame))
        levels = 255 - levels if inverted else levels
        levels[padded] = 0
        frames.append(levels)
    words = rules[0].words if len(set(rules)) == 1 else f"a window for each frame, the first: {rules[0].words}"
    words = f"{words}, from the file" if origin == "file" else words
    words = f"{words}, then inverted (MONOCHROME1)" if inverted else words
    words = f"{words}; padding is black" if padding.any() else words
    in_hu = modalities[0].unit == "HU" and _named(dataset, request) in ("", "CT")
    spans = [rule.high - rule.low for rule in rules if isinstance(rule, Window) and in_hu]
    wide = max(spans, default=0.0) if origin == "file" else 0.0
    return Grey(frames, words, origin, wide if wide > hounsfield.WIDE else 0.0)


def _rules(
    dataset: Dataset,
    stored: NDArray[Any],
    padding: NDArray[np.bool_],
    modalities: list[Modality],
    request: Rules,
    path: Path,
) -> tuple[list[Voi], Origin]:
    """The rule for each frame: the user's, the file's, that of CT, or that of the data."""
    count, unit = len(stored), modalities[0].unit
    if request.window:
        return [Window(*request.window, f"window {_span(*request.window, unit)}, given")] * count, "user"
    found = _by_frame(dataset, count, lambda index: _voi(dataset, index, modalities[index].unit, path))
    own = [rule for rule in found if rule]
    named = _named(dataset, request)
    if len(own) == count:
        if named != "CT" and unit != "HU":  # a slice of air in CT is black by right
            _check_windows(own, modalities, stored, padding, path)
        return own, "file"
    if own:
        raise InputError(path, f"has a window for {len(own)} of its {count} frames only", WINDOW)
    bits = int(dataset.get("BitsStored") or 0)
    plain = all((m.slope, m.intercept, m.table) == (1, 0, None) for m in modalities)
    if plain and 0 < bits <= 8 and dataset.get("PixelRepresentation") == 0 and "PixelData" in dataset:
        high = 2**bits - 1
        return [Window(0, high, AS_STORED if bits == 8 else f"levels 0 to {high}")] * count, ""
    parts = [m.values(frame)[~padded] for m, frame, padded in zip(modalities, stored, padding, strict=True)]
    values = np.concatenate(parts)
    is_ct = named == "CT"
    if (unit == "HU" and named in ("", "CT")) or (is_ct and hounsfield.has_air(values)):
        return [Window(*hounsfield.HEAD_WINDOW, hounsfield.WORDS)] * count, "head"
    window = _window_of_data(values, unit)
    if is_ct:
        hounsfield.check_narrow((window.low, window.high), path)
    return [window] * count, "data"


def _named(dataset: Dataset, request: Rules) -> str:
    """The modality that the file says, or else its name; empty if neither says one."""
    return str(dataset.get("Modality") or (request.modality or "").upper())


def _check_windows(
    rules: list[Voi], modalities: list[Modality], stored: NDArray[Any], padding: NDArray[np.bool_], path: Path
) -> None:
    """InputError for a file's own window that shows different values as one level, black or white."""
    differs = False
    for rule, modality, frame, padded in zip(rules, modalities, stored, padding, strict=True):
        values = modality.values(frame)[~padded]
        if not isinstance(rule, Window) or rule.sigmoid or not values.size:
            return
        if values.min() < rule.high and values.max() > rule.low:
            return
        differs = differs or bool(np.ptp(values))
    if differs:
        words = rules[0].words
        raise InputError(path, f"its own {words} has none of its values inside", WINDOW)


def _by_frame(dataset: Dataset, count: int, made: Callable[[int], T]) -> list[T]:
    """What is made for each frame; once, if no frame has attributes of its own."""
    return [made(index) for index in range(count)] if dataset.get(PER_FRAME) else [made(0)] * count


def _modality(dataset: Dataset, index: int, path: Path) -> Modality:
    group = functional_group(dataset, index, "PixelValueTransformationSequence")
    unit = _unit(dataset, group)
    if sequence := group.get("ModalityLUTSequence"):
        table = table_of(sequence[0], "LUTDescriptor", "LUTData", _little(dataset))
        return Modality(table=table, unit=unit)
    slope, intercept = number(group, "RescaleSlope", path), number(group, "RescaleIntercept", path)
    if slope == 0:
        raise unreadable(group, "RescaleSlope", path, "which makes all values one")
    return Modality(1.0 if slope is None else slope, intercept or 0.0, unit=unit)


def _voi(dataset: Dataset, index: int, unit: str, path: Path) -> Voi | None:
    """A frame's own rule: the first table or window that it has."""
    group = functional_group(dataset, index, "FrameVOILUTSequence")
    if (sequence := group.get("VOILUTSequence")) and sequence[0].get("LUTData"):
        return Lookup(table_of(sequence[0], "LUTDescriptor", "LUTData", _little(dataset)))
    try:
        centre, width = number(group, "WindowCenter", path), number(group, "WindowWidth", path)
    except InputError as error:
        raise InputError(path, error.reason, f"{error.remedy}, or {WINDOW}") from error
    if centre is None or width is None:
        return None
    function = str(group.get("VOILUTFunction") or "LINEAR").strip().upper()
    if not abs(centre) < HUGE or not max(TINY, function == "LINEAR") <= width < HUGE:
        raise InputError(path, f"its own window has the width {width:g}", WINDOW)
    low, high = centre - width / 2, centre + width / 2
    if function == "LINEAR":
        high = max(low, high - 1)
    elif function not in ("LINEAR_EXACT", "SIGMOID"):
        raise InputError(path, f"its own window has the unknown function {function}", WINDOW)
    sigmoid = function == "SIGMOID"
    kind = "sigmoid window" if sigmoid else "window"
    return Window(low, high, f"{kind} {_span(low, high, unit)} (centre {centre:g}, width {width:g})", sigmoid)


def _window_of_data(values: Values, unit: str) -> Window:
    """From the 0.5th to the 99.5th percentile of the values of all frames."""
    low, high = map(float, np.percentile(values, PERCENTILES)) if values.size else (0.0, 0.0)
    share = f"the {PERCENTILES[0]}th to the {PERCENTILES[1]}th percentile of its pixels"
    return Window(low, high, f"window {_span(low, high, unit)}, {share}: the file has none")


def _unit(dataset: Dataset, group: Dataset) -> str:
    """The unit's name, if the file says one; CT without one is in HU (PS3.3 C.8.2.1)."""
    typed = [item.get("ModalityLUTType") for item in group.get("ModalityLUTSequence") or [group]]
    unit = str(typed[0] or group.get("RescaleType") or dataset.get("Units") or "").strip()
    if not unit and dataset.get("Modality") == "CT" and "RescaleSlope" in group:
        return "HU"
    return "" if unit == "US" else unit  # "unspecified"


def _span(low: float, high: float, unit: str) -> str:
    return f"{low:g} to {high:g} {unit or 'in stored values'}"


def _little(dataset: Dataset) -> bool:
    return bool(dataset.file_meta.TransferSyntaxUID.is_little_endian)
