"""Weak points of the shipped models: by modality, and by their worst windows.

    python -m tfs_rt_studies.weak_points SET -o docs --pictures SHOWN

SET and SHOWN are made by `tfs-rt prepare`; the images of SHOWN may be published. Every split of SET is measured, those
trained on too, which says what a modality costs where none of it was held out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
from tfs_rt.system.files import write_file
from tfs_rt_bench.measures.metrics import psnr
from tfs_rt_reference.data.groups import Group, read_cases, read_groups
from tfs_rt_studies.pages import fused, shipped_scales, shown_groups, write_jpeg

WINDOW = 64  # pixels square: what is shown of a case
AMPLIFIED = 4
HEAD = "Made by `python -m tfs_rt_studies.weak_points`: the shipped models in their own number of steps."
BY_MODALITY = """Mean PSNR in dB to the BitonicX fusion at full resolution. The shipped models were trained on `train`
and chosen by `val`."""
WORST = f"Of each case the {WINDOW}x{WINDOW} pixels, or as many as it has, with the largest error."


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


def by_modality(methods: dict[int, Methods], root: Path) -> list[str]:
    """A table in Markdown: mean PSNR in dB of model and two-stage for each combination of modalities."""
    scales = " | ".join(f"x{scale}, two-stage | x{scale}, model | x{scale}, better in" for scale in methods)
    lines = [f"| inputs | split | cases | {scales} |", "|---|---|---|" + "---|---|---|" * len(methods)]
    for modalities, split, groups in strata(root):
        cells = [modalities, split, str(len(groups))]
        for pair in methods.values():
            ours, theirs = (
                np.array([psnr(squared_error(fused(fuser, g), g.truth).mean()) for g in groups])
                for fuser in (pair.model, pair.two_stage)
            )
            cells += [f"{theirs.mean():.2f}", f"**{ours.mean():.2f}**", str((ours > theirs).sum())]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


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
        ours = fused(pair.model, group)
        theirs = fused(pair.two_stage, group)
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
    """`weak-points.md` and its pictures."""
    methods = {
        scale: Methods(load_pipeline(f"tfs-rt/x{scale}"), TwoStage("bitonicx", scale)) for scale in shipped_scales()
    }
    if not methods:
        raise UsageError("models", "none ships with this installation", "install tfs-rt with its engines")
    if not (shown := shown_groups(pictures, ROWS)):
        raise UsageError(pictures, "holds no case", "name a set whose images may be shown")
    prepare_output(output)
    lines = ["# Weak points", "", HEAD, "", "## By modality", "", BY_MODALITY, "", *by_modality(methods, data), ""]
    lines += ["## Where it is worst", "", WORST, ""]
    for scale, pair in methods.items():
        name = f"weak-points-x{scale}.jpg"
        write_jpeg(output / name, picture(pair, shown))
        lines += [f"![x{scale}: {', '.join(group.id for group in shown)}]({name})", ""]
    write_file(output / "weak-points.md", "\n".join(lines).encode())


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
