"""Numbers of a DICOM file: an element that is present but cannot be read is refused by its name and its value."""

from __future__ import annotations

import re
from pathlib import Path

from pydicom import Dataset
from pydicom.datadict import dictionary_description, tag_for_keyword
from pydicom.multival import MultiValue
from pydicom.tag import Tag

from tfs_rt.errors import InputError, printable

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # PS3.5 section 6.2, DS and IS
LONGEST = 40  # characters of a value that a message quotes
CORRECT = "correct that element, or export the file again"


def numbers(dataset: Dataset, keyword: str, path: Path, count: int | None = None) -> tuple[float, ...]:
    """The numbers of an element, () if it is absent or empty; InputError if they are not `count` finite numbers.

    Without `count`, empty values at the end are left out.
    """
    texts = _texts(dataset, keyword)
    if not any(texts):
        return ()
    while count is None and not texts[-1]:
        texts.pop()
    if not all(NUMBER.fullmatch(text) for text in texts):
        raise unreadable(dataset, keyword, path, "not a number" if count in (None, 1) else f"not {count} numbers")
    if count is not None and len(texts) != count:
        raise unreadable(dataset, keyword, path, f"not {count} numbers" if count > 1 else "not one number")
    found = tuple(float(text) for text in texts)
    if any(abs(number) == float("inf") for number in found):
        raise unreadable(dataset, keyword, path, "not finite")
    return found


def number(dataset: Dataset, keyword: str, path: Path) -> float | None:
    """The first number of an element, None if it is absent or empty; InputError if any of its values is not one."""
    return next(iter(numbers(dataset, keyword, path)), None)


def integer(dataset: Dataset, keyword: str, path: Path) -> int | None:
    """The one whole number of an element, None if it is absent or empty."""
    value = next(iter(numbers(dataset, keyword, path, 1)), None)
    if value is None:
        return None
    if value != int(value):
        raise unreadable(dataset, keyword, path, "not a whole number")
    return int(value)


def unreadable(dataset: Dataset, keyword: str, path: Path, fault: str) -> InputError:
    """The error for an element that cannot be read; it quotes the value."""
    tag = Tag(tag_for_keyword(keyword) or 0)
    name = f"{dictionary_description(tag)} ({tag.group:04X},{tag.element:04X})"
    value = printable("\\".join(_texts(dataset, keyword)))[:LONGEST]
    return InputError(path, f"its {name} is {value!r}, {fault}", CORRECT)


def _texts(dataset: Dataset, keyword: str) -> list[str]:
    """The values of an element as text."""
    value = dataset.get(keyword)
    values = value if isinstance(value, MultiValue | list | tuple) else [value]
    return ["" if one is None else str(one).strip(" \0") for one in values]
