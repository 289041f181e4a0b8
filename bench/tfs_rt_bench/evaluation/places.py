"""Comparison of the places of results and ground truth: slices of volumes are scored one by one, in stored order.

A volume whose header says that it lies otherwise may be turned, or start at the other end.
"""

from __future__ import annotations

from collections.abc import Iterable

from tfs_rt.cases.compatibility import values_agree
from tfs_rt.formats.picture import Picture
from tfs_rt.formats.registry import place_format

GRID = "grid"  # key of a whole place in `Picture.subject`
CHECK = "slices were compared in their order: check that they show the same places"


def place_problem(result: Picture, truth: Picture) -> str:
    """A reason to doubt that slice n of a result shows the place of slice n of its ground truth; empty if none."""
    if GRID not in result.subject or GRID not in truth.subject:
        return ""
    formats = sorted({place_format(str(picture.facts["format"])) for picture in (result, truth)})
    if len(formats) > 1:
        return f"places in {' and '.join(formats)} files are not compared" if len(truth.slices) > 1 else ""
    return "" if values_agree(result.subject[GRID], truth.subject[GRID]) else "their headers give different places"


def place_warnings(problems: Iterable[tuple[str, str, str]]) -> list[str]:
    """One line for each method and problem, from (method, case, problem)."""
    cases: dict[tuple[str, str], list[str]] = {}
    for method, case, problem in problems:
        if problem:
            cases.setdefault((method, problem), []).append(case)
    return [
        f"{method} and its ground truth, {_cases(found)}: {problem}; {CHECK}"
        for (method, problem), found in cases.items()
    ]


def _cases(names: list[str]) -> str:
    return f"case {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else "")
