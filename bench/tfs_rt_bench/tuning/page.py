"""The report of `tfs-rt tune`: a page for people, JSON for machines, and a chart for each model."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfs_rt import __version__
from tfs_rt.output.provenance import RESEARCH_USE
from tfs_rt.output.results import write_json
from tfs_rt.spec import Accuracy
from tfs_rt.system.files import write_file
from tfs_rt_bench.markdown import table
from tfs_rt_bench.tuning.chart import chart
from tfs_rt_bench.tuning.choice import front, within_budget
from tfs_rt_bench.tuning.prose import HEAD, named, remarks
from tfs_rt_bench.tuning.search import affordable
from tfs_rt_bench.tuning.trials import Point
from tfs_rt_bench.tuning.tune import Tuned


def write_report(tuned: Sequence[Tuned], folder: Path, command: str) -> None:
    """Write `tuning.md`, `tuning.json`, and `tuning-<model>.svg` for each model."""
    lines = ["# Tuning", "", f"Made by `{command}`.", "", HEAD, ""]
    for one in tuned:
        name = f"tuning-{one.bundle.manifest.name}.svg"
        write_file(folder / name, chart(one).encode())
        lines += [*section(one), f"![PSNR by network calls, and by sharpness]({name})", ""]
    write_file(folder / "tuning.md", "\n".join([*lines, f"{RESEARCH_USE.capitalize()}.", ""]).encode())
    write_json(folder / "tuning.json", {"tfs-rt": __version__, "command": command, "models": [*map(to_json, tuned)]})


def section(tuned: Tuned) -> list[str]:
    """A model's section of the page."""
    search = tuned.search
    best = tuned.tiers["best"]
    size = f"{best.size[1]}x{best.size[0]}"
    tried = f"{len(search.grid)} chains were tried at first"
    return [
        f"## {tuned.bundle.manifest.name}",
        "",
        f"{len(search.points[0].scores)} cases of the split `{tuned.request.source.name}` chose. {tried}, and"
        f" {len(search.points)} points measured on all cases: {search.made:,} network calls, {search.saved:,} more were"
        f" remembered. {size} pixels on {best.machine}: {tuned.second:.3f} s for an"
        " image of one call.",
        "",
        *_tier_table(tuned),
        "",
        *remarks(tuned),
        "",
        "The best PSNR for each budget:",
        "",
        *_budget_table(tuned),
        "",
        "What nothing cheaper beats in PSNR and in sharpness:",
        "",
        *table(("recipe", "samples", "calls", *MEASURES), [_cells(point) for point in front(search.points)]),
        "",
        f"By the last sigma, all chains on {len(search.grid[0].scores)} cases, from least to most:",
        "",
        *_last_sigma_table(search.grid),
        "",
    ]


MEASURES = ("PSNR", "SSIM", "sharpness")


def _tier_table(tuned: Tuned) -> list[str]:
    rows = []
    for quality, tier in tuned.tiers.items():
        figures = [cell for accuracy in tier.accuracy.values() for cell in _accuracy(accuracy)]
        cost = [str(tier.samples), str(tier.calls), f"{tier.seconds:.3g}"]
        rows.append([f"`{quality}`", named(tier.recipe), *cost, *figures])
    splits = [f"{split} ({accuracy.cases}): {name}" for split, accuracy in _splits(tuned) for name in MEASURES]
    return table(("tier", "recipe", "samples", "calls", "seconds", *splits), rows)


def _splits(tuned: Tuned) -> list[tuple[str, Accuracy]]:
    return list(tuned.tiers["best"].accuracy.items())


def _budget_table(tuned: Tuned) -> list[str]:
    rows = []
    for budget in tuned.budgets:
        calls = affordable(budget, tuned.second) if budget >= tuned.second else 0
        point = within_budget(tuned.search.points, calls)
        rows.append([f"{budget:.3g}", *(_cells(point) if point else ("none: one call takes longer", *[""] * 5))])
    return table(("seconds", "recipe", "samples", "calls", *MEASURES), rows)


def _last_sigma_table(grid: Sequence[Point]) -> list[str]:
    rows = []
    by_end: dict[float, list[Point]] = {}
    for point in grid:
        recipe = point.recipe
        by_end.setdefault(recipe.sigma_max if recipe.steps == 1 else recipe.sigma_min, []).append(point)
    for sigma, points in sorted(by_end.items()):
        few = min(point.calls for point in points)
        psnr, sharp = ([getattr(point, name) for point in points] for name in ("psnr", "sharpness"))
        spans = [f"{min(psnr):.2f} to {max(psnr):.2f}", f"{min(sharp):.3f} to {max(sharp):.3f}"]
        rows.append([f"{sigma:.3g}", str(len(points)), *spans, f"{few} to {max(point.calls for point in points)}"])
    return table(("last sigma", "chains", "PSNR", "sharpness", "calls"), rows)


def _cells(point: Point) -> list[str]:
    figures = [f"{point.psnr:.2f}", f"{point.ssim:.4f}", f"{point.sharpness:.3f}"]
    return [named(point.recipe), str(point.samples), str(point.calls), *figures]


def _accuracy(accuracy: Accuracy) -> list[str]:
    return [f"{accuracy.psnr:.2f}", f"{accuracy.ssim:.4f}", f"{accuracy.sharpness:.3f}"]


def to_json(tuned: Tuned) -> dict[str, Any]:
    """All that was measured of a model."""
    search = tuned.search
    ahead = set(front(tuned.search.points))
    return {
        "model": tuned.bundle.manifest.name,
        "manifest": tuned.bundle.digest,
        "seed": tuned.request.seed,
        "split": tuned.request.source.name,
        "size": tuned.tiers["best"].size,
        "machine": tuned.tiers["best"].machine,
        "seconds_per_call": round(tuned.second, 4),
        "budgets": [round(budget, 4) for budget in tuned.budgets],
        "network_calls": {"made": search.made, "remembered": search.saved},
        "tiers": {name: dataclasses.asdict(tier) for name, tier in tuned.tiers.items()},
        "points": [{**_point(point), "front": point in ahead} for point in search.points],
        "grid": [_point(point) for point in search.grid],
        "bare_noise": [{"warm": _point(warm), "bare": _point(bare)} for warm, bare in search.bare],
        "notice": RESEARCH_USE,
    }


def _point(point: Point) -> dict[str, Any]:
    means = {"psnr": round(point.psnr, 4), "ssim": round(point.ssim, 4), "sharpness": round(point.sharpness, 4)}
    cases = [[round(score.psnr, 4), round(score.ssim, 4)] for score in point.scores]
    recipe = dataclasses.asdict(point.recipe)
    return {"recipe": recipe, "samples": point.samples, "calls": point.calls, **means, "psnr_ssim_by_case": cases}
