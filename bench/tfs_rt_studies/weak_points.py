"""Weak points of the shipped models: by modality, and by their worst windows.

    python -m tfs_rt_studies.weak_points SET -o docs/studies --pictures SHOWN

SET and SHOWN are made by `tfs-rt prepare`; the images of SHOWN may be published. Every split of SET is measured, those
trained on too, which says what a modality costs where none of it was held out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tfs_rt.errors import TfsRtError, UsageError
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.methods.method import FusionMethod
from tfs_rt.methods.two_stage import TwoStage
from tfs_rt.output.contact_sheet import ROWS, contact_sheet
from tfs_rt.output.results import prepare_output
from tfs_rt.spec import SLOTS
from tfs_rt_bench.markdown import table
from tfs_rt_bench.measures.metrics import psnr
from tfs_rt_reference.data.groups import Group, read_cases, read_groups
from tfs_rt_studies.pages import fill_page, fuse_group, shipped_scales, shown_groups, write_jpeg

WINDOW = 64  # pixels a side of the picture of a case
AMPLIFIED = 4


@dataclass(frozen=True, slots=True)
class Methods:
    """The comparison at one scale."""

    model: FusionMethod
    two_stage: FusionMethod


def squared_error(result: RGB, truth: RGB) -> np.ndarray:
    """(H, W): the mean of R, G, B, in squared grey levels."""
    return ((result.astype(np.float64) - truth) ** 2).mean(axis=2)


def strata(root: Path) -> Iterator[tuple[str, str, list[Group]]]:
    """(modalities, split, groups) of a set, held-out splits first."""
    records = read_cases(root)
    inputs = {record["id"]: " + ".join(_modality(record, slot) for slot in SLOTS) for record in records}
    splits = {record["split"] for record in records}
    for split in sorted(splits, key=lambda name: (name == "train", name)):
        groups = read_groups(root, split)
        for modalities in sorted({inputs[group.id] for group in groups}):
            yield modalities, split, [group for group in groups if inputs[group.id] == modalities]


def _modality(record: dict, slot: str) -> str:
    return record["sources"][slot]["modality"] or f"{slot} of unknown modality"


def by_modality(methods: dict[int, Methods], root: Path) -> list[dict[str, Any]]:
    """For each combination of modalities and split: mean PSNR in dB of model and two-stage, by scale."""
    records = []
    for modalities, split, groups in strata(root):
        psnrs = {}
        for scale, pair in methods.items():
            model = _psnrs(pair.model, groups)
            two_stage = _psnrs(pair.two_stage, groups)
            better = int((model > two_stage).sum())
            psnrs[f"x{scale}"] = {"two_stage": two_stage.mean(), "model": model.mean(), "better_in": better}
        records.append({"inputs": modalities, "split": split, "cases": len(groups), "psnr": psnrs})
    return records


def _psnrs(fuser: FusionMethod, groups: Sequence[Group]) -> np.ndarray:
    """PSNR in dB of a method's result, group by group."""
    return np.array([psnr(squared_error(fuse_group(fuser, group), group.truth).mean()) for group in groups])


def modality_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """The records of `by_modality` as a table."""
    columns = ["inputs", "split", "cases"]
    for scale in records[0]["psnr"]:
        columns += [f"{scale}, two-stage", f"{scale}, model", f"{scale}, better in"]
    rows = []
    for record in records:
        row = [record["inputs"], record["split"], str(record["cases"])]
        for found in record["psnr"].values():
            row += [f"{found['two_stage']:.2f}", f"**{found['model']:.2f}**", str(found["better_in"])]
        rows.append(row)
    return table(columns, rows)


def worst(result: RGB, truth: RGB) -> tuple[slice, slice]:
    """The window of a result with the largest squared error."""
    side = min(WINDOW, *truth.shape[:2])
    windows = sliding_window_view(squared_error(result, truth), (side, side)).mean(axis=(2, 3))
    top, left = np.unravel_index(windows.argmax(), windows.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def picture(pair: Methods, groups: Sequence[Group]) -> RGB:
    """One row per group: the worst window of the model's result, and what else there is of it."""
    rows = []
    for group in groups:
        ours = fuse_group(pair.model, group)
        theirs = fuse_group(pair.two_stage, group)
        window = worst(ours, group.truth)
        difference = np.abs(ours.astype(int) - group.truth) * AMPLIFIED
        shown = [
            *((f"{slot}, full resolution", image) for slot, image in zip(SLOTS, group.sources, strict=True)),
            ("ground truth", group.truth),
            (f"tfs-rt x{pair.model.scale}", ours),
            (f"difference, {AMPLIFIED} times", difference.clip(0, 255).astype(np.uint8)),
            ("two-stage", theirs),
        ]
        rows.append((group.id, [(label, image[window]) for label, image in shown]))
    return contact_sheet(rows)


def write_page(data: Path, output: Path, pictures: Path) -> None:
    """The tables, figures and pictures of `weak-points.md`."""
    # Load the models, and check the pictures' set.
    methods = {
        scale: Methods(load_pipeline(f"tfs-rt/x{scale}"), TwoStage("bitonicx", scale)) for scale in shipped_scales()
    }
    if not methods:
        raise UsageError("models", "none ships with this installation", "install tfs-rt with its engines")
    if not (shown := shown_groups(pictures, ROWS)):
        raise UsageError(pictures, "holds no case", "name a set whose images may be shown")
    # Measure by modality, and draw the pictures.
    prepare_output(output)
    records = by_modality(methods, data)
    pictures_of = []
    for scale, pair in methods.items():
        name = f"weak-points-x{scale}.jpg"
        write_jpeg(output / name, picture(pair, shown))
        pictures_of += [f"![x{scale}: {', '.join(group.id for group in shown)}]({name})", ""]
    # Write the page.
    blocks = {"by modality": modality_table(records), "pictures": pictures_of[:-1]}
    fill_page(output / "weak-points.md", blocks, records)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--pictures", type=Path, required=True, metavar="SHOWN", help="a set whose images may be shown")
    arguments = parser.parse_args()
    try:
        write_page(arguments.data, arguments.output, arguments.pictures)
    except TfsRtError as error:
        sys.exit(f"weak_points: {error}")


if __name__ == "__main__":
    main()
