"""A case in progress: the items that it is fused in, and their images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tfs_rt.batch.samples import Moments, sample_ids
from tfs_rt.cases.guards import SLOT_ORDER, Finding, SuspectCase, input_findings, result_findings
from tfs_rt.cases.load import Loaded
from tfs_rt.images import RGB, Array

# A finding is reported for a volume only if at least this share of its slices has it: the end slices show little.
LEAST_SHARE = 0.25


class WorkItem(NamedTuple):
    """One slice of a case, to be fused with noise of its own: one image of a batch."""

    work: CaseWork
    slice: int  # index
    noise_id: str

    @property
    def images(self) -> tuple[RGB, ...]:
        """The slice's images in slot order, each uint8 (h, w, 3)."""
        return self.work.loaded.slices[self.slice]

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of its result and of its images, which must be the same throughout a batch."""
        return self.work.loaded.size, self.images[0].shape


@dataclass(eq=False, slots=True)
class CaseWork:
    """A case in progress: for each of its slices one item, or `samples` items, whose mean is the result."""

    loaded: Loaded
    samples: int
    form: str  # of its result: a key of `tfs_rt.output.folder.ENDINGS`
    slot_order_matters: bool  # False for a method to which m1 and m2 are alike
    findings: list[list[Finding]] = field(default_factory=list)  # by slice
    seconds: float = 0.0  # spent on fusing
    failed: bool = False
    _moments: dict[int, Moments] = field(default_factory=dict)  # by slice that lacks samples
    _images: dict[int, RGB] = field(default_factory=dict)  # by slice that is complete
    _spreads: dict[int, Array] = field(default_factory=dict)  # likewise, with more than one sample

    def __post_init__(self) -> None:
        with_window = [slot for slot, facts in self.loaded.inputs.items() if facts.get("window_from") == "user"]
        for images in self.loaded.slices:
            findings = input_findings(images, with_window=with_window)
            if not self.slot_order_matters:
                findings = [finding for finding in findings if finding.guard != SLOT_ORDER]
            self.findings.append(list(findings))

    def __len__(self) -> int:
        return len(self.loaded.slices) * self.samples

    def items(self) -> Iterator[WorkItem]:
        """The items to fuse, slice by slice; they end early if the case has failed."""
        case_id = self.loaded.case.id
        is_volume = len(self.loaded.slices) > 1
        for number in range(len(self.loaded.slices)):
            slice_id = f"{case_id}\0slice{number}" if is_volume else case_id
            for noise_id in sample_ids(slice_id, self.samples):
                if self.failed:
                    return
                yield WorkItem(self, number, noise_id)

    @property
    def slices(self) -> list[RGB]:
        """The result's slices in order, each uint8 (H, W, 3)."""
        return [self._images[number] for number in sorted(self._images)]

    @property
    def spreads(self) -> list[Array]:
        """The spread of each slice (H, W) in levels; empty with one sample."""
        return [self._spreads[number] for number in sorted(self._spreads)]

    def add(self, item: WorkItem, image: RGB, seconds: float) -> bool:
        """Add an item's image, uint8 (H, W, 3); items may come in any order. True if the case is complete."""
        self.seconds += seconds
        if self.samples == 1:
            # One sample is its own mean, and the sums would take eight times its memory.
            self._complete_slice(item, image)
        else:
            self._add_sample(item, image)
        return len(self._images) == len(self.loaded.slices)

    def _add_sample(self, item: WorkItem, image: RGB) -> None:
        if item.slice not in self._moments:
            self._moments[item.slice] = Moments(self.loaded.size)
        moments = self._moments[item.slice]
        moments.add(image)
        if moments.count == self.samples:
            del self._moments[item.slice]
            self._spreads[item.slice] = moments.spread()
            self._complete_slice(item, moments.mean())

    def _complete_slice(self, item: WorkItem, image: RGB) -> None:
        self._images[item.slice] = image
        self.findings[item.slice] += result_findings(image, item.images)

    def reported_findings(self) -> list[tuple[Finding, int]]:
        """The worst finding of each guard, and the number of slices with one; rare findings are left out."""
        by_guard: dict[str, list[Finding]] = {}
        for findings in self.findings:
            for finding in findings:
                by_guard.setdefault(finding.guard, []).append(finding)
        least = LEAST_SHARE * len(self.findings)
        reported: list[tuple[Finding, int]] = []
        for findings in by_guard.values():
            if len(findings) >= least:
                worst = max(findings, key=lambda finding: abs(finding.measured - finding.threshold))
                reported.append((worst, len(findings)))
        return reported

    def check_findings(self) -> None:
        """SuspectCase, with the words of the first finding, if any is reported: as `--strict` demands."""
        if reported := self.reported_findings():
            raise SuspectCase(self.loaded.case.id, [finding for finding, _ in reported])
