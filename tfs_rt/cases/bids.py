"""BIDS: which images of a dataset are one case, and what makes an output folder a derivative of that dataset.

    DATASET/sub-01/ses-02/anat/sub-01_ses-02_T1w.nii.gz        also T2w, PDw, ct, pet, spect, in any datatype folder
    OUTPUT/sub-01/ses-02/anat/sub-01_ses-02_desc-fused_T2w.nii.gz
    OUTPUT/dataset_description.json, OUTPUT/.bidsignore

Brain Imaging Data Structure 1.10, https://bids-specification.readthedocs.io. Its official part has no suffix for CT and
SPECT; the ones here follow its drafts.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Set
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from tfs_rt import __version__
from tfs_rt.cases.names import Candidate, real_path
from tfs_rt.errors import UsageError
from tfs_rt.facts import Facts, as_json
from tfs_rt.output.sidecar import FUSED, LIMIT, RESEARCH_USE, is_ours
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular, write_file

OTHERS = {"beh", "dwi", "eeg", "fmap", "func", "ieeg", "meg", "micr", "motion", "mrs", "nirs", "perf"}
DATATYPES = {"anat", "ct", "nm", "pet", "spect"} | OTHERS
SUFFIXES = {"T1w": "mr-t1", "T2w": "mr-t2", "PDw": "mr-pd", "ct": "ct", "pet": "pet", "spect": "spect"}
IMAGE = re.compile(rf"(?:(?P<entities>.*)_)?(?P<suffix>{'|'.join(SUFFIXES)})\.nii(?:\.gz)?", re.IGNORECASE)
ENTITY = re.compile(r"[A-Za-z]+-[A-Za-z0-9]+")
NAMING = "name it sub-<label>[_ses-<label>][_<entity>-<label>]_<T1w, T2w, PDw, ct, pet or spect>.nii.gz"
DESCRIPTION, IGNORE = "dataset_description.json", ".bidsignore"
IGNORED = b"/report.json\n/spread\n/sheets\n/.tfs-rt\n"  # what of an output folder is in no BIDS
VERSION, RAW = "1.10.0", "raw"  # of BIDS; the name by which results call the dataset that they are made of


def dataset_of(folder: Path) -> Path | None:
    """The dataset that a folder is, or that it is a subject of, if it looks like one."""
    if (folder / DESCRIPTION).is_file() or any(map(_holds_data, _folders(folder, "sub-"))):
        return folder
    return folder.parent if folder.name.startswith("sub-") and _holds_data(folder) else None


def sessions(folder: Path) -> Iterator[Candidate]:
    """All sessions of a dataset or of a subject, in a stable order, but for those without an image of a modality."""
    for subject in [folder] if dataset_of(folder) != folder else _folders(folder, "sub-"):
        try:
            for place in (subject, *_folders(subject, "ses-")):
                session = _session(subject, place)
                if session.present or session.problem:
                    yield session
        except OSError as error:
            yield Candidate(subject.name, subject, {}, (f"cannot be read ({error.strerror})", "check its permissions"))


def modality_of(name: str) -> str | None:
    """The modality that a file's name says in the way of BIDS; None if it says none."""
    parsed = _parsed(name)
    return parsed[1] if parsed else None


def _session(subject: Path, folder: Path) -> Candidate:
    labels = [subject.name] if folder == subject else [subject.name, folder.name]
    case_id = f"{'_'.join(labels)}_desc-fused_T2w"
    present, problem = defaultdict(list), None
    for file in _images(folder):
        parsed = _parsed(file.name)
        if parsed:
            present[parsed[1]].append(file)
        if not parsed:
            problem = f"{file.name} is no name of BIDS", NAMING
        elif [f"{key}-{parsed[0][key]}" for key in ("sub", "ses") if key in parsed[0]] != labels:
            problem = f"{file.name} lies in a folder of {' and '.join(labels)}", "move it to its own, or rename it"
    if not FUSED.fullmatch(case_id):
        problem = f"{labels[-1]} is no label of BIDS", "write letters and digits alone"
    return Candidate(case_id, folder, dict(present), problem)


def _images(folder: Path) -> list[Path]:
    """What is called like an image in a session's datatype folders, fetched or not, but for results of ours."""
    images = []
    for place in _folders(folder):
        if place.name in DATATYPES:
            with os.scandir(place) as entries:
                names = [entry.name for entry in entries if IMAGE.fullmatch(entry.name) and not entry.is_dir()]
            images += [place / name for name in sorted(names) if not name.startswith(".")]
    return [file for file in images if not _is_result(file)]


def _is_result(file: Path) -> bool:
    return bool(FUSED.fullmatch(file.name.partition(".")[0])) and is_ours(file)


def _parsed(name: str) -> tuple[dict[str, str], str] | None:
    """(labels by entity, modality) of an image's name; None if it is none of BIDS."""
    match = IMAGE.fullmatch(name)
    if not match or not match["entities"] or match["suffix"] not in SUFFIXES:
        return None
    pairs = match["entities"].split("_")
    entities = dict(pair.split("-", 1) for pair in pairs if ENTITY.fullmatch(pair))
    if len(entities) != len(pairs) or next(iter(entities)) != "sub":
        return None
    enhanced = match["suffix"] == "T1w" and "ce" in entities
    return entities, "mr-gad" if enhanced else SUFFIXES[match["suffix"]]


def _folders(folder: Path, prefix: str = "") -> list[Path]:
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(prefix) and entry.is_dir()]
    return [folder / name for name in sorted(names)]


def _holds_data(subject: Path) -> bool:
    try:
        places = (subject, *_folders(subject, "ses-"))
        return any(path.name in DATATYPES for place in places for path in _folders(place))
    except OSError:
        return False


def check_derivative(output: Path, datasets: Set[Path]) -> None:
    """UsageError if results of these datasets cannot be a derivative in this folder."""
    if len(datasets) > 1:
        names = " and ".join(sorted(str(path) for path in datasets))
        raise UsageError(names, "are two BIDS datasets, and a derivative is of one", "give each an --output of its own")
    for dataset in datasets:
        if real_path(dataset) == real_path(output):
            raise UsageError(output, "is the dataset itself", "choose another --output, as its derivatives/tfs-rt")
        _described(output, dataset)


def describe(output: Path, dataset: Path) -> None:
    """Write what makes an output folder a derivative of a dataset, but for what is there and as it should be.

    What a user has added stays. Raises UsageError if the folder is another dataset.
    """
    if not os.path.lexists(output / IGNORE):
        write_file(output / IGNORE, IGNORED)
    before = _described(output, dataset)
    now = _description(output, dataset)
    (us,) = now["GeneratedBy"]
    made_by = [{**entry, **us} if _is_us(entry) else entry for entry in before.get("GeneratedBy", [us])]
    links = {"DatasetLinks": {**_links(before), **now["DatasetLinks"]}, "GeneratedBy": made_by}
    if before != (after := {**now, **before, **links}):
        write_file(output / DESCRIPTION, as_json(after))


def sources(dataset: Path, files: dict[str, Path], made_by: str) -> Facts:
    """What a result's sidecar says in BIDS's words of the files that it was made of, by slot.

    It is without the skull if both anatomical images are said to be, each by the sidecar beside it.
    """
    names = [file.relative_to(dataset).as_posix() for file in files.values()]
    suffixes = [name.rpartition("_")[2].partition(".")[0] for name in names]
    words = f"{', '.join(suffixes[:-1])} and {suffixes[-1]} fused into one RGB image by tfs-rt ({made_by})"
    return {
        "Description": f"{words}; {RESEARCH_USE}",
        "Sources": [f"bids:{RAW}:{name}" for name in names],
        "SkullStripped": all(_is_stripped(files[slot]) for slot in SLOTS[:2]),
    }


def _is_stripped(image: Path) -> bool:
    beside = image.with_name(f"{image.name.partition('.')[0]}.json")
    return (_read(beside) or {}).get("SkullStripped") is True


def _description(output: Path, dataset: Path) -> Facts:
    license_ = (_read(dataset / DESCRIPTION) or {}).get("License")
    return {
        "Name": "Fused images",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        **({"License": license_} if isinstance(license_, str) else {}),
        "GeneratedBy": [{"Name": "tfs-rt", "Version": __version__}],
        "DatasetLinks": {RAW: _link(output, dataset)},
    }


def _described(output: Path, dataset: Path) -> Facts:
    """An output folder's description, if it has one; UsageError if that is of no derivative of ours of this dataset."""
    path = output / DESCRIPTION
    if not os.path.lexists(path):
        return {}
    facts = _read(path)
    made_by = facts.get("GeneratedBy") if facts else None
    if not facts or not isinstance(made_by, list) or not any(map(_is_us, made_by)):
        raise UsageError(path, "describes a dataset that tfs-rt has not made", "choose another --output")
    link = _links(facts).get(RAW)
    there = real_path(output) / os.fsdecode(unquote_to_bytes(link)) if isinstance(link, str) else output
    if there.is_dir() and real_path(there) not in (real_path(dataset), real_path(output)):
        raise UsageError(path, f"describes a derivative of another dataset ({link})", "choose another --output")
    return facts


def _is_us(made_by: object) -> bool:
    return isinstance(made_by, dict) and made_by.get("Name") == "tfs-rt"


def _links(facts: Facts) -> Facts:
    links = facts.get("DatasetLinks")
    return links if isinstance(links, dict) else {}


def _link(output: Path, dataset: Path) -> str:
    """A URI from an output folder to a dataset: relative, so that both can be moved together."""
    try:
        relative = os.path.relpath(real_path(dataset), real_path(output))
    except ValueError:  # on another drive
        return real_path(dataset).as_uri()
    return quote(os.fsencode(Path(relative).as_posix()))


def _read(path: Path) -> Facts | None:
    """A JSON object's entries; None if there is none to be read."""
    try:
        facts = json.loads(read_regular(path, LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
