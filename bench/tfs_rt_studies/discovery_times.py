"""Seconds of a processor to find the cases of a source, by layout and number of cases.

    python -m tfs_rt_studies.discovery_times [--counts 100,1000,10000,33334]

The sources are made of empty files in a temporary folder. The output folder is there too, and holds a file for each
result and its sidecar.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tfs_rt.batch.shards import Shard
from tfs_rt.cases.discover import discover
from tfs_rt.spec import SLOTS

NAMES = ("mr-t1.png", "mr-t2.png", "pet.png")
COUNTS = (100, 1000, 10_000, 33_334)


def case_folders(root: Path, count: int) -> Path:
    """A folder for each case."""
    return _touch(root, (f"k{number:05d}/{name}" for number in range(count) for name in NAMES))


def nested_folders(root: Path, count: int) -> Path:
    """Ten sessions for each patient."""
    return _touch(root, (f"p{number // 10:04d}/s{number % 10}/{name}" for number in range(count) for name in NAMES))


def flat_folder(root: Path, count: int) -> Path:
    """nnU-Net names in one folder."""
    return _touch(root, (f"k{number:05d}_{channel:04d}.png" for number in range(count) for channel in range(3)))


def modality_folders(root: Path, count: int) -> Path:
    """A folder for each modality, with equal names."""
    return _touch(root, (f"{folder}/k{number:05d}.png" for folder in ("CT", "MR", "PET") for number in range(count)))


def named_files(root: Path, count: int) -> Path:
    """Names of case and modality in one folder."""
    return _touch(root, (f"k{number:05d}_{name}" for number in range(count) for name in NAMES))


def bids_dataset(root: Path, count: int) -> Path:
    """A subject for each case."""
    images = (("anat", "T1w"), ("anat", "T2w"), ("pet", "pet"))
    subjects = (f"sub-{number:05d}" for number in range(count))
    return _touch(root, (f"{sub}/{kind}/{sub}_{suffix}.nii.gz" for sub in subjects for kind, suffix in images))


def csv_list(root: Path, count: int) -> Path:
    """A CSV, whose images lie in a folder for each case."""
    case_folders(root, count)
    folders = (f"k{number:05d}" for number in range(count))
    rows = [",".join((folder, *(f"{folder}/{name}" for name in NAMES))) for folder in folders]
    path = root / "cases.csv"
    path.write_text("\n".join([",".join(("id", *SLOTS)), *rows]))
    return path


LAYOUTS = {
    "case folders": case_folders,
    "nested folders": nested_folders,
    "flat folder": flat_folder,
    "modality folders": modality_folders,
    "named files": named_files,
    "BIDS": bids_dataset,
    "CSV": csv_list,
}


def measured(layout: str, count: int) -> tuple[float, float, float]:
    """Seconds to find all cases: for an empty output folder, for a full one, and with the share of one shard of 8."""
    with tempfile.TemporaryDirectory() as folder:
        # Make the input folder.
        source = Path(folder) / "in"
        output = Path(folder) / "out"
        source.mkdir()
        output.mkdir()
        given = LAYOUTS[layout](source, count)
        # Time the search with an empty output folder.
        begun = time.process_time()
        found = discover([given], output=output)
        empty = time.process_time() - begun
        assert len(found) == count, f"{len(found)} of {count} cases found"
        # Time the search with a full output folder.
        _touch(output, (f"{case.id}{ending}" for case in found for ending in (".png", ".json")))
        begun = time.process_time()
        found = discover([given], output=output)
        full = time.process_time() - begun
        # Add the time to choose a shard's cases.
        shard = Shard(1, 8)
        own = [case for case in found if shard.holds(case.id)]
        return empty, full, time.process_time() - begun if own else 0.0


def _touch(root: Path, names: Iterator[str]) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default=",".join(map(str, COUNTS)))
    counts = [int(text) for text in parser.parse_args().counts.split(",")]
    print("| layout | cases | seconds | output folder full | and a shard |")
    print("|---|---|---|---|---|")
    for layout in LAYOUTS:
        for count in counts:
            cells = " | ".join(f"{seconds:.2f}" for seconds in measured(layout, count))
            print(f"| {layout} | {count} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
