"""What an output folder holds, checked against its own sidecars: nothing is recomputed, every file is hashed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfs_rt.cases import images_in
from tfs_rt.errors import InputError, NothingFound, TfsRtError
from tfs_rt.files import file_sha256
from tfs_rt.journal import Event, is_claimed, journal_path, read_events
from tfs_rt.preflight import REPORT
from tfs_rt.results import read_sidecar

RECENT = 20  # cases whose pace tells how long the rest will take
RUNNING, BROKEN = "running", "broken off"


@dataclass(frozen=True, slots=True)
class Checked:
    """What became of one result."""

    case: str
    verdict: Literal["good", "bad"]
    inputs: Literal["as they were", "changed", "gone"]
    reason: str = ""
    remedy: str = ""


def verify(folder: Path) -> Iterator[Checked]:
    """Every result of a folder, by case: its image and its sidecar must be as they were written.

    Inputs that were changed or taken away since are told apart, and are no fault of the result. Raises NothingFound for
    a folder without results.
    """
    try:
        sidecars = {path.stem for path in folder.glob("*.json") if path.name != REPORT}
        images = {path.stem for path in images_in(folder)}
    except OSError as error:
        raise NothingFound(folder, f"cannot be listed ({error.strerror})", "give a folder of results") from error
    if not sidecars | images:
        raise NothingFound(folder, "holds no results", "give the --output of tfs-rt fuse")
    for case in sorted(sidecars | images):
        yield _checked(folder, case, sidecar=case in sidecars)


def _checked(folder: Path, case: str, *, sidecar: bool) -> Checked:
    try:
        if not sidecar:
            raise InputError(case, "has no sidecar: its run was broken off, or it is not ours", "fuse it again")
        facts = read_sidecar(folder / f"{case}.json")
        image = folder / facts["result"]["file"]
        if facts["case"] != case or image.parent != folder:
            raise InputError(folder / f"{case}.json", f"is the sidecar of {facts['case']}", "give files their names")
        if not image.is_file():
            raise InputError(image, "is missing", "fuse the case again")
        if file_sha256(image) != facts["result"]["sha256"]:
            raise InputError(image, "is not the image that was written", "fuse the case again")
    except TfsRtError as error:
        return Checked(case, "bad", "as they were", error.reason, error.remedy)
    except OSError as error:
        return Checked(case, "bad", "as they were", f"cannot be read ({error.strerror})", "check the disk")
    return Checked(case, "good", _inputs(facts["inputs"].values()))


def _inputs(inputs: Any) -> Literal["as they were", "changed", "gone"]:
    try:
        same = all(file_sha256(Path(facts["file"])) == facts["sha256"] for facts in inputs)
    except OSError:
        return "gone"
    return "as they were" if same else "changed"


def status(folder: Path) -> dict[str, Any]:
    """How far the last run in a folder is: counts, how it ended or who works on it, and about how long it will take.

    Raises NothingFound for a folder where none was begun.
    """
    events, _ = read_events(journal_path(folder))
    start = next((i for i in reversed(range(len(events))) if events[i]["event"] == "begin"), None)
    if start is None:
        raise NothingFound(folder, "holds no run", "give the --output of tfs-rt fuse")
    begun, later = events[start], events[start + 1 :]
    ended = next((event["ended"] for event in later if event["event"] == "end"), None)
    state = RUNNING if is_claimed(folder) else ended or BROKEN
    counts = {kind: sum(event["event"] == kind for event in later) for kind in ("done", "kept", "failed")}
    left = begun["cases"] - sum(counts.values())
    found = {"state": state, "cases": begun["cases"], **counts, "left": left, "begun": begun["time"]}
    if state == RUNNING:
        found |= {"process": begun["pid"], "host": begun["host"], "seconds_left": _seconds_left(later, left)}
    return found | {"errors": {event["case"]: event["error"] for event in later if event["event"] == "failed"}}


def _seconds_left(events: list[Event], left: int) -> float | None:
    done = [event["seconds"] for event in events if event["event"] == "done"][-RECENT:]
    return round(left * sum(done) / len(done), 1) if done else None
