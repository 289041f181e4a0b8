"""Accuracy of a bundle against ground truth: `python -m tfs_rt_studies.accuracy.record DATA --model engines/x4`.

DATA is a set made by `tfs-rt prepare`; the measures are those of `tfs-rt eval`, means over whole images. Beside the
model stands the ground truth itself, degraded and upsampled ("bicubic truth"): a perfect fusion without
super-resolution.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.errors import TfsRtError
from tfs_rt.images import RGB, resize
from tfs_rt.methods.diffusion import Pipeline, load_pipeline
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.manifest import write_manifest
from tfs_rt_bench.measures.intervals import summarise
from tfs_rt_bench.measures.metrics import Scores, colour_bias, psnr, ssim_map
from tfs_rt_reference.data.groups import Group, low_resolution, read_groups


def score(result: RGB, truth: RGB) -> Scores:
    """PSNR in dB, SSIM, and the mean difference per channel in grey levels."""
    mse = float(np.mean((result.astype(np.float64) - truth) ** 2))
    return {"psnr": psnr(mse), "ssim": float(ssim_map(result, truth)[0]), **colour_bias(result, truth)}


def evaluate(pipeline: Pipeline, groups: list[Group]) -> Scores:
    """Mean scores of a pipeline over groups, from their degraded sources."""
    scale = pipeline.bundle.manifest.model.scale
    fused = (pipeline.fuse([group.degraded(scale)], [group.id], size=group.size)[0] for group in groups)
    return mean([score(image, group.truth) for image, group in zip(fused, groups, strict=True)])


def bicubic_truth(groups: list[Group], scale: int) -> Scores:
    """Mean scores of the ground truth itself, degraded and upsampled."""
    restored = [resize(low_resolution(group.truth, scale), group.size) for group in groups]
    return mean([score(image, group.truth) for image, group in zip(restored, groups, strict=True)])


def mean(scores: list[Scores]) -> Scores:
    """The mean of each measure over the cases where it is finite; None where it is nowhere."""
    return {key: summarise([s[key] for s in scores]).mean for key in scores[0]}


def record(model: Path, quality: dict[str, Any]) -> None:
    """Write measured quality into a bundle's manifest."""
    bundle = load_bundle(model)
    write_manifest(bundle.path, dataclasses.replace(bundle.manifest, quality=quality))


def main() -> None:
    """The command line: one line of JSON per split and number of steps."""
    try:
        run()
    except TfsRtError as error:
        sys.exit(f"accuracy: {error}")


def run() -> None:
    """Read the options, measure, print, record."""
    # Read the options.
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--splits", nargs="+", default=["val", "test"])
    parser.add_argument("--steps", nargs="+", type=int, help="numbers of steps to try (default: the model's)")
    parser.add_argument("--record", action="store_true", help="write the last line of each split into the manifest")
    arguments = parser.parse_args()
    # Measure each split: the resized truth, then each number of steps.
    manifest = load_bundle(arguments.model).manifest
    recorded = {}
    for split in arguments.splits:
        groups = read_groups(arguments.data, split)
        lines = {"bicubic truth": bicubic_truth(groups, manifest.model.scale)}
        for steps in arguments.steps or [manifest.recipe.steps]:
            pipeline = load_pipeline(arguments.model, recipe=lambda r, n=steps: dataclasses.replace(r, steps=n))
            lines[f"{pipeline.recipe.sampler} {steps}"] = evaluate(pipeline, groups)
        # Print the figures; the last line of a split is the one to record.
        for method, scores in lines.items():
            line = {"split": split, "cases": len(groups), "method": method}
            recorded[split] = line | {key: value and round(value, 4) for key, value in scores.items()}
            print(json.dumps(recorded[split]), flush=True)
    if arguments.record:
        record(arguments.model, recorded)


if __name__ == "__main__":
    main()
