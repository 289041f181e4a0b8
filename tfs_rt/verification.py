"""The results in an output folder, checked against their sidecars: nothing is recomputed, every file is hashed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfs_rt.cases import REPORT, images_in
from tfs_rt.errors import InputError, NothingFound, TfsRtError
from tfs_rt.files import file_sha256
from tfs_rt.journal import is_claimed
from tfs_rt.sidecar import Facts, is_ours, is_sealed, read_sidecar

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
        sidecars = {path.stem for path in folder.glob("[!.]*.json") if path.name != REPORT and is_sealed(path)}
        images = {path for path in images_in(folder) if path.suffix == ".png" and path.stem not in sidecars}
    except OSError as error:
        raise NothingFound(folder, f"cannot be listed ({error.strerror})", "give a folder of results") from error
    alone = {path.stem for path in images if is_ours(path)}
    if not sidecars | alone:
        raise NothingFound(folder, "holds no results", "give the --output of tfs-rt fuse")
    running = is_claimed(folder)
    for case in sorted(sidecars | alone):
        yield _checked(folder, case, sidecar=case in sidecars, running=running)


def _checked(folder: Path, case: str, *, sidecar: bool, running: bool) -> Checked:
    image = folder / f"{case}.png"
    try:
        if not sidecar:
            why = "yet: a run goes on" if running else "that could be read: its run was broken off, or it was damaged"
            raise InputError(image, f"has no sidecar {why}", "wait for the run" if running else "fuse the case again")
        facts = read_sidecar(folder / f"{case}.json")
        if not image.exists():
            raise InputError(image, "is missing", "fuse the case again")
        if file_sha256(image) != facts["result"]["sha256"]:
            raise InputError(image, "is not the image that was written", "fuse the case again")
    except TfsRtError as error:
        return Checked(case, "bad", "not looked at", error.subject, error.reason, error.remedy)
    except OSError as error:
        return Checked(case, "bad", "not looked at", str(image), f"cannot be read ({error.strerror})", "check the disk")
    return Checked(case, "good", _inputs(facts))


def _inputs(facts: Facts) -> Inputs:
    try:
        same = all(file_sha256(Path(found["file"])) == found["sha256"] for found in facts["inputs"].values())
    except OSError:
        return "gone"
    return "as they were" if same else "changed"
