"""Make a training set from registered groups at full resolution: ground truth, low-resolution inputs, splits, hashes.

    OUT/manifest.json                   all of it, with every file's SHA-256
    OUT/records/<id>.json               a case's part of the manifest, written when the case is done
    OUT/<split>/x1/<id>_0000.png ...    the sources: m1, m2, functional
    OUT/<split>/x4/<id>_0000.png ...    the same, degraded by Pillow's antialiased bicubic
    OUT/<split>/truth/<id>.png          BitonicX at full resolution

Each slice of a volume is a group of its own, <id>-slice001 and so on, of the volume's patient and split.

Every folder of sources is one that `tfs-rt fuse` and `tfs-rt eval --sources` take. A case is done if its record says so
and every file has the hash that stands there; anything else is made again, so that a run may be killed and repeated.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import BaseFileLock, Timeout

from tfs_rt import __version__
from tfs_rt.cases.case import Case, FoundCase, RefusedCase
from tfs_rt.cases.load import Loaded, ReadingOptions, load_case
from tfs_rt.cases.modalities import modality_of
from tfs_rt.cases.remedies import restricted
from tfs_rt.cases.slices import slice_ids, volume_of
from tfs_rt.errors import EnvironmentFault, InputError, TfsRtError, UsageError, first_line
from tfs_rt.formats.png import encode_png
from tfs_rt.images import RGB
from tfs_rt.methods.bitonicx import fuse as bitonicx
from tfs_rt.output.results import prepare_output, write_json
from tfs_rt.spec import SLOTS
from tfs_rt.system import signals
from tfs_rt.system.files import file_sha256, read_regular, temporaries_of, write_file
from tfs_rt.system.locks import acquire
from tfs_rt.system.os_errors import write_fault
from tfs_rt.system.resource_limits import limit_fault
from tfs_rt_reference.data.groups import LIMIT, MANIFEST, low_resolution, read_manifest
from tfs_rt_reference.data.splits import SPLITS, assign_patients, assign_splits

BUSY = "another tfs-rt prepare is running there"

Record = dict[str, Any]
Outcome = list[Record] | TfsRtError  # a record for each slice


@dataclass(frozen=True, slots=True)
class Request:
    """A training set to make: its cases, its scales, its splits and its folder."""

    output: Path
    cases: Sequence[FoundCase]
    scales: tuple[int, ...] = (2, 4, 8)
    patient: str | None = None  # a pattern whose first group is the patient in a case's id
    val: float = 0.1  # shares of the cases
    test: float = 0.2
    workers: int = 1
    reading: ReadingOptions = field(default_factory=lambda: ReadingOptions(offered=()))


@dataclass(frozen=True, slots=True)
class Prepared:
    """The outcome of each case."""

    records: dict[str, Record] = field(default_factory=dict)
    failed: dict[str, TfsRtError] = field(default_factory=dict)

    def splits(self) -> dict[str, tuple[int, int]]:
        """Cases and patients by split."""
        by_split: dict[str, list[Record]] = {split: [] for split in SPLITS}
        for record in self.records.values():
            by_split[record["split"]].append(record)
        patients = {split: {record["patient"] for record in records} for split, records in by_split.items()}
        return {split: (len(records), len(patients[split])) for split, records in by_split.items()}


def prepare(request: Request, on_outcome: Callable[[str, Outcome], None] = lambda case, outcome: None) -> Prepared:
    """Make the set, or finish one that was interrupted. A case that fails stops only itself.

    Raises UsageError if the output holds anything else, or a set of another recipe.
    """
    # Assign each case to its patient and its split.
    patients = assign_patients(request.cases, request.patient)
    splits = assign_splits(request.cases, patients, val=request.val, test=request.test)
    # A refused id may be anything: leave out those that are not a plain name.
    case_ids = [case for case in sorted(patients) if Path(case).name == case]
    assignments = {case: {"patient": patients[case], "split": splits[case]} for case in case_ids}
    # Describe the set: a folder with another recipe is refused.
    recipe = {"tfs-rt": __version__, "truth": "bitonicx", "scales": list(request.scales), "cases": assignments}
    if (reading := request.reading.recipe()) != ReadingOptions().recipe():
        recipe["reading"] = reading
    prepared = Prepared()

    def record_outcome(case: str, outcome: Outcome) -> None:
        if isinstance(outcome, TfsRtError):
            prepared.failed[case] = outcome
        else:
            prepared.records.update({record["id"]: record for record in outcome})
        on_outcome(case, outcome)

    def prepare_one(case: Case) -> tuple[str, Outcome]:
        return case.id, _attempt(case, assignments[case.id], request, assignments.keys())

    # Prepare the cases in parallel; refused cases are recorded at once.
    cases = [case for case in request.cases if isinstance(case, Case)]
    with _locked(request.output):
        _open_set(request.output, recipe)
        for case in request.cases:
            if isinstance(case, RefusedCase):
                record_outcome(case.id, restricted(case.error, request.reading.offered))
        _in_parallel(prepare_one, cases, request.workers, record_outcome)
        # Remove the remains of failed cases, and write the manifest.
        for case in prepared.failed.keys() & assignments.keys():
            _remove_groups(case, assignments[case]["split"], request, keep=set())
        _write_manifest(request.output, recipe, prepared)
    return prepared


@contextmanager
def _locked(output: Path) -> Generator[None]:
    """Lock the folder against other runs; the lock ends with the process, however it ends."""
    prepare_output(output)
    with ExitStack() as stack:
        descriptor = os.open(output, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(output, BUSY, "wait for it") from error
        except OSError:  # a file system that cannot lock a folder
            stack.callback(_lock_beside(output).release)
        yield


def _lock_beside(output: Path) -> BaseFileLock:
    """A lock by a file beside the output folder, which holds nothing but the set."""
    try:
        return acquire(output.resolve().with_name(f".{output.name}.lock"), timeout=0)
    except Timeout as error:
        remedy = f"wait for it, or, if it has ended, remove {error.lock_file}"
        raise UsageError(output, BUSY, remedy) from error
    except OSError as error:
        raise write_fault(output.parent, error, "choose another --output") from error


def _in_parallel(
    prepare_one: Callable[[Case], tuple[str, Outcome]],
    cases: Iterable[Case],
    workers: int,
    record_outcome: Callable[[str, Outcome], None],
) -> None:
    """Run in threads: the slow parts release the GIL, and a killed process leaves no children."""
    with ThreadPoolExecutor(workers) as pool:
        try:
            for job in as_completed([pool.submit(prepare_one, case) for case in cases]):
                record_outcome(*job.result())
                signals.check()
        except BaseException as error:
            pool.shutdown(wait=False, cancel_futures=True)
            raise limit_fault(error) or error from None


def _attempt(case: Case, place: dict[str, str], request: Request, case_ids: Collection[str]) -> Outcome:
    try:
        return _prepare_case(load_case(case, 1, None, request.reading), place, request, case_ids)
    except EnvironmentFault:
        raise
    except TfsRtError as error:
        return error
    except OSError as error:
        raise write_fault(error.filename or request.output, error, "choose another --output") from error
    except Exception as error:  # no file, however odd, may stop the others
        if fault := limit_fault(error):
            raise fault from error
        return InputError(case.id, f"cannot be prepared ({first_line(error)})", "report this case")


def _prepare_case(loaded: Loaded, place: dict[str, str], request: Request, case_ids: Collection[str]) -> list[Record]:
    """The records of a case's groups: one for an image, and one for each slice of a volume."""
    case = loaded.case
    # Check the size, and the names of slices.
    height, width = loaded.size
    if indivisible := [scale for scale in request.scales if height % scale or width % scale]:
        reason = f"{width}x{height} cannot be divided by {indivisible[0]}"
        raise InputError(f"case {case.id}", reason, "crop its three images")
    ids = slice_ids(case.id, len(loaded.slices))
    if taken := [name for name in ids if name != case.id and name in case_ids]:
        raise InputError(f"case {case.id}", f"has a slice called {taken[0]}, as another case is", "rename one of them")
    # Prepare each group, and remove those of an earlier volume of more slices.
    sources = {slot: {**loaded.inputs[slot], "modality": modality_of(case.files[slot])} for slot in SLOTS}
    records: list[Record] = []
    for number, (group, images) in enumerate(zip(ids, loaded.slices, strict=True), 1):
        of_volume = {"volume": case.id, "slice": number} if len(ids) > 1 else {}
        facts = {"id": group, **of_volume, **place, "width": width, "height": height, "sources": sources}
        records.append(_prepare_group(facts, images, request))
    _remove_groups(case.id, place["split"], request, keep=set(ids))
    return records


def _prepare_group(facts: Record, images: Sequence[RGB], request: Request) -> Record:
    """The record of one group of images (H, W, 3), whose files are written unless they are there."""
    # Keep the group if it was prepared from the same sources.
    record_file = request.output / "records" / f"{facts['id']}.json"
    names = _names(facts["id"], facts["split"], request.scales)
    if record := _already_done(record_file, facts, request.output, names):
        return record
    # Make the images: the sources at each scale, and the ground truth.
    record_file.unlink(missing_ok=True)
    made = [low_resolution(image, scale) for scale in (1, *request.scales) for image in images]
    made.append(bitonicx.fuse(*images))
    # Write the images, and last the record.
    files = {}
    for name, image in zip(names, made, strict=True):
        data = encode_png(_drop_equal_channels(image))
        (request.output / name).parent.mkdir(parents=True, exist_ok=True)
        write_file(request.output / name, data)
        files[name] = hashlib.sha256(data).hexdigest()
    write_json(record_file, {**facts, "files": files})
    return {**facts, "files": files}


def _names(case: str, split: str, scales: tuple[int, ...]) -> list[str]:
    """A case's files, with nnU-Net's names for the three images; the ground truth last."""
    sources = [f"{split}/x{scale}/{case}_{channel:04d}.png" for scale in (1, *scales) for channel in range(len(SLOTS))]
    return [*sources, f"{split}/truth/{case}.png"]


def _already_done(record_file: Path, facts: Record, output: Path, names: list[str]) -> Record | None:
    """The record of an earlier run if it is of these very sources and every file is as it was written."""
    try:
        record = json.loads(read_regular(record_file, LIMIT))
        files = record["files"]
        whole = [*files] == names and record == {**facts, "files": files}
        intact = whole and all(file_sha256(output / name) == sha256 for name, sha256 in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if intact else None


def _drop_equal_channels(image: RGB) -> RGB:
    """An image (H, W, 3) as (H, W) if its channels are equal."""
    return image[..., 0] if (image == image[..., :1]).all() else image


def _open_set(output: Path, recipe: Record) -> None:
    """Begin a set, or go on with one of the same recipe; temporary files of a killed run are deleted.

    Until it is finished the set counts as incomplete: its files may come from earlier sources.
    """
    # Refuse a folder with other contents.
    unfinished = temporaries_of(output, {MANIFEST})
    if not (output / MANIFEST).exists():
        if any(path not in unfinished for path in output.iterdir()):
            raise UsageError(output, "is not empty, and holds no training set", "choose another --output")
    else:
        differing = _differences(output, recipe)
        if differing and any(path not in unfinished for path in output.iterdir() if path.name != MANIFEST):
            reason = f"holds a set made by another recipe (it differs in {', '.join(differing)})"
            raise UsageError(output, reason, "choose another --output")
    # Mark the set as incomplete.
    _write_manifest(output, recipe, None)
    # Delete the temporary files in all its folders.
    names = defaultdict(set)
    for case, place in recipe["cases"].items():
        for name in (*_names(case, place["split"], tuple(recipe["scales"])), f"records/{case}.json"):
            folder, _, file = name.rpartition("/")
            names[output / folder].add(file)
    slices = tuple(f"{case}-slice" for case in recipe["cases"])
    for folder, files in names.items():
        unfinished |= temporaries_of(folder, files, slices)
    for path in unfinished:
        path.unlink()


def _differences(output: Path, recipe: Record) -> list[str]:
    try:
        earlier = read_manifest(output)["recipe"]
    except InputError as error:
        raise UsageError(error.subject, error.reason, "choose another --output") from error
    return sorted(key for key in {*earlier, *recipe} if earlier.get(key) != recipe.get(key))


def _remove_groups(case: str, split: str, request: Request, *, keep: Collection[str]) -> None:
    """Delete the earlier groups of a case, or of the slices of a volume, but for those to keep."""
    records = request.output / "records"
    slices = [path.stem for path in records.glob(f"{glob.escape(case)}-slice*.json")]
    for group in [case, *slices]:
        belongs = group == case or (volume_of(group) or ("", 0))[0] == case
        if belongs and group not in keep:
            _remove(group, case, split, request)


def _remove(group: str, case: str, split: str, request: Request) -> None:
    """Delete a group's earlier files, if they are as its record lists them."""
    record_file = request.output / "records" / f"{group}.json"
    try:
        record = json.loads(read_regular(record_file, LIMIT))
        if record.get("volume", group) != case:
            return  # another case has the name of a slice
        files = record["files"]
        ours = [
            name for name in _names(group, split, request.scales) if file_sha256(request.output / name) == files[name]
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return
    for name in ours:
        (request.output / name).unlink()
    record_file.unlink()


def _write_manifest(output: Path, recipe: Record, prepared: Prepared | None) -> None:
    """The manifest of a set that is begun (no outcome yet) or complete."""
    manifest: Record = {"schema": 1, "complete": prepared is not None, "recipe": recipe}
    if prepared:
        manifest["cases"] = [prepared.records[case] for case in sorted(prepared.records)]
        manifest["failed"] = {case: str(prepared.failed[case]) for case in sorted(prepared.failed)}
    write_json(output / MANIFEST, manifest)
