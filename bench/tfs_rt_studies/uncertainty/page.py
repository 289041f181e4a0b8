"""Tables, plot and pictures of docs/studies/uncertainty.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tfs_rt.batch.samples import SPREAD_TOP, colours, heat_map, moments
from tfs_rt.formats.png import encode_png
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import Pipeline
from tfs_rt.output.contact_sheet import contact_sheet
from tfs_rt.output.results import prepare_output
from tfs_rt.system.files import write_file
from tfs_rt_bench.markdown import table
from tfs_rt_reference.data.groups import Group
from tfs_rt_studies.pages import fill_page, shown_groups, write_jpeg
from tfs_rt_studies.uncertainty.error_prediction import Field, edges, pixel_error
from tfs_rt_studies.uncertainty.figures import Figures, Measured, best_recipe, samples_of
from tfs_rt_studies.uncertainty.plot import Curve, plot

SHOWN = 2


class Factor(NamedTuple):
    """A scale fitted on the validation split, and how it fits the test split."""

    fitted: float
    overall: float  # RMS error over the scaled RMS spread
    # The same ratio of the bin in which it is farthest from 1.
    worst: float


def factor_of(val: Measured, test: Measured) -> Factor:
    """Fit on one split, look at the other."""
    ratios = [b.error / (val.ratio * b.spread) for b in test.bins if b.spread > 0 and b.error > 0]
    worst = max(ratios, key=lambda ratio: abs(np.log(ratio)), default=float("nan"))
    return Factor(val.ratio, test.ratio / val.ratio, worst)


def best_rows(figures: Figures, samples: int) -> list[list[str]]:
    """The recipe that orders best on the validation split: its order on both splits, and its size."""
    recipe = best_recipe(figures, samples)
    val = figures[recipe]["val"][samples]
    test = figures[recipe]["test"][samples]
    order = [val.middle("spearman"), test.middle("spearman"), test.middle("spearman_edges")]
    return [[recipe, *(f"{value:.2f}" for value in order), f"{val.ratio:.1f}"]]


def order_rows(figures: Figures, samples: int) -> list[list[str]]:
    """Quality of the pixels' order by spread and by edges."""
    rows = []
    for recipe, split, measured in _each(figures, samples):
        pairs = [measured.middle("spearman"), measured.middle("spearman_edges")]
        *areas, nothing = (
            float(np.median([case.ause[name] for case in measured.cases])) for name in ("spread", "edges", "nothing")
        )
        spread, edge = _bold(
            [_with_range(measured.values(n)) for n in ("spearman", "spearman_edges")], pairs, largest=True
        )
        ause = _bold([f"{area:.3f}" for area in areas], areas, largest=False)
        whole = f"{measured.middle('spearman_whole'):.2f}"
        linear = _with_range(measured.values("pearson"))
        rows.append([recipe, split, str(len(measured.cases)), spread, edge, *ause, f"{nothing:.3f}", linear, whole])
    return rows


def left_rows(figures: Figures, samples: int) -> list[list[str]]:
    """Remaining error after removing pixels."""
    rows = []
    for recipe, split, measured in _each(figures, samples):
        shares = [
            np.mean([case.left[name] for case in measured.cases], axis=0) for name in ("spread", "edges", "oracle")
        ]
        rows.append([recipe, split, *(", ".join(f"{share:.2f}" for share in found) for found in shares)])
    return rows


def size_rows(figures: Figures, samples: int) -> list[list[str]]:
    """Error and spread of both splits, and the factor."""
    rows = []
    for recipe, found in figures.items():
        val = found["val"][samples]
        test = found["test"][samples]
        factor = factor_of(val, test)
        cells = [f"{_size(m)[0]:.2f} / {_size(m)[1]:.2f} = {m.ratio:.1f}" for m in (val, test)]
        rows.append([recipe, *cells, f"{factor.fitted:.1f}", f"{factor.overall:.2f}", f"{factor.worst:.2f}"])
    return rows


def psnr_rows(figures: Figures, samples: int) -> list[list[str]]:
    """One sample against the mean of all."""
    rows = []
    for recipe, split, measured in _each(figures, samples):
        one, mean = (float(np.mean(measured.values(name))) for name in ("psnr_one", "psnr_mean"))
        rows.append([recipe, split, f"{one:.2f}", f"{mean:.2f}", f"{mean - one:+.3f}"])
    return rows


def count_rows(figures: Figures, samples: int) -> list[list[str]]:
    """The recipe that did best, by the number of samples."""
    rows = []
    recipe = best_recipe(figures, samples)
    for split, by_count in figures[recipe].items():
        for count, measured in by_count.items():
            gain = _gain(measured)
            ratio = f"{measured.ratio:.1f} ({np.sqrt(1 + 1 / count):.2f})"
            rows.append([recipe, split, str(count), f"{measured.middle('spearman'):.3f}", ratio, f"{gain:+.3f}"])
    return rows


ORDER_COLUMNS = (
    "recipe",
    "split",
    "cases",
    "Spearman, spread",
    "Spearman, edges",
    "AUSE, spread",
    "AUSE, edges",
    "AUSE, no predictor",
    "Pearson, spread",
    "Spearman, whole image",
)
BEST_COLUMNS = (
    "recipe that orders best on validation",
    "Spearman, validation",
    "Spearman, test",
    "edges, test",
    "error / spread, validation",
)
SIZE_COLUMNS = (
    "recipe",
    "validation: RMS error / RMS spread",
    "test",
    "factor",
    "test, after the factor",
    "worst bin",
)
COUNT_COLUMNS = (
    "recipe",
    "split",
    "K",
    "Spearman, spread",
    "RMS error / RMS spread (goal)",
    "gain in PSNR, dB",
)
TABLES = {
    "best": (best_rows, BEST_COLUMNS),
    "order": (order_rows, ORDER_COLUMNS),
    "left": (left_rows, ("recipe", "split", "by spread", "by edges", "by the error itself")),
    "size": (size_rows, SIZE_COLUMNS),
    "psnr": (psnr_rows, ("recipe", "split", "one sample", "mean of all", "gain")),
    "count": (count_rows, COUNT_COLUMNS),
}


def tables(models: dict[str, Figures], samples: int) -> dict[str, list[list[str]]]:
    """All tables by name, each with its columns first."""
    found = {}
    for name, (rows_of, columns) in TABLES.items():
        lines = [["model", *columns]]
        for model, figures in models.items():
            lines += [[model, *row] for row in rows_of(figures, samples)]
        found[name] = lines
    return found


def _each(figures: Figures, samples: int) -> list[tuple[str, str, Measured]]:
    return [
        (recipe, split, by_count[samples]) for recipe, found in figures.items() for split, by_count in found.items()
    ]


def _gain(measured: Measured) -> float:
    return float(np.mean(measured.values("psnr_mean") - measured.values("psnr_one")))


def _size(measured: Measured) -> tuple[float, float]:
    error, spread = (float(np.sqrt(np.mean(np.concatenate(v) ** 2.0))) for v in (measured.error, measured.spread))
    return error, spread


def _with_range(values: Field) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})" if values.size else "n/a"


def _bold(cells: Sequence[str], values: Sequence[float], *, largest: bool) -> list[str]:
    best = max(values) if largest else min(values)
    return [f"**{cell}**" if value == best else cell for cell, value in zip(cells, values, strict=True)]


def curves(figures: Figures, samples: int) -> list[Curve]:
    """The bins of the model's own recipe and of the one that did best."""
    shown = dict.fromkeys((next(iter(figures)), best_recipe(figures, samples)))
    found = []
    for name in shown:
        for split, by_samples in figures[name].items():
            found.append(Curve(name, split == "test", by_samples[samples].bins))
    return found


def picture(pipeline: Pipeline, groups: Sequence[Group], samples: int, factor: float) -> RGB:
    """One row for each case: what its samples say, and the error, in the same colours."""
    rows = []
    for group in groups:
        # Fuse the case several times.
        sums = moments(list(samples_of(pipeline, group, samples)))
        mean = sums.mean()
        spread = sums.spread()
        error = pixel_error(mean, group.truth).astype(np.float32)
        # Draw all in the colours of the spread.
        shown = [
            ("ground truth", group.truth),
            (f"x{pipeline.scale}, mean of {samples}", mean),
            ("spread", heat_map(spread)),
            (f"spread x {factor:.1f}", heat_map(spread * np.float32(factor))),
            ("error", heat_map(error)),
            ("edges", heat_map(edges(mean).astype(np.float32))),
            (f"scale: log2(1 + spread), 0..{SPREAD_TOP}", np.repeat(colours()[None], 24, axis=0)),
        ]
        rows.append((group.id, shown))
    return contact_sheet(rows)


def write_page(
    output: Path, models: dict[str, Figures], found: dict[str, dict[str, Pipeline]], shown: Path | None
) -> None:
    """The page's tables and figures, its plot and, if there is a set to show, its pictures."""
    # Draw the plot.
    prepare_output(output.parent)
    samples = max(next(iter(next(iter(models.values())).values()))["val"])
    drawn = plot({m: curves(figures, samples) for m, figures in models.items()}, float(np.sqrt(1 + 1 / samples)))
    write_file(output.with_suffix(".png"), encode_png(drawn))
    sizes = [b.pixels for figures in models.values() for curve in curves(figures, samples) for b in curve.bins]
    pictures = [f"Ten bins by spread, of {min(sizes):,} to {max(sizes):,} pixels each, fewer where spreads are equal."]
    pictures += ["", f"![RMS error over RMS spread]({output.stem}.png)"]
    # Draw the pictures of the cases that may be shown.
    groups = shown_groups(shown, SHOWN) if shown else []
    for model, recipes in found.items() if groups else ():
        recipe = best_recipe(models[model], samples)
        factor = models[model][recipe]["val"][samples].ratio
        name = f"{output.stem}-{recipes[recipe].bundle.manifest.name}.jpg"
        write_jpeg(output.with_name(name), picture(recipes[recipe], groups, samples, factor))
        pictures += ["", f"![{model}: {recipe}: spread, error and edges in the same colours]({name})"]
    # Write the tables.
    figures = tables(models, samples)
    blocks = {name: table(lines[0], lines[1:]) for name, lines in figures.items()}
    fill_page(output, blocks | {"pictures": pictures}, figures)
