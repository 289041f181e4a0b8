"""Find cases in sources, look into what was found, and load the case of a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import Loaded, ReadingOptions, load_case
from tfs_rt.errors import InputError

NAMES = {"m1": "mr-t1", "m2": "mr-t2", "functional": "pet"}


def find(*sources: Path) -> dict[str, FoundCase]:
    """The cases of sources by id, for results in a folder that does not exist."""
    return {case.id: case for case in discover(sources, output=Path("nowhere"))}


def refusal(case: FoundCase) -> str:
    """The message of a refused case."""
    assert isinstance(case, RefusedCase)
    return str(case.error)


def file_names(case: FoundCase) -> dict[str, str]:
    """The names of a case's files by slot."""
    assert isinstance(case, Case)
    return {slot: file.name for slot, file in case.files.items()}


def load_folder(folder: Path, **reading: Any) -> Loaded:
    """Load the case of mr-t1, mr-t2 and pet in a folder, of any format; `reading` has the fields of ReadingOptions."""
    files = {slot: next(folder.glob(f"{name}.*")) for slot, name in NAMES.items()}
    return load_case(Case("k", files), 4, None, ReadingOptions(**reading))


def load_error(folder: Path, words: str, **reading: Any) -> InputError:
    """The error, with these words and a remedy, with which loading a folder's case fails."""
    with pytest.raises(InputError, match=words) as caught:
        load_folder(folder, **reading)
    assert caught.value.remedy
    return caught.value


def replace_image(folder: Path, name: str, data: bytes, ending: str = ".png") -> None:
    """Write a file in the place of the one of this name."""
    for old in folder.glob(f"{name}.*"):
        old.unlink()
    (folder / f"{name}{ending}").write_bytes(data)
