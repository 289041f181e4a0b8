"""Find cases: which three files belong together, by name and never by position.

A source is a folder of case folders at any depth (files named by modality), a folder with nnU-Net names
(`case_0000.png` = m1, `_0001` = m2, `_0002` = functional), a BIDS dataset or a subject of one, one case folder, or a
CSV with the columns id, m1, m2, functional.
A case that is not complete is refused on its own; the others stand. No folder is listed once per case, so that time
grows with the number of files and no faster.
"""

from __future__ import annotations

import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from tfs_rt.cases import bids
from tfs_rt.cases.case import Case, Found, RefusedCase
from tfs_rt.cases.csv_list import ENDINGS, read_list
from tfs_rt.cases.folders import NAMING, case_folders
from tfs_rt.cases.names import (
    ANATOMICAL,
    FUNCTIONAL,
    NNUNET,
    Listing,
    list_folder,
    modality_named,
    real_path,
    stem_of,
    stem_of_name,
)
from tfs_rt.errors import InputError, NothingFound, UsageError
from tfs_rt.output.conflicts import OutputFolder
from tfs_rt.output.folder import SHEETS
from tfs_rt.output.sidecar import SPREAD, is_ours
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import folded

RESERVED = {"report", SHEETS, SPREAD, "model", "dataset_description"}  # which no case may have
LONGEST = 200  # bytes of an id: a file name holds 255, its ending and a temporary name's included
FORBIDDEN = '/\\:*?"<>|'  # by one file system or another
SEVERAL = 3  # places of one id that a message names


def discover(
    sources: Iterable[Path], *, output: Path | None = None, given: Iterable[Case] = (), any_pair: bool = False
) -> list[Found]:
    """All cases of all sources and those given by hand, in a stable order, but for what lies in the output folder.

    `output` is where results named by the cases will go, if anywhere: none may be in the way of an input. A source in
    which nothing is found is refused like a case, unless nothing is found anywhere. `any_pair` takes folders without
    an mr-t2 too, in the order of ANATOMICAL: for methods to which the order is all but the same.
    """
    found: list[Found] = list(given)
    empty: list[NothingFound] = []
    for source in dict.fromkeys(Path(os.path.abspath(source)) for source in sources):  # noqa: PTH100 - links keep their names
        try:
            found += _from_source(source, output and real_path(output), any_pair)
        except NothingFound as error:
            empty.append(error)
    if not found and empty:
        raise empty[0]
    places = _places(found)
    target = OutputFolder.of(output, (file for case in found for file in _files(case))) if output else None
    if output:
        bids.check_derivative(output, {case.dataset for case in found if isinstance(case, Case) and case.dataset})
    checked = [_checked(case, places[folded(case.id)], target) for case in found]
    return [*checked, *(RefusedCase(Path(error.subject).name, error) for error in empty)]


def single(m1: Path, m2: Path, functional: Path, case_id: str | None) -> Case:
    """One case by its files; its id, if not given: the file's stem, or the folder's name if that is a modality."""
    folder = Path(os.path.abspath(functional)).parent.name  # noqa: PTH100
    own = case_id or (folder if modality_named(functional.name) and folder else stem_of(functional))
    files = {"m1": m1, "m2": m2, "functional": functional}
    return Case(own, {slot: Path(os.path.abspath(file)) for slot, file in files.items()})  # noqa: PTH100


def _from_source(source: Path, output: Path | None, any_pair: bool) -> list[Found]:
    try:
        if source.is_dir():
            dataset = bids.dataset_of(source)
            found = list(_from_bids(source, dataset, any_pair) if dataset else _from_folder(source, output, any_pair))
            if not found:
                what, naming = ("BIDS dataset", f"of an image, {bids.NAMING}") if dataset else ("folder", NAMING)
                raise NothingFound(source, f"no case in this {what}", naming)
            return found
        if not source.exists():
            raise NothingFound(source, "no such file or folder", "check the path")
    except OSError as error:
        raise NothingFound(source, f"cannot be read ({error.strerror})", "check its permissions") from error
    if source.suffix.lower() in ENDINGS:
        return list(_from_csv(source))
    as_files = "give single images as --m1 A --m2 B --functional C"  # `output` is given by tfs-rt fuse alone
    listed = "give the folder that holds it, or list its case in a CSV with id,m1,m2,functional"
    raise UsageError(source, "is neither a folder nor a CSV", as_files if output else listed)


def _from_bids(folder: Path, dataset: Path, any_pair: bool) -> Iterator[Found]:
    for found in bids.sessions(folder):
        problem = found.problem or _problem(found.present, any_pair)
        yield _paired(found.id, found.folder, found.present, problem, dataset)


def _from_folder(folder: Path, output: Path | None, any_pair: bool) -> Iterator[Found]:
    top = list_folder(folder)
    if not top.named_by_modality():
        yield from _from_nnunet(top)
    ours = {str(path) for path in (output, output / SHEETS, output / SPREAD)} if output else set()
    for found in case_folders(folder, top, ours):
        problem = found.problem
        if not problem and (incomplete := _problem(found.present, any_pair)):
            problem = found.hint or incomplete
        yield _paired(found.id, found.folder, found.present, problem)


def _paired(
    case_id: str,
    folder: Path,
    present: dict[str, list[Path]],
    problem: tuple[str, str] | None,
    dataset: Path | None = None,
) -> Found:
    """The case of the images that a folder holds by modality, or what is wrong with them."""
    if problem:
        there = tuple(file for files in present.values() for file in files)
        return RefusedCase(case_id, InputError(folder, *problem), there)
    m1, m2 = sorted((name for name in present if name in ANATOMICAL), key=ANATOMICAL.index)
    (functional,) = (name for name in present if name in FUNCTIONAL)
    files: dict[str, Path] = dict(zip(SLOTS, (present[name][0] for name in (m1, m2, functional)), strict=True))
    return Case(case_id, files, dataset=dataset)


def _problem(present: dict[str, list[Path]], any_pair: bool) -> tuple[str, str] | None:
    """What keeps these files from being one case: (reason, remedy)."""
    for modality, files in present.items():
        if len(files) > 1:
            names = ", ".join(file.name for file in files)
            return f"{modality} is there {len(files)} times ({names})", "keep one, or list the case in a CSV"
    anatomical = sorted(name for name in present if name in ANATOMICAL)
    functional = sorted(name for name in present if name in FUNCTIONAL)
    if not present:
        return "no file is named by its modality", NAMING
    if len(functional) != 1:
        return f"found {len(functional)} functional images, expected one of pet, spect", "add or remove files"
    if len(anatomical) != 2:
        wanted, listed = "two" if any_pair else "mr-t2 and one more", ", ".join(anatomical) or "none"
        return f"found {len(anatomical)} anatomical images ({listed}), expected {wanted}", "add or remove files"
    if "mr-t2" not in anatomical and not any_pair:
        reason = f"which of {' and '.join(anatomical)} is m2? it is mr-t2 in all the models were trained on"
        return reason, "say so in a CSV with id,m1,m2,functional"
    return None


def _from_nnunet(top: Listing) -> Iterator[Found]:
    groups: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for name in top.images:
        match = NNUNET.fullmatch(stem_of_name(name))
        if match and not is_ours(file := top.folder / name):  # or it is a result
            groups[match["id"]].append((int(match["channel"]), file))
    for case_id, members in groups.items():
        channels = sorted(channel for channel, _ in members)
        if channels == [0, 1, 2]:
            yield Case(case_id, {SLOTS[channel]: file for channel, file in members})
        else:
            have = ", ".join(f"_{channel:04d}" for channel in channels)
            reason = f"has the channels {have}, expected _0000 (m1), _0001 (m2), _0002 (functional)"
            there = tuple(file for _, file in members)
            yield RefusedCase(case_id, InputError(top.folder / case_id, reason, "add or remove files"), there)


def _from_csv(path: Path) -> Iterator[Found]:
    header, rows = read_list(path)
    if not rows:
        raise NothingFound(path, "lists no case", "add a line per case under id,m1,m2,functional")
    columns = [name for name in header if name and name not in ("id", *SLOTS)]
    for row in rows:
        labels = {name: row.cells[name] for name in columns}
        files = {slot: row.cells[slot] for slot in SLOTS}
        case_id = row.cells["id"] or f"line {row.line}"
        missing = [slot for slot, value in files.items() if not value or "\0" in value]
        problem = row.problem or (missing and (f"{missing[0]} is empty", "fill it in"))
        if problem:
            there = tuple(path.parent / value for slot, value in files.items() if slot not in missing)
            fault = InputError(f"{path}, line {row.line}", *problem)
            yield RefusedCase(case_id, fault, there, labels=labels)
        else:
            yield Case(case_id, {slot: path.parent / value for slot, value in files.items()}, labels)


def _places(found: Iterable[Found]) -> dict[str, list[str]]:
    """Where the cases of each id are, by folded id."""
    places: dict[str, list[str]] = defaultdict(list)
    for case in found:
        files = _files(case)
        places[folded(case.id)].append(str(files[0].parent if files else case.id))
    return places


def _checked(case: Found, places: list[str], target: OutputFolder | None) -> Found:
    """The case itself, or refused if its id is not unique, cannot be a file name, or would overwrite an input."""
    fault = None
    if len(places) > 1:
        more = ", ..." if len(places) > SEVERAL else ""
        reason = f"{len(places)} cases have this id ({', '.join(places[:SEVERAL])}{more})"
        fault = InputError(case.id, reason, "rename all but one, or list them in a CSV under ids of their own")
    elif problem := _id_problem(case.id):
        fault = InputError(case.id, *problem)
    elif target:
        fault = target.conflict(case.id)
    if isinstance(case, RefusedCase):
        return replace(case, owns_result=fault is None)
    return RefusedCase(case.id, fault, labels=case.labels) if fault else case


def _id_problem(case_id: str) -> tuple[str, str] | None:
    """The problem of an id that cannot be a file name on some system: (reason, remedy)."""
    reason = ""
    remedy = "rename it with letters, digits, - and _, or list the case in a CSV under another id"
    if bad := sorted({c for c in case_id if unicodedata.category(c).startswith("C") or c in FORBIDDEN}):
        reason = f"it holds {', '.join(map(ascii, bad))}"
    elif case_id.startswith("."):
        reason = "it begins with a dot, and would be hidden"
    elif folded(case_id) in RESERVED:
        reason = f"a run has a file of its own by that name ({', '.join(sorted(RESERVED))})"
    elif (length := len(case_id.encode())) > LONGEST:
        reason = f"it has {length} bytes, and a result's name has room for {LONGEST}"
        remedy = "shorten it, or list the case in a CSV under a shorter id"
    return (f"this id cannot name a result: {reason}", remedy) if reason else None


def _files(case: Found) -> tuple[Path, ...]:
    return case.files if isinstance(case, RefusedCase) else tuple(case.files.values())


def modality_of(file: Path) -> str | None:
    """The modality that a file's name says, in a case folder's way or in that of BIDS; None if it says none."""
    return modality_named(file.name) or bids.modality_of(file.name)
