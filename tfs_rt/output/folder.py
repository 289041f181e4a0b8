"""Every name in an output folder.

OUTPUT/<case>.png, .dcm or .nii.gz         a result
OUTPUT/<case>/0001.dcm, 0002.dcm, ...      a result that is a DICOM series
OUTPUT/<case>.json                         its sidecar: what made it of what
OUTPUT/sub-01/ses-02/anat/<case>.*         both, for a case of a BIDS dataset
OUTPUT/spread/<case>.*, <case>/            how far its samples lie apart: a picture, and numbers as TIFF
OUTPUT/sheets/001.png                      contact sheets
OUTPUT/report.json                         what became of every case
OUTPUT/.tfs-rt/lock, journal.jsonl         state of a run over all cases
OUTPUT/.tfs-rt/job                         digest of the job that the shards below belong to
OUTPUT/.tfs-rt/shards/2-of-8/              lock, journal.jsonl and report.jsonl of a shard
"""

from __future__ import annotations

import re
from pathlib import Path

SERIES = "dicom-series"  # form of a result that is a folder
ENDINGS = {
    "png": ".png",
    "dicom": ".dcm",
    "nifti": ".nii.gz",
    SERIES: "",
}  # of results, by their form: a format in `tfs_rt.formats.registry`, or SERIES
SERIES_FILE = re.compile(r"\d{4,}\.dcm")  # name of a slice in the folder of a series
REPORT = "report.json"
SHEETS = "sheets"
SPREAD = "spread"
SPREAD_NUMBERS = ".tif"  # ending of a spread's numbers
FILE_ENDINGS = (*filter(None, ENDINGS.values()), SPREAD_NUMBERS, ".json")  # of the files of results

STATE = ".tfs-rt"
SHARDS = "shards"
LOCK = "lock"
JOB = "job"
JOURNAL = "journal.jsonl"
SHARD_REPORT = "report.jsonl"

RESERVED_IDS = {"report", SHEETS, SPREAD, "model", "dataset_description"}  # a case of such an id would overwrite a file

# The id of a BIDS case, also with the entities by which its images were chosen: sub-01_run-1_desc-fused_T2w.
BIDS_RESULT = re.compile(
    r"(?P<sub>sub-[A-Za-z0-9]+)(?:_(?P<ses>ses-[A-Za-z0-9]+))?(?:_(?!sub-|ses-|desc-)[a-z]+-[A-Za-z0-9]+)*_desc-fused_T2w"
)


def result_stem(case_id: str) -> str:
    """Path of a case's result in the output folder, without its ending: BIDS ids lie in BIDS folders."""
    match = BIDS_RESULT.fullmatch(case_id)
    if not match:
        return case_id
    folders = [match["sub"], match["ses"], "anat"]
    return "/".join([folder for folder in folders if folder] + [case_id])


def sidecar_name(case_id: str) -> str:
    """Path of a case's sidecar in the output folder."""
    return f"{result_stem(case_id)}.json"


def result_name(case_id: str, form: str) -> str:
    """Path of a case's result of a form in the output folder."""
    return f"{result_stem(case_id)}{ENDINGS[form]}"


def result_names(case_id: str) -> list[str]:
    """All paths that a case's result may have: one for each form."""
    return [result_name(case_id, form) for form in ENDINGS]


def spread_names(case_id: str) -> list[str]:
    """All paths that the maps of a case's spread may have: pictures in the result's form, and numbers."""
    return [f"{SPREAD}/{case_id}{ending}" for ending in (*ENDINGS.values(), SPREAD_NUMBERS)]


def result_folders(folder: Path) -> list[Path]:
    """The folders in which results may lie: the output folder, and BIDS folders in it."""
    nested: list[Path] = []
    for pattern in ("sub-*/anat", "sub-*/ses-*/anat"):
        nested += [path for path in folder.glob(pattern) if path.is_dir()]
    return [folder, *sorted(nested)]
