"""Padding of a DICOM image: stored values that are not part of it, and count in no window (PS3.3 C.7.5.1.1.2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from tfs_rt.formats.dicom.numbers import number
from tfs_rt.formats.dicom.pixels import stored_bits


def padding_of(dataset: Dataset, stored: NDArray[Any], path: Path) -> NDArray[np.bool_]:
    """A mask of the stored values that are padding, of the shape of `stored`."""
    # The range of values that are padding.
    prefix = {"f4": "Float", "f8": "DoubleFloat"}.get(stored.dtype.str[1:], "")
    value = number(dataset, f"{prefix}PixelPaddingValue", path)
    if value is None:
        return np.zeros(stored.shape, dtype=bool)
    limit = number(dataset, f"{prefix}PixelPaddingRangeLimit", path)
    ends = [value, value if limit is None else limit]
    # Of whole numbers only the stored bits count, but some writers put padding into the bits above.
    if not prefix:
        bits, signed = stored_bits(dataset, stored.dtype)
        whole = [_in_bits(int(end), stored.dtype.itemsize * 8, signed) for end in ends]
        ends = [_in_bits(int(end), bits, signed) for end in ends]
        unmasked = _unmasked(dataset, stored) if whole != ends else None
        if unmasked is not None:
            padded = (unmasked >= min(whole)) & (unmasked <= max(whole))
            if padded.any():
                return padded
    return (stored >= min(ends)) & (stored <= max(ends))


def _unmasked(dataset: Dataset, stored: NDArray[Any]) -> NDArray[Any] | None:
    """Native pixels with the bits above those stored, where padding may be; None for encoded ones."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated or stored.dtype.itemsize == 1 or "PixelData" not in dataset:
        return None
    order = "<" if syntax.is_little_endian else ">"
    return np.frombuffer(dataset.PixelData, stored.dtype.newbyteorder(order), stored.size).reshape(stored.shape)


def _in_bits(value: int, bits: int, signed: bool) -> int:
    """A value by its lowest bits alone."""
    low = value & (2**bits - 1)
    return low - 2**bits if signed and low >= 2 ** (bits - 1) else low
