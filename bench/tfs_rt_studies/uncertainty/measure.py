"""Calibration of the spread of a model's samples as a predictor of its error, on cases with ground truth.

    python -m tfs_rt_studies.uncertainty.measure SET --pictures SHOWN -o docs/studies/uncertainty.md

SET and SHOWN are made by `tfs-rt prepare`; the images of SHOWN may be published. The validation and test splits of SET
are measured, by default for every shipped model and several recipes. The validation split alone decides which recipe
spreads best and by what factor its spread is too small.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tfs_rt.batch.samples import MAX_SAMPLES
from tfs_rt.errors import TfsRtError, UsageError
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt_reference.data.groups import read_groups
from tfs_rt_studies.pages import shipped_scales
from tfs_rt_studies.uncertainty.figures import measure_model, pipelines
from tfs_rt_studies.uncertainty.page import write_page

SPLITS = ("val", "test")
COMPARED: tuple[dict[str, Any], ...] = (  # changes to a model's own recipe
    {"steps": 4},
    {"sampler": "ddpm", "steps": 4},
)


def changes_of(arguments: argparse.Namespace) -> Sequence[dict[str, Any]]:
    """The recipe that was asked for, or those that are compared by default."""
    asked = {key: getattr(arguments, key) for key in ("steps", "sampler", "eta", "spacing")}
    given = {key: value for key, value in asked.items() if value is not None}
    return [given] if given else COMPARED


def options(arguments: Iterable[str] | None = None) -> argparse.Namespace:
    """The command line's options."""
    # Read the options.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PAGE.md")
    parser.add_argument("--model", nargs="+", help="bundles or shipped names (default: all that ship)")
    parser.add_argument("--samples", type=int, default=8, help="of each case (default: 8)")
    parser.add_argument("--steps", type=int, help="with the next three: one recipe beside the model's own")
    parser.add_argument("--sampler", choices=list(SAMPLERS))
    parser.add_argument("--eta", type=float)
    parser.add_argument("--spacing", choices=["t", "log-snr"])
    parser.add_argument("--pictures", type=Path, metavar="SHOWN", help="a set whose images may be shown")
    found = parser.parse_args(None if arguments is None else list(arguments))
    # Check them, and fill in the models.
    if not 2 <= found.samples <= MAX_SAMPLES:
        raise UsageError("--samples", f"{found.samples} cannot be measured", f"ask for 2 to {MAX_SAMPLES}")
    found.model = found.model or [f"tfs-rt/x{scale}" for scale in shipped_scales()]
    if not found.model:
        raise UsageError("--model", "none ships with this installation", "name a bundle")
    return found


def run(arguments: argparse.Namespace) -> None:
    """Measure, and write the page."""
    found = {str(model): pipelines(model, changes_of(arguments)) for model in arguments.model}
    splits = {split: read_groups(arguments.data, split) for split in SPLITS}
    figures = {model: measure_model(recipes, splits, arguments.samples) for model, recipes in found.items()}
    write_page(arguments.output, figures, found, arguments.pictures)


def main() -> None:
    """The command line."""
    try:
        run(options())
    except TfsRtError as error:
        sys.exit(f"uncertainty: {error}")


if __name__ == "__main__":
    main()
