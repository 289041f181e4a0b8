"""The modality transform of a DICOM file: from stored values to those of a unit (PS3.3 C.11.1)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.formats.dicom.numbers import number, unreadable
from tfs_rt.formats.dicom.planes import by_frame, functional_group
from tfs_rt.formats.dicom.tables import Table, is_little_endian, table_of

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Modality:
    """A modality transform: a table, or a slope and an intercept."""

    slope: float = 1.0
    intercept: float = 0.0
    table: Table | None = None
    unit: str = ""

    @property
    def is_identity(self) -> bool:
        """True if values are as stored."""
        return (self.slope, self.intercept, self.table) == (1, 0, None)

    def values(self, stored: NDArray[Any]) -> Values:
        """Stored values (H, W) in the unit."""
        if self.table:
            return self.table.look_up(stored).astype(np.float64)
        with np.errstate(over="ignore"):
            return stored * np.float64(self.slope) + np.float64(self.intercept)


def modalities_of(dataset: Dataset, frames: int, path: Path) -> list[Modality]:
    """The transform of each frame; InputError if one cannot be read."""
    return by_frame(dataset, frames, lambda index: _modality_of(dataset, index, path))


def _modality_of(dataset: Dataset, index: int, path: Path) -> Modality:
    group = functional_group(dataset, index, "PixelValueTransformationSequence")
    unit = _unit(dataset, group)
    if sequence := group.get("ModalityLUTSequence"):
        table = table_of(sequence[0], "LUTDescriptor", "LUTData", is_little_endian(dataset))
        return Modality(table=table, unit=unit)
    slope = number(group, "RescaleSlope", path)
    intercept = number(group, "RescaleIntercept", path)
    if slope == 0:
        raise unreadable(group, "RescaleSlope", path, "which makes all values one")
    return Modality(1.0 if slope is None else slope, intercept or 0.0, unit=unit)


def _unit(dataset: Dataset, group: Dataset) -> str:
    """The unit's name, if the file says one; CT without one is in HU (PS3.3 C.8.2.1)."""
    lookups = group.get("ModalityLUTSequence") or [group]
    unit = str(lookups[0].get("ModalityLUTType") or group.get("RescaleType") or dataset.get("Units") or "").strip()
    if not unit and dataset.get("Modality") == "CT" and "RescaleSlope" in group:
        return "HU"
    return "" if unit == "US" else unit  # "unspecified"
