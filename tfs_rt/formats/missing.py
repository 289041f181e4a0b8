"""Values that are missing (NaN), as programs that reslice images leave them outside the head.

They are refused, unless the user says that they are background (`--nan background`). Then they count as 0 where a
window is chosen from the data, as if the background had been stored as 0, and are black in every window.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfs_rt.errors import InputError
from tfs_rt.formats.picture import FileOptions

REMEDY = "give --nan background if they lie outside the head, or replace them, by 0 for example"
WORDS = "; NaN is black"  # of the sidecar's words on levels


class Filled(NamedTuple):
    """Values without NaN."""

    values: NDArray[Any]  # finite, of the shape and type of the file's
    missing: NDArray[np.bool_] | None  # a mask of those that were NaN, None if there were none
    facts: dict[str, Any]  # `nan_voxels`, if the user says that NaN is background and the values can be NaN

    def blacken(self, levels: NDArray[Any], index: Any = ..., black: float = 0) -> None:
        """Make the levels of missing values black, in place; `index` is the part of the values that they show."""
        if self.missing is not None:
            levels[self.missing[index]] = black

    @property
    def words(self) -> str:
        """An addition to the words on levels; empty if no value is missing."""
        return "" if self.missing is None else WORDS


def fill_missing(values: NDArray[Any], path: Path, options: FileOptions) -> Filled:
    """The values with 0 in place of NaN; InputError for infinite values, and for NaN that is not background."""
    if values.dtype.kind != "f":
        return Filled(values, None, {})
    if np.isinf(values).any():
        raise InputError(path, "holds infinite values", "replace them with values of its own range")
    missing = np.isnan(values)
    count = int(missing.sum())
    if count and not options.nan_is_background:
        share = count / values.size
        raise InputError(path, f"holds values that are not numbers (NaN, {share:.1%} of them)", REMEDY)
    facts = {"nan_voxels": count} if options.nan_is_background else {}
    if not count:
        return Filled(values, None, facts)
    return Filled(np.where(missing, values.dtype.type(0), values), missing, facts)
