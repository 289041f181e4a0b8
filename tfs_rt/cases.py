"""Find cases: which three files belong together, by name and never by position.

A source is a folder of case folders (files named by modality), a folder with nnU-Net names (`case_0000.png` = m1,
`_0001` = m2, `_0002` = functional), a BIDS dataset or a subject of one, one case folder, or a CSV with the columns id,
m1, m2, functional.
A case that is not complete is refused on its own; the others stand.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from io import TextIOWrapper
from pathlib import Path

from tfs_rt import bids
from tfs_rt.errors import InputError, NothingFound, TfsRtError, UsageError, first_line
from tfs_rt.files import TEMPORARY, linked, open_regular
from tfs_rt.names import folded, images_in, stem_of
from tfs_rt.sidecar import SPREAD, is_ours, result_names, sidecar_name, spread_names
from tfs_rt.spec import SLOTS

ANATOMICAL = ("ct", "mr-t1", "mr-gad", "mr-pd", "mr-t2")  # in slot order: mr-t2 is m2 in every published group
FUNCTIONAL = ("pet", "spect")
MODALITIES = (*ANATOMICAL, *FUNCTIONAL)
NNUNET = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})")
REPORT, SHEETS, STATE = "report.json", "sheets", ".tfs-rt"  # names of our own in the output folder
RESERVED = {"report", SHEETS, SPREAD, "model", "dataset_description"}  # which no case may have
NAMING = (
    "name files by modality (ct, mr-t1, mr-t2, mr-gad, mr-pd, pet, spect), with the ending of their format (.dcm for "
    "DICOM), or give a CSV with id,m1,m2,functional"
)
BESIDE = (".json", ".txt", ".csv", ".tsv", ".xml", ".md", ".log")  # endings of what lies beside images


@dataclass(frozen=True, slots=True)
class Case:
    """Three registered images of one subject."""

    id: str
    files: dict[str, Path]  # by slot: m1, m2, functional
    labels: dict[str, str] = field(default_factory=dict)  # what else a CSV says of it, by column
    dataset: Path | None = None  # the BIDS dataset that holds it


@dataclass(frozen=True, slots=True)
class RefusedCase:
    """A case that cannot be run, and why."""

    id: str
    error: TfsRtError
    files: tuple[Path, ...] = ()  # those of its files that are there
    owns_result: bool = False  # a result of this name in the output folder is an earlier one of this case
    labels: dict[str, str] = field(default_factory=dict)


Found = Case | RefusedCase


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
            found += _from_source(source, output and output.resolve(), any_pair)
        except NothingFound as error:
            empty.append(error)
    if not found and empty:
        raise empty[0]
    counts = Counter(folded(case.id) for case in found)
    inputs = {_resolved(file) for case in found for file in _files(case)}
    if output and (hit := sorted(file for file in inputs if _is_of_a_run(file, _resolved(output)))):
        raise UsageError(hit[0], "is an input of this run, and a run writes there", "choose another --output")
    if output:
        bids.check_derivative(output, {case.dataset for case in found if isinstance(case, Case) and case.dataset})
    checked = [_checked(case, counts[folded(case.id)], output, inputs) for case in found]
    return [*checked, *(RefusedCase(Path(error.subject).name, error) for error in empty)]


def single(m1: Path, m2: Path, functional: Path, case_id: str | None) -> Case:
    """One case by its files; its id, if not given: the file's stem, or the folder's name if that is a modality."""
    folder = Path(os.path.abspath(functional)).parent.name  # noqa: PTH100
    own = case_id or (folder if _modality(functional) and folder else stem_of(functional))
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
    if source.suffix.lower() == ".csv":
        return list(_from_csv(source))
    raise UsageError(source, "is neither a folder nor a CSV", "give single images as --m1 A --m2 B --functional C")


def _from_bids(folder: Path, dataset: Path, any_pair: bool) -> Iterator[Found]:
    for found in bids.sessions(folder):
        problem = found.problem or _problem(found.present, any_pair)
        yield _paired(found.id, found.folder, found.present, problem, dataset)


def _from_folder(folder: Path, output: Path | None, any_pair: bool) -> Iterator[Found]:
    inner = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    ours = (output, output / SHEETS, output / SPREAD) if output else ()
    inner = [path for path in inner if path.resolve() not in ours and not _is_output(path)]
    if not any(_modality(file) for file in images_in(folder)):
        yield from _from_nnunet(folder)
        if stray := _stray(folder):
            yield RefusedCase(folder.name, InputError(folder, *stray))
        for path in inner:
            if not _is_series(path):
                yield from _from_inner_folder(path, any_pair)
    elif any(_holds_a_case(path) for path in inner):
        raise UsageError(folder, "holds images of one case and folders of others", "move the images into a folder")
    else:
        yield _from_case_folder(folder, any_pair)


def _from_inner_folder(folder: Path, any_pair: bool) -> Iterator[Found]:
    try:
        if images_in(folder):
            yield _from_case_folder(folder, any_pair)
        elif deeper := [path for path in sorted(folder.iterdir()) if path.is_dir() and _holds_a_case(path)]:
            reason = f"holds {len(deeper)} folders of cases, not images"
            yield RefusedCase(folder.name, InputError(folder, reason, "give this folder itself as a source"))
        elif stray := _stray(folder):
            yield RefusedCase(folder.name, InputError(folder, *stray))
    except OSError as error:
        fault = InputError(folder, f"cannot be read ({error.strerror})", "check its permissions")
        yield RefusedCase(folder.name, fault)


def _is_output(folder: Path) -> bool:
    """Whether an earlier run wrote its results there."""
    return _is_there(folder / REPORT) and not _holds_a_case(folder)


def _is_there(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # whoever reads or writes there will say so
        return False


def _holds_a_case(folder: Path) -> bool:
    try:
        return any(_modality(file) for file in images_in(folder))
    except OSError:
        return False


def _from_case_folder(folder: Path, any_pair: bool) -> Found:
    present: dict[str, list[Path]] = defaultdict(list)
    for file in images_in(folder):
        if modality := _modality(file):
            present[modality].append(file)
    problem = _problem(present, any_pair)
    return _paired(folder.name, folder, present, problem and (_stray(folder, present) or problem))


def _stray(folder: Path, present: Collection[str] = ()) -> tuple[str, str] | None:
    """What is wrong with things named by a modality that no image is there of: (reason, remedy); None without such."""
    things = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if series := [path.name for path in things if _modality(path) not in present and _is_series(path)]:
        reason = f"holds folders instead of files ({', '.join(series)})"
        return reason, "one file a modality: turn the series into NIfTI (dcm2niix) or one multi-frame DICOM"
    files = [path for path in things if path.is_file() and path.suffix.lower() not in BESIDE]
    files = [path for path in files if path not in images_in(folder)]
    if odd := [path.name for path in files if (named := _modality(path.with_suffix(""))) and named not in present]:
        reason = f"holds files whose format their ending does not say ({', '.join(odd)})"
        return reason, "give the files the ending of their format, .dcm for DICOM"
    return None


def _is_series(folder: Path) -> bool:
    """Whether a folder looks like the slices of one modality's image, in a file each."""
    try:
        inner = list(folder.iterdir()) if folder.is_dir() and _modality(folder) else []
        return any(path.is_file() for path in inner) and not any(_holds_a_case(path) for path in (folder, *inner))
    except OSError:
        return False


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


def _from_nnunet(folder: Path) -> Iterator[Found]:
    groups: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for file in images_in(folder):
        match = NNUNET.fullmatch(stem_of(file))
        if match and not is_ours(file):  # or it is a result
            groups[match["id"]].append((int(match["channel"]), file))
    for case_id, members in groups.items():
        channels = sorted(channel for channel, _ in members)
        if channels == [0, 1, 2]:
            yield Case(case_id, {SLOTS[channel]: file for channel, file in members})
        else:
            have = ", ".join(f"_{channel:04d}" for channel in channels)
            reason = f"has the channels {have}, expected _0000 (m1), _0001 (m2), _0002 (functional)"
            there = tuple(file for _, file in members)
            yield RefusedCase(case_id, InputError(folder / case_id, reason, "add or remove files"), there)


def read_list(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str | None]]]]:
    """A list of cases as its header and its rows, each with its line number; UsageError if it is no such CSV."""
    try:
        with TextIOWrapper(open_regular(path), newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            header = list(reader.fieldnames or [])
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(path, f"cannot be read as CSV ({first_line(error)})", "save it as UTF-8 CSV") from error
    for name in dict.fromkeys(("id", *SLOTS, *filter(None, header))):
        if header.count(name) != 1:
            reason = f"has {header.count(name)} columns {name!r} (first line: {','.join(header)})"
            raise UsageError(path, reason, "its first line must be id,m1,m2,functional, with commas")
    return header, rows


def _from_csv(path: Path) -> Iterator[Found]:
    _, rows = read_list(path)
    if not rows:
        raise NothingFound(path, "lists no case", "add a line per case under id,m1,m2,functional")
    for number, row in rows:
        cells = {name: (row[name] or "").strip() for name in ("id", *SLOTS)}
        labels = {name: (value or "").strip() for name, value in row.items() if name and name not in cells}
        case_id = cells.pop("id") or f"line {number}"
        if empty := [slot for slot, value in cells.items() if not value or "\0" in value]:
            there = tuple(path.parent / value for slot, value in cells.items() if slot not in empty)
            fault = InputError(f"{path}, line {number}", f"{empty[0]} is empty", "fill it in")
            yield RefusedCase(case_id, fault, there, labels=labels)
        else:
            yield Case(case_id, {slot: path.parent / value for slot, value in cells.items()}, labels)


def _checked(case: Found, count: int, output: Path | None, inputs: set[Path]) -> Found:
    """The case itself, or refused if its id is not unique, cannot be a file name, or would overwrite an input."""
    fault = None
    results = [output / name for name in (*result_names(case.id), sidecar_name(case.id))] if output else []
    spreads = [output / name for name in spread_names(case.id)] if output else []
    if count > 1:
        fault = InputError(case.id, f"{count} cases have this id", "rename all but one")
    elif not _can_be_a_file_name(case.id):
        fault = InputError(case.id, "this id cannot name a result", "choose letters and digits")
    elif hit := [result for result in results if _resolved(result) in inputs]:
        fault = InputError(hit[0], "is an input of this run", "choose another --output")
    elif blocked := [path for path in (*results, *spreads) if _is_there(path) and path.is_dir()]:
        fault = InputError(blocked[0], "is a folder where a result should go", "choose another --output")
    elif output and (link := linked(results[0].parent, output)):
        fault = InputError(link, "is a link where a result should go", "remove it, or choose another --output")
    if isinstance(case, RefusedCase):
        return replace(case, owns_result=fault is None)
    return RefusedCase(case.id, fault, labels=case.labels) if fault else case


def _can_be_a_file_name(case_id: str) -> bool:
    if any(unicodedata.category(c).startswith("C") or c in '/\\:*?"<>|' for c in case_id):
        return False
    return not case_id.startswith(".") and len(case_id.encode()) <= 200 and folded(case_id) not in RESERVED


def _is_of_a_run(file: Path, output: Path) -> bool:
    """Whether a run may write to a file or remove it, whatever its cases are called."""
    own = file.name == REPORT or TEMPORARY.fullmatch(file.name) is not None
    return (file.parent == output and own) or file.parent in (output / SHEETS, output / SPREAD, output / STATE)


def _files(case: Found) -> tuple[Path, ...]:
    return case.files if isinstance(case, RefusedCase) else tuple(case.files.values())


def _resolved(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):  # a link to itself: reading it will say so
        return path


def modality_of(file: Path) -> str | None:
    """The modality that a file's name says, in a case folder's way or in that of BIDS; None if it says none."""
    return _modality(file) or bids.modality_of(file.name)


def _modality(file: Path) -> str | None:
    """The modality that a file is named by, whatever its case and ending."""
    name = stem_of(file).lower().replace("_", "-")
    return name if name in MODALITIES else None
