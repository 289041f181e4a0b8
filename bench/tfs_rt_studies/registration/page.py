"""Tables of docs/studies/registration.md."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.geometry import verdict
from tfs_rt.geometry.verdict import Figures
from tfs_rt_bench.markdown import table
from tfs_rt_studies.pages import fill_page

Record = dict[str, Any]
NAMES = {"t2": "T2-like, 1x1x3 mm", "pet": "PET-like, 2 mm, 6 mm FWHM", "ct": "CT-like, 0.9x0.9x2.5 mm"}
BOUNDS = ("DISAGREEMENT", "AGREEING", "OVERLAP", "STRUCTURE", "TURN")
# Each measure of the verdict: how it is read from the figures.
MEASURES: dict[str, Callable[[Figures], float]] = {
    "backward, mm": lambda f: np.inf if f.backward_mm is None else f.backward_mm,
    "second start, mm": lambda f: np.inf if f.second_start_mm is None else f.second_start_mm,
    "share of starts that agree": lambda f: f.agreeing_starts / f.starts,
    "overlap": lambda f: f.overlap,
    "structure, nat": lambda f: f.structure,
    "turn, degrees": lambda f: f.turn_degrees,
}


def figures_of(record: Record) -> Figures:
    """The figures of one registration."""
    return Figures(**record["figures"])


def is_refused(record: Record) -> bool:
    """True if the verdict, by today's bounds, is not to trust it."""
    return bool(verdict.reasons(figures_of(record)))


def accuracy_rows(records: Sequence[Record]) -> list[list[str]]:
    """Errors, times and refusals of the sound pairs, one row a modality."""
    rows = []
    for kind, name in NAMES.items():
        own = [record for record in records if record["kind"] == kind]
        if not own:
            continue
        again = [record["same"] for record in own if "same" in record]
        rows.append(
            [
                name,
                str(len(own)),
                f"{np.mean([r['displaced'] for r in own]):.1f}",
                f"{np.mean([r['mean'] for r in own]):.2f}",
                f"{max(r['mean'] for r in own):.2f}",
                f"{max(r['worst'] for r in own):.2f}",
                f"{np.median([r['seconds'] for r in own]):.1f}",
                f"{sum(again)}/{len(again)}",
                f"{sum(is_refused(r) for r in own)}/{len(own)}",
            ]
        )
    return rows


def hopeless_rows(records: Sequence[Record]) -> list[list[str]]:
    """The table of refused hopeless pairs, with a row for each fault."""
    rows = []
    own = [record for record in records if record["kind"] == "hopeless"]
    for fault in dict.fromkeys(record["fault"] for record in own):
        pairs = [record for record in own if record["fault"] == fault]
        rows.append([fault, f"{sum(is_refused(r) for r in pairs)}/{len(pairs)}"])
    rows.append(["all", f"{sum(is_refused(r) for r in own)}/{len(own)}"])
    return rows


def measure_rows(records: Sequence[Record]) -> list[list[str]]:
    """The range of each measure in sound and in hopeless pairs."""
    rows = []
    for name, read in MEASURES.items():
        row = [name]
        for sound in (True, False):
            values = [read(figures_of(r)) for r in records if (r["kind"] != "hopeless") == sound]
            row.append(f"{min(values):.2f} to {max(values):.2f}" if values else "n/a")
        rows.append(row)
    return rows


def write_page(output: Path, records: Sequence[Record]) -> None:
    """The page's tables, and all records as its figures."""
    columns = ["moving image", "draws", "displaced, mm", "mean error, mm", "worst mean", "worst point"]
    columns += ["CPU s", "same bytes", "refused"]
    blocks = {
        "accuracy": table(columns, accuracy_rows(records)),
        "hopeless": table(["pair", "refused"], hopeless_rows(records)),
        "measures": table(["measure", "sound pairs", "hopeless pairs"], measure_rows(records)),
        "bounds": table(["bound", "value"], [[name.lower(), str(getattr(verdict, name))] for name in BOUNDS]),
    }
    fill_page(output, blocks, list(records))
