"""Find cases in sources, and look into what was found."""

from __future__ import annotations

from pathlib import Path

from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.discover import discover


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
