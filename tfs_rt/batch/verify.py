"""The results in an output folder, checked against their sidecars: nothing is recomputed, every file is hashed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfs_rt.batch.lock import is_written_to
from tfs_rt.cases.listing import image_stem, images_in
from tfs_rt.errors import InputError, NothingFound, TfsRtError
from tfs_rt.facts import Facts
from tfs_rt.output.folder import REPORT
from tfs_rt.output.sidecar import files_of, is_ours, is_sealed, place, read_sidecar, result_folders
from tfs_rt.system.files import file_sha256

Inputs = Literal["as they were", "changed", "gone", "not looked at"]


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one result; what is wrong with which file, if anything is."""

    case: str
    verdict: Literal["good", "bad"]
    inputs: Inputs
    file: str = ""
    reason: str = ""
    remedy: str = ""


def verify(folder: Path) -> Iterator[Checked]:
    """Every result of a folder, by case: its image and its sidecar must be as they were written.

    Inputs that were changed or taken away since are told apart, and are no fault of the result. Files that are not
    ours are passed over. Raises NothingFound for a folder without results.
    """
    try:
        found = _found(folder)
    except OSError as error:
        raise NothingFound(folder, f"cannot be listed ({error.strerror})", "give a folder of results") from error
    if not found:
        raise NothingFound(folder, "holds no results", "give the --output of tfs-rt fuse")
    running = is_written_to(folder)
    for beside in sorted(found, key=lambda path: (path.stem, path)):
        yield _checked(folder, beside, found[beside], running=running)


def _found(folder: Path) -> dict[Path, Path | None]:
    """The sidecars in a folder; and where those of images of ours would be that have none, with these images."""
    places = result_folders(folder)
    files = [path for place in places for path in place.glob("[!.]*.json") if path.name != REPORT]
    sidecars = {path: None for path in files if is_sealed(path)}
    images = {path.with_name(f"{image_stem(path.name)}.json"): path for place in places for path in images_in(place)}
    return sidecars | {path: image for path, image in images.items() if path not in sidecars and is_ours(image)}


def _checked(folder: Path, beside: Path, alone: Path | None, *, running: bool) -> Checked:
    case = beside.stem
    try:
        if alone:
            why = "yet: a run goes on" if running else "that could be read: its run was broken off, or it was damaged"
            raise InputError(alone, f"has no sidecar {why}", "wait for the run" if running else "fuse the case again")
        facts = read_sidecar(beside)
        if beside != (home := folder / f"{place(case)}.json"):
            raise InputError(beside, "lies where no run has written it", f"move the result to {home.parent}")
        for name, sha256 in files_of(facts).items():
            _check_file(folder / name, sha256)
    except TfsRtError as error:
        return Checked(case, "bad", "not looked at", error.subject, error.reason, error.remedy)
    return Checked(case, "good", _inputs(facts))


def _check_file(path: Path, sha256: str) -> None:
    try:
        if not path.exists():
            raise InputError(path, "is missing", "fuse the case again")
        if file_sha256(path) != sha256:
            raise InputError(path, "is not the image that was written", "fuse the case again")
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the disk") from error


def _inputs(facts: Facts) -> Inputs:
    try:
        same = all(file_sha256(Path(found["file"])) == found["sha256"] for found in facts["inputs"].values())
    except OSError:
        return "gone"
    return "as they were" if same else "changed"
