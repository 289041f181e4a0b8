"""BIDS derivatives: the entries and files that make an output folder a derivative of a BIDS dataset.

    OUTPUT/sub-01/ses-02/anat/sub-01_ses-02_desc-fused_T2w.nii.gz
    OUTPUT/dataset_description.json, OUTPUT/.bidsignore

Brain Imaging Data Structure 1.10, https://bids-specification.readthedocs.io.
"""

from __future__ import annotations

import json
import os
from collections.abc import Set
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from tfs_rt import __version__
from tfs_rt.errors import UsageError
from tfs_rt.facts import Facts, json_bytes
from tfs_rt.output.provenance import RESEARCH_USE
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular, real_path, write_file

DESCRIPTION = "dataset_description.json"
IGNORE = ".bidsignore"
IGNORED = b"/report.json\n/spread\n/sheets\n/.tfs-rt\n"  # our files that are not part of BIDS
VERSION = "1.10.0"  # of BIDS
LIMIT = 2**22  # bytes of a JSON file that is read
RAW = "raw"  # name of the source dataset in links


def check_dataset(output: Path, datasets: Set[Path]) -> None:
    """Raise UsageError if results of these datasets cannot be a derivative in this folder."""
    if len(datasets) > 1:
        names = " and ".join(sorted(str(path) for path in datasets))
        raise UsageError(names, "are two BIDS datasets, and a derivative is of one", "give each an --output of its own")
    for dataset in datasets:
        if real_path(dataset) == real_path(output):
            raise UsageError(output, "is the dataset itself", "choose another --output, as its derivatives/tfs-rt")
        _read_description(output, dataset)


def write_description(output: Path, dataset: Path) -> None:
    """Write the description of a derivative of a dataset, and the list of files for BIDS to ignore.

    Files that are as they should be are not written again, and entries that a user has added stay. Raises UsageError if
    the folder is another dataset.
    """
    if not os.path.lexists(output / IGNORE):
        write_file(output / IGNORE, IGNORED)
    before = _read_description(output, dataset)
    now = _new_description(output, dataset)

    # Our entry among the programs is brought up to date; those of other programs stay.
    (our_entry,) = now["GeneratedBy"]
    programs = [{**entry, **our_entry} if _is_our_entry(entry) else entry for entry in before.get("GeneratedBy", [])]
    links = {**_links(before), **now["DatasetLinks"]}
    after = {**now, **before, "DatasetLinks": links, "GeneratedBy": programs or [our_entry]}
    if after != before:
        write_file(output / DESCRIPTION, json_bytes(after))


def sidecar_entries(dataset: Path, files: dict[str, Path], made_by: str) -> Facts:
    """The BIDS entries of a result's sidecar, by the files of its case by slot.

    The result is without the skull if both anatomical images are, according to the sidecars beside them.
    """
    names = [file.relative_to(dataset).as_posix() for file in files.values()]
    suffixes = [name.rpartition("_")[2].partition(".")[0] for name in names]
    words = f"{', '.join(suffixes[:-1])} and {suffixes[-1]} fused into one RGB image by tfs-rt ({made_by})"
    return {
        "Description": f"{words}; {RESEARCH_USE}",
        "Sources": [f"bids:{RAW}:{name}" for name in names],
        "SkullStripped": all(_is_skull_stripped(files[slot]) for slot in SLOTS[:2]),
    }


def _is_skull_stripped(image: Path) -> bool:
    beside = image.with_name(f"{image.name.partition('.')[0]}.json")
    return (_read_json(beside) or {}).get("SkullStripped") is True


def _new_description(output: Path, dataset: Path) -> Facts:
    license_ = (_read_json(dataset / DESCRIPTION) or {}).get("License")
    return {
        "Name": "Fused images",
        "BIDSVersion": VERSION,
        "DatasetType": "derivative",
        **({"License": license_} if isinstance(license_, str) else {}),
        "GeneratedBy": [{"Name": "tfs-rt", "Version": __version__}],
        "DatasetLinks": {RAW: _link(output, dataset)},
    }


def _read_description(output: Path, dataset: Path) -> Facts:
    """The description in an output folder, empty if there is none; UsageError unless it is ours and of this dataset."""
    path = output / DESCRIPTION
    if not os.path.lexists(path):
        return {}
    facts = _read_json(path)
    programs = facts.get("GeneratedBy") if facts else None
    if not facts or not isinstance(programs, list) or not any(map(_is_our_entry, programs)):
        raise UsageError(path, "describes a dataset that tfs-rt has not made", "choose another --output")

    # A link to a folder that is not there any more may be of this dataset, which was moved.
    link = _links(facts).get(RAW)
    linked = real_path(output) / os.fsdecode(unquote_to_bytes(link)) if isinstance(link, str) else output
    if linked.is_dir() and real_path(linked) not in (real_path(dataset), real_path(output)):
        raise UsageError(path, f"describes a derivative of another dataset ({link})", "choose another --output")
    return facts


def _is_our_entry(program: object) -> bool:
    return isinstance(program, dict) and program.get("Name") == "tfs-rt"


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


def _read_json(path: Path) -> Facts | None:
    """The entries of a JSON object; None if it cannot be read."""
    try:
        facts = json.loads(read_regular(path, LIMIT))
    except (OSError, ValueError, RecursionError):
        return None
    return facts if isinstance(facts, dict) else None
