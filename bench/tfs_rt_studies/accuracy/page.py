"""The accuracy study: every method on the same cases, as a page.

    python -m tfs_rt_studies.accuracy.page SET -o docs/studies --work results

SET is made by `tfs-rt prepare`; its test split is fused by the shipped model of each scale in 1, 4 and 20 steps and by
the two-stage methods, and scored by `tfs-rt eval`'s measures in the form of the paper's Table 1. Models that resolve
one image (SR3) stand before BitonicX; further bundles (ablations) are named on the command line.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.backends.registry import load_engine
from tfs_rt.errors import TfsRtError, UsageError
from tfs_rt.formats.png import encode_png
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.methods.method import FusionMethod
from tfs_rt.methods.two_stage import TwoStage, Upsample
from tfs_rt.models.bundle import load_bundle
from tfs_rt.output.contact_sheet import contact_sheet
from tfs_rt.output.results import prepare_output
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import write_file
from tfs_rt_bench.evaluation.report import definitions, table_1, to_json
from tfs_rt_bench.evaluation.score import Evaluation, Request, evaluate
from tfs_rt_bench.measures.intervals import compare
from tfs_rt_reference.data.groups import Group, read_groups
from tfs_rt_studies.pages import fill_page, fuse_group, shipped_scales, shown_groups, write_jpeg

STEPS = (1, 4, 20)
SHOWN = 3
BASELINE = "bicubic, then BitonicX"
RESOLVED = "SR3 of each image, then BitonicX"


@dataclass(frozen=True, slots=True)
class Study:
    """Methods to compare, their cases and the output folder."""

    data: Path
    output: Path
    work: Path  # folder of the results
    resolvers: Sequence[Path] = ()
    further: Sequence[tuple[str, Path]] = ()
    pictures: Path | None = None  # a set whose images may be shown


def methods(scale: int, study: Study) -> Iterator[tuple[str, FusionMethod]]:
    """The methods of a scale, by the name they have in the table."""
    for steps in STEPS:
        named = f"tfs-rt x{scale}, {steps} step{'s' if steps > 1 else ''}"
        yield named, load_pipeline(f"tfs-rt/x{scale}", recipe=lambda r, n=steps: dataclasses.replace(r, steps=n))
    yield BASELINE, TwoStage("bitonicx", scale)
    yield "bicubic, then CTSR", TwoStage("ctsr", scale)
    for path in study.resolvers:
        if load_bundle(path).manifest.model.scale == scale:
            yield RESOLVED, TwoStage("bitonicx", scale, single_image_upsampler(path))
    for name, path in study.further:
        if load_bundle(path).manifest.model.scale == scale:
            yield name, load_pipeline(path)


def single_image_upsampler(path: Path) -> Upsample:
    """Super-resolution of single images by a bundle that takes one, by the bundle's own recipe."""
    bundle = load_bundle(path)
    spec = bundle.manifest.model
    if spec.architecture.condition_channels != 3:
        raise UsageError(path, "takes three images, not one", "name a model trained with architecture.in_channel=6")
    engine = load_engine("ort-cpu", bundle)
    table = step_table(spec, bundle.manifest.recipe)
    return lambda image, size: fuse_batch(engine, table, ImageBatch([[image]], ["image"], size=size))[0]


def fuse_all(fuser: FusionMethod, groups: Sequence[Group], folder: Path) -> list[RGB]:
    """A method's results, which are written too."""
    prepare_output(folder)
    images = []
    for group in groups:
        images.append(fuse_group(fuser, group))
        write_file(folder / f"{group.id}.png", encode_png(images[-1]))
    return images


def score_methods(study: Study, scale: int, fusers: dict[str, FusionMethod]) -> Evaluation:
    """All methods of a scale on the test split."""
    groups = read_groups(study.data, "test")
    root = study.work / f"x{scale}"
    prepare_output(root / "truth")
    for group in groups:
        write_file(root / "truth" / f"{group.id}.png", encode_png(group.truth))
    folders = []
    for name, fuser in fusers.items():
        print(f"x{scale}: {name}", file=sys.stderr, flush=True)
        fuse_all(fuser, groups, root / name)
        folders.append(root / name)
    return evaluate(Request(tuple(folders), root / "truth"))


def picture(study: Study, scale: int, fusers: dict[str, FusionMethod], groups: Sequence[Group]) -> RGB:
    """One row per case: the inputs, the ground truth, and every method."""
    shown = [("ground truth", [group.truth for group in groups])]
    for name, fuser in fusers.items():
        shown.append((name, fuse_all(fuser, groups, study.work / "pictures" / f"x{scale}" / name)))
    rows = []
    for i, group in enumerate(groups):
        inputs = zip(SLOTS, group.degraded(scale), strict=True)
        rows.append((group.id, [*inputs, *((name, images[i]) for name, images in shown)]))
    return contact_sheet(rows)


def picture_groups(study: Study) -> list[Group]:
    """The cases of the pictures."""
    return shown_groups(study.pictures, SHOWN) if study.pictures else []


def load_methods(study: Study) -> dict[int, dict[str, FusionMethod]]:
    """The methods of each scale; TfsRtError for mistakes that would otherwise show only after hours."""
    scales = shipped_scales()
    if study.work.exists() and any(study.work.iterdir()):
        raise UsageError(study.work, "is not empty", "choose another --work: what lies there would be scored")
    for path in (*study.resolvers, *(path for _, path in study.further)):
        if (scale := load_bundle(path).manifest.model.scale) not in scales:
            raise UsageError(path, f"is for x{scale}, and no model for it ships", "leave it out")
    found = {scale: list(methods(scale, study)) for scale in scales}
    for scale, named in found.items():
        names = [name for name, _ in named]
        if bad := [name for name in names if names.count(name) > 1 or not name or "/" in name or name == "truth"]:
            raise UsageError(
                "--sr3 --also", f"{bad[0]!r} cannot name one method at x{scale}", "use distinct plain names"
            )
    return {scale: dict(named) for scale, named in found.items()}


def count_wins(evaluation: Evaluation) -> list[str]:
    """Count for each method the cases in which it is above the baseline, as lines of the page."""
    lines = []
    for method in evaluation.methods:
        if method != BASELINE:
            pairs = {k: compare(evaluation.values(method, k), evaluation.values(BASELINE, k)) for k in ("psnr", "ssim")}
            lines.append(f"* {method}: " + ", ".join(f"{k.upper()} {c.larger} of {c.cases}" for k, c in pairs.items()))
    return [f"Cases above {BASELINE}:", "", *lines]


def write_page(study: Study) -> None:
    """The tables, figures and pictures of `accuracy.md`."""
    # Check the sets, and choose the pictures.
    fusers = load_methods(study)
    shown = picture_groups(study)
    prepare_output(study.output)
    blocks: dict[str, list[str]] = {}
    figures = {}
    notes: list[str] = []
    for scale, found in fusers.items():
        # Score all methods.
        evaluation = score_methods(study, scale, found)
        figures[f"x{scale}"] = to_json(evaluation)
        # Write the section: its table, and its picture if any may be shown.
        lines = [*table_1(evaluation), "", *count_wins(evaluation)]
        if shown:
            name = f"accuracy-x{scale}.jpg"
            write_jpeg(study.output / name, picture(study, scale, found, shown))
            lines += ["", f"![x{scale}: {', '.join(group.id for group in shown)} by all methods]({name})"]
        blocks[f"x{scale}"] = lines
        notes += [note for note in definitions(evaluation) if note not in notes]
    # Write the page.
    blocks["definitions"] = [f"* {note}" for note in notes]
    fill_page(study.output / "accuracy.md", blocks, figures)


def main() -> None:
    """The command line."""
    # Read the options.
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="folder for the results")
    parser.add_argument("--sr3", type=Path, nargs="*", default=[], metavar="BUNDLE", help="models of one image")
    parser.add_argument("--also", nargs="*", default=[], metavar="NAME=BUNDLE", help="further models")
    parser.add_argument("--pictures", type=Path, metavar="SET", help="a set whose images may be shown")
    arguments = parser.parse_args()
    # Measure, and write the page.
    try:
        if plain := [text for text in arguments.also if "=" not in text]:
            raise UsageError("--also", f"{plain[0]!r} has no name", "write NAME=BUNDLE")
        further = [(name, Path(path)) for name, _, path in (text.partition("=") for text in arguments.also)]
        study = Study(arguments.data, arguments.output, arguments.work, arguments.sr3, further, arguments.pictures)
        write_page(study)
    except TfsRtError as error:
        sys.exit(f"study: {error}")


if __name__ == "__main__":
    main()
