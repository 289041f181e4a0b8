"""Find cases: which three files belong together, by name and never by position.

A source is a folder of case folders (files named by modality), a folder with nnU-Net names (`case_0000.png` = m1,
`_0001` = m2, `_0002` = functional), one case folder, or a CSV with the columns id, m1, m2, functional.
A case that is not complete is refused on its own; the others stand.
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.errors import InputError, NothingFound, UsageError
from tfs_rt.spec import SLOTS

ANATOMICAL = ("ct", "mr-t1", "mr-t2", "mr-gad", "mr-pd")
FUNCTIONAL = ("pet", "spect")
MODALITIES = (*ANATOMICAL, *FUNCTIONAL)
NNUNET = re.compile(r"(?P<id>.+)_(?P<channel>\d{4})\.png", re.IGNORECASE)
RESERVED = {"report", "sheets"}  # names of our own in the output folder
NAMING = "name files by modality (ct, mr-t1, mr-t2, mr-gad, mr-pd, pet, spect), or give a CSV with id,m1,m2,functional"


@dataclass(frozen=True, slots=True)
class Case:
    """Three registered images of one subject."""

    id: str
    files: dict[str, Path]  # by slot: m1, m2, functional


@dataclass(frozen=True, slots=True)
class RefusedCase:
    """A case that cannot be run, and why."""

    id: str
    error: InputError


Found = Case | RefusedCase


def discover(sources: Iterable[Path], *, output: Path) -> list[Found]:
    """All cases of all sources, in a stable order; what lies in the output folder is left out."""
    found = [case for source in sources for case in _from_source(source, output.resolve())]
    counts = Counter(_key(case.id) for case in found)
    return [_checked(case, counts[_key(case.id)]) for case in found]


def _from_source(source: Path, output: Path) -> list[Found]:
    if source.is_dir():
        found = list(_from_folder(source, output))
        if not found:
            raise NothingFound(source, "no case in this folder", NAMING)
        return found
    if not source.exists():
        raise NothingFound(source, "no such file or folder", "check the path")
    if source.suffix.lower() == ".csv":
        return list(_from_csv(source))
    raise UsageError(source, "is neither a folder nor a CSV", "give single images as --m1 A --m2 B --functional C")


def _from_folder(folder: Path, output: Path) -> Iterator[Found]:
    if any(_modality(file) for file in _files(folder)):
        yield _from_case_folder(folder)
        return
    yield from _from_nnunet(folder)
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith(".") and inner.resolve() != output and _files(inner):
            yield _from_case_folder(inner)


def _from_case_folder(folder: Path) -> Found:
    case_id = folder.resolve().name
    present: dict[str, list[Path]] = defaultdict(list)
    for file in _files(folder):
        if modality := _modality(file):
            present[modality].append(file)
    problem = _problem(present)
    if problem:
        return RefusedCase(case_id, InputError(folder, *problem))
    (m1,) = (name for name in present if name in ANATOMICAL and name != "mr-t2")
    (functional,) = (name for name in present if name in FUNCTIONAL)
    return Case(case_id, dict(zip(SLOTS, (present[m][0] for m in (m1, "mr-t2", functional)), strict=True)))


def _problem(present: dict[str, list[Path]]) -> tuple[str, str] | None:
    """What keeps these files from being one case: (reason, remedy)."""
    for modality, files in present.items():
        if len(files) > 1:
            return f"{modality} is there {len(files)} times ({', '.join(f.name for f in files)})", "keep one"
    anatomical = sorted(name for name in present if name in ANATOMICAL)
    functional = sorted(name for name in present if name in FUNCTIONAL)
    if not present:
        return "no file is named by its modality", NAMING
    if len(functional) != 1:
        return f"found {len(functional)} functional images, expected one of pet, spect", "add or remove files"
    if len(anatomical) != 2:
        listed = ", ".join(anatomical) or "none"
        return (
            f"found {len(anatomical)} anatomical images ({listed}), expected mr-t2 and one more",
            "add or remove files",
        )
    if "mr-t2" not in anatomical:
        reason = f"which of {' and '.join(anatomical)} is m2? it is mr-t2 in all the models were trained on"
        return reason, "say so in a CSV with id,m1,m2,functional"
    return None


def _from_nnunet(folder: Path) -> Iterator[Found]:
    groups: dict[str, dict[int, Path]] = defaultdict(dict)
    for file in _files(folder):
        if match := NNUNET.fullmatch(file.name):
            groups[match["id"]][int(match["channel"])] = file
    for case_id, channels in groups.items():
        if sorted(channels) == [0, 1, 2]:
            yield Case(case_id, {slot: channels[i] for i, slot in enumerate(SLOTS)})
        else:
            have = ", ".join(f"_{channel:04d}" for channel in sorted(channels))
            reason = f"has the channels {have}, expected _0000 (m1), _0001 (m2), _0002 (functional)"
            yield RefusedCase(case_id, InputError(folder / case_id, reason, "add or remove files"))


def _from_csv(path: Path) -> Iterator[Found]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(path, f"cannot be read as CSV ({error})", "save it as UTF-8 CSV") from error
    if not rows:
        raise NothingFound(path, "lists no case", "add a line per case under id,m1,m2,functional")
    if missing := [name for name in ("id", *SLOTS) if name not in rows[0]]:
        raise UsageError(path, f"lacks the column {missing[0]!r}", "its first line must be id,m1,m2,functional")
    for number, row in enumerate(rows, start=2):
        cells = {name: (row[name] or "").strip() for name in ("id", *SLOTS)}
        case_id = cells.pop("id") or f"line {number}"
        if empty := [slot for slot, value in cells.items() if not value]:
            yield RefusedCase(case_id, InputError(f"{path}, line {number}", f"{empty[0]} is empty", "fill it in"))
        else:
            yield Case(case_id, {slot: path.parent / value for slot, value in cells.items()})


def _checked(case: Found, count: int) -> Found:
    """The case itself, or refused if its id is not unique or cannot be a file name."""
    if isinstance(case, RefusedCase):
        return case
    if count > 1:
        return RefusedCase(case.id, InputError(case.id, f"{count} cases have this id", "rename all but one"))
    unsafe = any(unicodedata.category(c).startswith("C") or c in '/\\:*?"<>|' for c in case.id)
    if unsafe or case.id.startswith(".") or len(case.id.encode()) > 200 or _key(case.id) in RESERVED:
        return RefusedCase(
            case.id, InputError(repr(case.id), "this id cannot name a result", "choose letters and digits")
        )
    return case


def _key(case_id: str) -> str:
    return unicodedata.normalize("NFC", case_id).casefold()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))


def _modality(file: Path) -> str | None:
    """The modality that a file's name says, whatever its case and ending; None if it says none."""
    name = file.stem.lower().replace("_", "-")
    return name if name in MODALITIES else None
