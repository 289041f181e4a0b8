#!/usr/bin/env python3
"""Fuse three series of a PACS, and store the fused series there.

    python fuse_study.py --url http://127.0.0.1:8042/dicom-web --study UID --m1 CT --m2 MR:t2 --functional PT -- --align

The series are fetched by DICOMweb into a temporary folder, fused by the command `tfs-rt fuse` with the options after
`--`, and the result is stored in the study of m1. The UID of the new series is printed on stdout, and nothing else.
A second run makes the same UIDs and stores nothing twice. Exit codes are those of `tfs-rt`: 2 wrong usage, 3 a result
with warnings, which is not stored, 4 a series that is not found, 6 the server; others come from `tfs-rt fuse` itself.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

try:
    import pydicom.config
    import requests
    from dicomweb_client import DICOMwebClient
    from pydicom import Dataset, dcmread
except ImportError as error:
    sys.exit(f"error: {error}: pip install dicomweb-client 'tfs-rt[cpu,dicom]'")

UID = r"\d+(\.\d+)+"
SLOTS = ("m1", "m2", "functional")
AS_STORED = (("application/dicom", "*"),)  # without another compression
USAGE, WARNED, NOT_FOUND, SERVER = 2, 3, 4, 6  # exit codes


class Fault(Exception):
    """A reason why the study was not fused or not stored, with a remedy and the exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def list_series(pacs: DICOMwebClient, studies: Iterable[str]) -> list[Dataset]:
    """The series of the studies, as QIDO describes them."""
    listed: list[Dataset] = []
    for study in studies:
        answer = pacs.search_for_series(study, fields=["PatientID", "SeriesDescription"], get_remaining=True)
        if not answer:
            raise Fault(NOT_FOUND, f"the server has no study {study}: check --study, and whether the study has arrived")
        for item in answer:
            series = Dataset.from_json(item)
            series.StudyInstanceUID = study
            listed.append(series)
    return listed


def list_instances(pacs: DICOMwebClient, series: Dataset) -> set[str]:
    """The SOP Instance UIDs that the server has of a series."""
    # By a filter: some servers answer with an error if a path names a series that they do not have.
    only = {"SeriesInstanceUID": series.SeriesInstanceUID}
    answer = pacs.search_for_instances(series.StudyInstanceUID, search_filters=only, get_remaining=True)
    return {str(Dataset.from_json(item).SOPInstanceUID) for item in answer}


def choose(listed: list[Dataset], slot: str, wanted: str) -> Dataset:
    """The one series with this UID, or of this modality and with these words in its description."""
    modality, _, words = wanted.partition(":")
    if re.fullmatch(UID, wanted):
        fitting = [series for series in listed if series.SeriesInstanceUID == wanted]
    else:
        fitting = [
            series
            for series in listed
            if series.get("Modality") == modality.upper()
            and words.casefold() in str(series.get("SeriesDescription", "")).casefold()
        ]
    if len(fitting) == 1:
        return fitting[0]
    found = "\n".join(
        f"  {series.get('Modality')}  {series.SeriesInstanceUID}  {series.get('SeriesDescription', '')}"
        for series in fitting or listed
    )
    if fitting:
        raise Fault(USAGE, f"{len(fitting)} series fit --{slot} {wanted}: give the UID of one of them\n{found}")
    raise Fault(NOT_FOUND, f"no series fits --{slot} {wanted}: the server has\n{found}")


def fetch(pacs: DICOMwebClient, series: Dataset, folder: Path) -> list[str]:
    """Write the files of a series, each named by the SHA-256 of its content; the names in order."""
    folder.mkdir()
    names: list[str] = []
    fetched: set[str] = set()
    for dataset in pacs.iter_series(series.StudyInstanceUID, series.SeriesInstanceUID, media_types=AS_STORED):
        buffer = io.BytesIO()
        dataset.save_as(buffer, enforce_file_format=True)
        names.append(hashlib.sha256(buffer.getvalue()).hexdigest())
        fetched.add(str(dataset.SOPInstanceUID))
        (folder / f"{names[-1]}.dcm").write_bytes(buffer.getvalue())
    # Without this, a series of which a part arrived could give a shorter result.
    if fetched != list_instances(pacs, series):
        reason = f"series {series.SeriesInstanceUID} did not come as a whole"
        raise Fault(SERVER, f"{reason}: run again when the server has received all of it")
    return sorted(names)


def fuse(folder: Path, case: str, output: Path, options: list[str]) -> list[Path]:
    """Fuse the series in the folders m1, m2 and functional of `folder`; the files of the result."""
    command = [sys.executable, "-m", "tfs_rt", "fuse", *options, "--id", case, "-o", str(output)]
    for slot in SLOTS:
        command += [f"--{slot}", str(folder / slot)]
    code = subprocess.run(command, stdout=sys.stderr, check=False).returncode
    if code:
        reason = f"tfs-rt fuse ended with exit code {code}: nothing was stored; its message is above"
        raise Fault(code if code > 0 else 128 - code, reason)
    files = sorted((output / case).glob("*.dcm")) or list(output.glob(f"{case}.dcm"))
    if not files:
        raise Fault(USAGE, "the result is not DICOM, so it cannot be stored: give three series of DICOM images")
    return files


def store(pacs: DICOMwebClient, files: list[Path], source: Dataset) -> str:
    """Store the files that the server does not have, and check that it has the series; its UID."""
    heads = {path: dcmread(path, stop_before_pixels=True) for path in files}
    fused = next(iter(heads.values()))
    present = list_instances(pacs, fused)
    for path, head in heads.items():
        if head.SOPInstanceUID not in present:
            answer = pacs.store_instances([dcmread(path)])
            if answer.get("FailedSOPSequence"):
                code = answer.FailedSOPSequence[0].get("FailureReason", 0)
                raise Fault(SERVER, f"the server refused a slice (0x{code:04X}): see its log, then run again")
    # Ask the server for what it has now.
    name = str(fused.SeriesInstanceUID)
    stored = [series for series in list_series(pacs, [source.StudyInstanceUID]) if series.SeriesInstanceUID == name]
    if [series.get("PatientID") for series in stored] != [source.get("PatientID")]:
        raise Fault(SERVER, f"the server does not have series {name} in the study and patient of m1: look for it there")
    if list_instances(pacs, fused) != {str(head.SOPInstanceUID) for head in heads.values()}:
        raise Fault(SERVER, f"the server has other slices of series {name} than were stored: delete it and run again")
    return name


def web_address(text: str) -> str:
    """An address without a password, which messages would show."""
    if not re.match(r"https?://[^/@]+(/|$)", text):
        raise argparse.ArgumentTypeError("give http://HOST:PORT/ROOT; ~/.netrc holds user and password")
    return text


def uid(text: str) -> str:
    """A DICOM UID."""
    if not re.fullmatch(UID, text):
        raise argparse.ArgumentTypeError("give a UID: numbers between dots")
    return text


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The options of this program, and those of `tfs-rt fuse` after `--`."""
    first, *_ = (__doc__ or "").splitlines()
    parser = argparse.ArgumentParser(description=first, epilog="Options of tfs-rt fuse follow after --.")
    parser.add_argument("--url", required=True, type=web_address, help="root of the server's DICOMweb services")
    parser.add_argument("--study", required=True, type=uid, action="append", metavar="UID", help="may be repeated")
    for slot in SLOTS:
        parser.add_argument(f"--{slot}", required=True, metavar="SERIES", help="UID, MODALITY or MODALITY:WORDS")
    parser.add_argument("--store-warned", action="store_true", help="also store a result with warnings")
    parser.add_argument("-o", "--output", type=Path, metavar="FOLDER", help="keep the result here, too")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parsed = parser.parse_args(arguments[:end])
    parsed.fuse_options = arguments[end + 1 :]
    return parsed


def fuse_study(options: argparse.Namespace, folder: Path) -> str:
    """Fetch, fuse and store; the UID of the new series. The folder is empty."""
    # Choose the three series, and fetch them.
    pacs = DICOMwebClient(options.url)
    pacs.set_http_retry_params(retry=False)
    listed = list_series(pacs, options.study)
    chosen = {slot: choose(listed, slot, getattr(options, slot)) for slot in SLOTS}
    contents = [fetch(pacs, chosen[slot], folder / slot) for slot in SLOTS]
    # Fuse them. The name stands for all files, so that a folder may keep the results of several studies.
    case = "pacs-" + hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:32]
    output = options.output or folder / "fused"
    files = fuse(folder, case, output, options.fuse_options)
    # Store a result without warnings.
    warnings = json.loads((output / f"{case}.json").read_text(encoding="utf-8"))["warnings"]
    if warnings and not options.store_warned:
        reason = "the result has warnings (above), so it was not stored"
        raise Fault(WARNED, f"{reason}: look at it with -o FOLDER, then give --store-warned if it is right")
    return store(pacs, files, chosen["m1"])


def main(arguments: list[str]) -> int:
    """Run the program; its exit code."""
    # Values that pydicom finds wrong are of the patient: it must not print them.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    options = parse_arguments(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="tfs-rt-pacs-") as folder:
            print(fuse_study(options, Path(folder)))
    except Fault as fault:
        print(f"error: {fault}", file=sys.stderr)
        return fault.code
    except requests.ConnectionError:
        print(f"error: no server answers at {options.url}: check --url, and that the server runs", file=sys.stderr)
        return SERVER
    except requests.RequestException as error:
        remedy = "check that --url is the root of its DICOMweb services; ~/.netrc holds user and password"
        print(f"error: the server failed: {error}: {remedy}", file=sys.stderr)
        return SERVER
    return 0


if __name__ == "__main__":
    # An exit deletes the images that were fetched; the default action would leave them.
    for stop in (signal.SIGINT, signal.SIGTERM):
        signal.signal(stop, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
