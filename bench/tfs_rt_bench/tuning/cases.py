"""The cases that a model is tuned on: a split of a training set, or any cases with their ground truth."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfs_rt.cases.case import FoundCase
from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import load_case, read_file
from tfs_rt.errors import InputError, UsageError
from tfs_rt.images import RGB
from tfs_rt_bench.evaluation.folders import image_files
from tfs_rt_bench.measures.metrics import SSIM_WINDOW, average_gradient
from tfs_rt_reference.data.groups import MANIFEST, read_cases, read_groups


@dataclass(frozen=True, slots=True)
class CaseWithTruth:
    """A case whose ground truth is known: images (h, w, 3) in slot order, and the truth (H, W, 3)."""

    id: str
    images: tuple[RGB, ...]
    truth: RGB

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the result."""
        return self.truth.shape[0], self.truth.shape[1]


@dataclass(frozen=True, slots=True)
class Source:
    """Source of the cases."""

    data: Path  # a set of `tfs-rt prepare`, or cases as `tfs-rt fuse` takes them
    truth: Path | None = None  # of cases: a folder of <case>.png
    split: str | None = None  # of a set; "val" if not given

    def __post_init__(self) -> None:
        if self.is_set and self.truth:
            raise UsageError("--ground-truth", f"{self.data} is a set and holds its own", "leave the option out")
        if not self.is_set and self.split:
            raise UsageError("--split", f"{self.data} is not a set of tfs-rt prepare, and has none", "leave it out")
        if not self.is_set and not self.truth and self.data.exists():
            reason = f"{self.data} is not a set of tfs-rt prepare, which would hold ground truth"
            raise UsageError("--ground-truth", reason, "give the folder that holds <case>.png")

    @property
    def is_set(self) -> bool:
        """True for a set of `tfs-rt prepare`."""
        return (self.data / MANIFEST).is_file()

    @property
    def name(self) -> str:
        """Name of the cases in a manifest: their split, or "cases"."""
        return (self.split or "val") if self.is_set else "cases"

    @property
    def has_test(self) -> bool:
        """True if there is a test split beside the one that chooses."""
        return self.is_set and self.name != "test" and any(case["split"] == "test" for case in read_cases(self.data))


def known_cases(source: Source, scale: int, split: str | None = None) -> list[CaseWithTruth]:
    """The source's cases, or those of another split of its set, in order of their ids.

    Raises NothingFound if there are none, InputError for the first that cannot be used.
    """
    if source.is_set:
        groups = read_groups(source.data, split or source.name)
        found = [CaseWithTruth(group.id, tuple(group.degraded(scale)), group.truth) for group in groups]
    else:
        cases = discover([source.data])
        truths = image_files(source.truth or source.data)
        found = [_paired(case, truths, scale) for case in sorted(cases, key=lambda case: case.id)]
    for case in found:
        if min(case.size) < SSIM_WINDOW or not average_gradient(case.truth):
            reason = f"its ground truth is constant, or smaller than {SSIM_WINDOW}x{SSIM_WINDOW}"
            raise InputError(f"case {case.id}", reason, "leave the case out")
    return found


def _paired(case: FoundCase, truths: dict[str, Path], scale: int) -> CaseWithTruth:
    loaded = load_case(case, scale, None)
    if case.id not in truths:
        raise InputError(f"case {case.id}", "has no ground truth", f"add {case.id}.png to it, or leave the case out")
    truth, _ = read_file(truths[case.id])
    if truth.shape[:2] != loaded.size:
        (height, width) = loaded.size
        (h, w) = truth.shape[:2]
        raise InputError(
            truths[case.id], f"is {w}x{h}, and the result {width}x{height}", "give ground truth of its size"
        )
    return CaseWithTruth(case.id, loaded.images, truth)
