"""An evaluation for people and for machines: a table, JSON, CSV, and the paper's Table 1 in Markdown."""

from __future__ import annotations

import dataclasses
import math
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfs_rt import __version__
from tfs_rt.cases import csv_list as case_list
from tfs_rt.errors import printable
from tfs_rt.output.provenance import RESEARCH_USE
from tfs_rt.output.results import write_json
from tfs_rt.system.files import write_file
from tfs_rt_bench.evaluation.score import Evaluation
from tfs_rt_bench.markdown import table
from tfs_rt_bench.measures.intervals import LEVEL, RESAMPLES, Summary
from tfs_rt_bench.measures.metrics import HEAD_DEFINITION, METRICS, Metric

TABLE_1 = ("mse", "vif", "ssim", "psnr", "lpips", "mae", "rmse", "ag")  # the paper's order
ARROWS = {"lower": "↓", "higher": "↑", "zero": "→0", "": ""}
DIGITS = {"vif": 4, "ssim": 4, "ssim_head": 4, "lpips": 4, "qabf": 4, "mi": 4, "scd": 4, "viff": 4}


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write `eval.json`, `eval.csv` and `table1.md`."""
    write_json(folder / "eval.json", to_json(evaluation))
    write_file(folder / "eval.csv", to_csv(evaluation).encode(errors="backslashreplace"))
    write_file(folder / "table1.md", to_table_1(evaluation).encode(errors="backslashreplace"))


def print_table(evaluation: Evaluation) -> None:
    """Means with their intervals, the differences between methods, and every definition, on stdout."""
    console = Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else 160)
    table = Table(title=Text(f"{_count(evaluation)}: mean [{LEVEL:.0%} interval]"))
    table.add_column("")
    for method in evaluation.methods:
        table.add_column(Text(printable(method, 60)), justify="right", overflow="fold")
    for key, metric in evaluation.metrics.items():
        cells = [_cell(key, evaluation.summaries[method][key]) for method in evaluation.methods]
        table.add_row(f"{metric.label} {ARROWS[metric.better]}", *map(Text, cells))
    console.print(table)
    for method in evaluation.comparisons:
        console.print(_differences(evaluation, method))
    for line in definitions(evaluation):
        console.print(line, soft_wrap=True)


def _differences(evaluation: Evaluation, method: str) -> Table:
    table = Table(title=Text(f"{printable(method, 60)} minus {printable(evaluation.methods[0], 60)}, paired"))
    for column in ("", "mean difference", "better in"):
        table.add_column(column, justify="right" if column else "left", overflow="fold")
    for key, comparison in evaluation.comparisons[method].items():
        if comparison.cases:
            metric = evaluation.metrics[key]
            of = comparison.cases
            better = {"higher": f"{comparison.larger} of {of}", "lower": f"{comparison.smaller} of {of}"}
            cells = [_cell(key, comparison.difference), better.get(metric.better, "")]
            table.add_row(f"{metric.label} {ARROWS[metric.better]}", *map(Text, cells))
    return table


def definitions(evaluation: Evaluation) -> list[str]:
    """One line for each measure, and what else a reader must know."""
    told = {key: metric.definition for key, metric in evaluation.metrics.items()}
    if not evaluation.with_lpips:
        told["lpips"] = "n/a, no weights given (--lpips-weights)"
    lines = [f"{evaluation.metrics[key].label}: {definition}" for key, definition in told.items()]
    lines.append(HEAD_DEFINITION)
    lines.append(
        f"AG of the ground truth: {_number('ag', evaluation.truth_gradient)}; closer to it is better, not larger"
    )
    if evaluation.resized:
        lines.append(f"the sources of {evaluation.resized} cases were resized to the ground truth's size by bicubic")
    lines.append(
        f"interval: percentile bootstrap over cases, {RESAMPLES} resamples, seed 0; slices of one patient are not"
        " independent, so it is too narrow where patients have several"
    )
    return lines + [f"left out: {error}" for error in evaluation.problems]


def _count(evaluation: Evaluation) -> str:
    count = len(evaluation.cases)
    left_out = " (others left out, see below)" if evaluation.problems else ""
    return f"{count} case{'s' if count > 1 else ''}{left_out}"


def to_json(evaluation: Evaluation) -> dict[str, Any]:
    """All figures; an infinite value is the string "inf", an undefined one null."""
    metrics = evaluation.metrics
    return {
        "tfs-rt": __version__,
        "cases": len(evaluation.cases),
        "ground_truth": str(evaluation.truth),
        "ground_truth_ag": evaluation.truth_gradient,
        "definitions": definitions(evaluation),
        "methods": {
            method: {
                "summary": {key: dataclasses.asdict(s) for key, s in evaluation.summaries[method].items()},
                "per_case": {
                    case: {key: _plain(scores.get(key)) for key in metrics}
                    for case, scores in evaluation.scores[method].items()
                },
            }
            for method in evaluation.methods
        },
        "paired_differences": {
            "minus": evaluation.methods[0],
            "methods": {
                method: {key: dataclasses.asdict(comparison) for key, comparison in differences.items()}
                for method, differences in evaluation.comparisons.items()
            },
        },
        "problems": [str(error) for error in evaluation.problems],
        "warnings": evaluation.warnings,
        "notice": RESEARCH_USE,
    }


def to_csv(evaluation: Evaluation) -> str:
    """A row for each method and case; undefined values are empty."""
    rows: list[list[object]] = [["method", "case", *evaluation.metrics]]
    for method in evaluation.methods:
        for case in evaluation.cases:
            scores = evaluation.scores[method][case]
            cells = [_plain(scores.get(key)) for key in evaluation.metrics]
            rows.append([method, case, *("" if cell is None else cell for cell in cells)])
    return case_list.to_csv(rows)


def to_table_1(evaluation: Evaluation) -> str:
    """The layout of the paper's Table 1, and below it what its reader must know."""
    notes = [f"{_count(evaluation)}. Bold: the best.", *definitions(evaluation)]
    return "\n".join([*table_1(evaluation), "", *(f"* {note}" for note in notes)]) + "\n"


def table_1(evaluation: Evaluation) -> list[str]:
    """The lines of the paper's Table 1, the best of each column in bold."""
    arrows = {key: ARROWS[METRICS[key].better] for key in TABLE_1}
    columns = ["Method", *(f"{METRICS[key].label}{arrows[key]}" for key in TABLE_1)]
    rows = []
    best = {key: _best(evaluation, key, METRICS[key]) for key in TABLE_1}
    for method in evaluation.methods:
        cells = []
        for key in TABLE_1:
            cell = _short(key, evaluation.summaries[method][key])
            cells.append(f"**{cell}**" if method in best[key] else cell)
        rows.append([printable(method, 60), *cells])
    truth = _number("ag", evaluation.truth_gradient)
    rows.append(["ground truth", *[""] * (len(TABLE_1) - 1), truth])
    return table(columns, rows)


def _best(evaluation: Evaluation, key: str, metric: Metric) -> set[str]:
    """The methods that lead in a measure; none where there is nothing to compare, or not on the same cases."""
    summaries = {method: evaluation.summaries[method][key] for method in evaluation.methods}
    means = {method: summary.mean for method, summary in summaries.items() if summary.mean is not None}
    whole = all(summary.cases == len(evaluation.cases) for summary in summaries.values())
    if len(summaries) < 2 or not whole or metric.better not in ("lower", "higher"):
        return set()
    lead = (min if metric.better == "lower" else max)(means.values())
    return {method for method, mean in means.items() if mean == lead}


def _cell(key: str, summary: Summary) -> str:
    text = _short(key, summary)
    if summary.low is None or summary.high is None:
        return text
    return f"{text} [{_number(key, summary.low)}, {_number(key, summary.high)}]"


def _short(key: str, summary: Summary) -> str:
    """The mean, and how many values it leaves out."""
    left_out = [f"{summary.infinite} infinite"] * bool(summary.infinite)
    left_out += [f"{summary.undefined} undefined"] * bool(summary.undefined)
    if not summary.cases and len(left_out) < 2:
        return "inf" if summary.infinite else "n/a"
    return _number(key, summary.mean) + (f" (without {', '.join(left_out)})" if left_out else "")


def _number(key: str, value: float | None) -> str:
    return "n/a" if value is None else f"{value:.{DIGITS.get(key, 2)}f}"


def _plain(value: float | None) -> float | str | None:
    return "inf" if value is not None and math.isinf(value) else value
