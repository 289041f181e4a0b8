"""Verification of an output folder: every file is hashed and compared with its sidecar; nothing is fused again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tfs_rt.batch.lock import has_running_run
from tfs_rt.cases.listing import image_stem, images_in, list_folder
from tfs_rt.errors import InputError, NothingFound, TfsRtError
from tfs_rt.output.folder import REPORT, SHEETS, SPREAD, result_folders, sidecar_name
from tfs_rt.output.marks import is_result, is_result_folder
from tfs_rt.output.sidecar import Sidecar, looks_like_sidecar, read_sidecar
from tfs_rt.system.files import path_sha256

Inputs = Literal["as they were", "changed", "gone", "not looked at"]
REMEDY = "fuse the case again"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one result. A bad one names the file, the reason and the remedy."""

    case: str
    verdict: Literal["good", "bad"]
    inputs: Inputs
    file: str = ""
    reason: str = ""
    remedy: str = ""


def verify(output: Path) -> Iterator[Verdict]:
    """Check every result of an output folder, by case: its files and its sidecar must be as they were written.

    Inputs that have changed or are gone are reported, and do not make a result bad. Files of others are ignored.
    Raises NothingFound for a folder without results.
    """
    try:
        results = _find_results(output)
    except OSError as error:
        raise NothingFound(output, f"cannot be listed ({error.strerror})", "give a folder of results") from error
    if not results:
        raise NothingFound(output, "holds no results", "give the --output of tfs-rt fuse")
    running = has_running_run(output)
    for sidecar_path in sorted(results, key=lambda path: (path.stem, path)):
        yield _check_result(output, sidecar_path, results[sidecar_path], running=running)


def _find_results(output: Path) -> dict[Path, Path | None]:
    """All results by the path of their sidecars; with the image if the sidecar is missing, and else None."""
    results: dict[Path, Path | None] = {}
    folders = result_folders(output)
    for folder in folders:
        for path in folder.glob("[!.]*.json"):
            if path.name != REPORT and looks_like_sidecar(path):
                results[path] = None
    for folder in folders:
        for image in images_in(folder):
            sidecar_path = image.with_name(f"{image_stem(image.name)}.json")
            if sidecar_path not in results and is_result(image):
                results[sidecar_path] = image
        for series in _series_in(folder):
            results.setdefault(series.with_name(f"{series.name}.json"), series)
    return results


def _series_in(folder: Path) -> list[Path]:
    """The folders in a folder that are results."""
    listing = list_folder(folder)
    found: list[Path] = []
    for name in listing.folders:
        if name in listing.links or name in (SHEETS, SPREAD):
            continue
        # A folder that cannot be listed is somebody else's.
        with suppress(OSError):
            if is_result_folder(folder / name, list_folder(folder / name).names):
                found.append(folder / name)
    return found


def _check_result(output: Path, sidecar_path: Path, lone_image: Path | None, *, running: bool) -> Verdict:
    case_id = sidecar_path.stem
    try:
        # Refuse an image without a sidecar.
        if lone_image and running:
            raise InputError(lone_image, "has no sidecar yet, as a run is writing to the folder", "wait for the run")
        if lone_image:
            reason = "has no sidecar that can be read: its run was killed, or the sidecar was damaged"
            raise InputError(lone_image, reason, REMEDY)
        # Check that the sidecar lies where a run writes it.
        sidecar = read_sidecar(sidecar_path)
        expected = output / sidecar_name(case_id)
        if sidecar_path != expected:
            reason = "lies in a folder where no run writes it"
            raise InputError(sidecar_path, reason, f"move the result to {expected.parent}")
        # Check the files that it lists.
        for name, sha256 in sidecar.files().items():
            _check_file(output / name, sha256)
    except TfsRtError as error:
        return Verdict(case_id, "bad", "not looked at", error.subject, error.reason, error.remedy)
    return Verdict(case_id, "good", _inputs_state(sidecar))


def _check_file(path: Path, sha256: str) -> None:
    try:
        if not path.exists():
            raise InputError(path, "is missing", REMEDY)
        if path_sha256(path) != sha256:
            kind = "series" if path.is_dir() else "image"
            raise InputError(path, f"is not the {kind} that was written", REMEDY)
    except OSError as error:
        raise InputError(path, f"cannot be read ({error.strerror})", "check the disk") from error


def _inputs_state(sidecar: Sidecar) -> Inputs:
    try:
        for facts in sidecar.inputs.values():
            if path_sha256(Path(facts["file"])) != facts["sha256"]:
                return "changed"
    except OSError:
        return "gone"
    return "as they were"
