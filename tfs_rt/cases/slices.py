"""Names of the slices of a volume, where each is a case of its own: in a training set, and in an evaluation."""

from __future__ import annotations

import re

SLICE_ID = re.compile(r"(?P<volume>.+)-slice(?P<number>\d{3,})")


def slice_ids(case_id: str, count: int) -> list[str]:
    """The id of each slice, numbered from 1 in the order of the volume; of a single image, the case's own."""
    if count == 1:
        return [case_id]
    return [f"{case_id}-slice{number:03d}" for number in range(1, count + 1)]


def volume_of(slice_id: str) -> tuple[str, int] | None:
    """The volume's case and the index from 0 of a slice's id; None for any other id."""
    match = SLICE_ID.fullmatch(slice_id)
    if match is None or int(match["number"]) < 1:
        return None
    return match["volume"], int(match["number"]) - 1
