"""The cases that a bench fuses, all of one size, with ground truth where there is any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import load_case, read_file
from tfs_rt.errors import InputError, NothingFound, TfsRtError
from tfs_rt.images import RGB
from tfs_rt.models.self_test import CASE_ID, SIDE, synthetic_case
from tfs_rt_bench.evaluation.folders import image_files
from tfs_rt_bench.latency.machine import ROOT
from tfs_rt_bench.measures.metrics import SSIM_WINDOW

EXAMPLES = ROOT / "examples"  # of a checkout; nothing of them is installed


@dataclass(frozen=True, slots=True)
class Cases:
    """Images by case, and what they are compared with."""

    ids: tuple[str, ...]
    images: tuple[tuple[RGB, ...], ...]  # of each case, in slot order
    truths: tuple[RGB | None, ...]
    size: tuple[int, int]  # (H, W) of the results

    def batch(self, first: int, count: int) -> tuple[list[tuple[RGB, ...]], list[str]]:
        """`count` cases from a first one on, around and around."""
        chosen = [(first + i) % len(self.ids) for i in range(count)]
        return [self.images[i] for i in chosen], [self.ids[i] for i in chosen]


def read_cases(
    sources: Sequence[Path], truth: Path | None, scale: int, size: tuple[int, int] | None
) -> tuple[Cases, list[TfsRtError]]:
    """The cases of sources, or the shipped examples, or a made one; and what was left out, and why.

    Raises NothingFound if none is left, InputError if their results are not all of one size.
    """
    # Make a case if none is given and no examples are installed.
    if not sources and not EXAMPLES.is_dir() and truth is None:
        made = tuple(synthetic_case(scale))
        _check_size(size or (SIDE, SIDE))
        return Cases((CASE_ID,), (made,), (None,), size or (SIDE, SIDE)), []
    # Load the cases; one that cannot be read is left out.
    loaded = {}
    problems = []
    for case in discover(sources or [EXAMPLES]):
        try:
            found = load_case(case, scale, size)
            loaded[case.id] = found.images, found.size
        except TfsRtError as error:
            problems.append(error)
    if not loaded:
        raise NothingFound("--cases", f"none of {len(problems)} cases can be read ({problems[0]})", "mend or leave it")
    # Check that all results are of one size.
    sizes = {size for _, size in loaded.values()}
    if len(sizes) > 1:
        listed = ", ".join(f"{width}x{height}" for height, width in sorted(sizes))
        raise InputError(
            "--cases", f"their results would be of several sizes ({listed})", "give --size, or fewer cases"
        )
    (one,) = sizes
    _check_size(one)
    # Add the ground truth of each case.
    truths = _truths(truth, tuple(loaded), one) if truth else (None,) * len(loaded)
    return Cases(tuple(loaded), tuple(images for images, _ in loaded.values()), truths, one), problems


def _check_size(size: tuple[int, int]) -> None:
    if min(size) < SSIM_WINDOW:
        reason = f"results of {size[1]}x{size[0]} pixels are too small to be compared"
        raise InputError("--cases", reason, f"give images of {SSIM_WINDOW} pixels or more")


def _truths(folder: Path, ids: tuple[str, ...], size: tuple[int, int]) -> tuple[RGB | None, ...]:
    files = image_files(folder)
    found = tuple(read_file(files[case])[0] if case in files else None for case in ids)
    if all(truth is None for truth in found):
        raise NothingFound(folder, "holds no ground truth of these cases", "name its images <case>.png")
    for case, truth in zip(ids, found, strict=True):
        if truth is not None and truth.shape[:2] != size:
            height, width = truth.shape[:2]
            reason = f"is {width}x{height}, and the result {size[1]}x{size[0]}"
            raise InputError(files[case], reason, "give the cases' own ground truth, or another --scale or --size")
    return found
