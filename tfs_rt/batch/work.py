"""A case under way: the parts that it is fused in, and what is made of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tfs_rt.batch.samples import Moments, sample_ids
from tfs_rt.cases.guards import SLOT_ORDER, Finding, input_findings, result_findings
from tfs_rt.cases.load import Loaded
from tfs_rt.images import RGB, Array

SHARE = 0.25  # of a volume's slices: what is found in fewer is no finding of the volume, whose end slices show little


class Part(NamedTuple):
    """What is fused at once: one slice of a case, with noise of its own."""

    work: Work
    slice: int
    noise_id: str

    @property
    def images(self) -> tuple[RGB, ...]:
        """The slice's images in slot order."""
        return self.work.loaded.slices[self.slice]

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        """Of its result and of its images: those of a batch are the same."""
        return self.work.loaded.size, self.images[0].shape


@dataclass(eq=False, slots=True)
class Work:
    """A case under way: one part for each of its slices, or `samples` of them, whose mean is the result."""

    loaded: Loaded
    samples: int
    ordered: bool  # whether it matters which image is m1 and which m2
    findings: list[list[Finding]] = field(default_factory=list)  # by slice
    seconds: float = 0.0
    failed: bool = False
    _moments: dict[int, Moments] = field(default_factory=dict)  # of the slices under way
    _images: dict[int, RGB] = field(default_factory=dict)  # of the slices that are complete
    _spreads: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        found = [input_findings(images) for images in self.loaded.slices]
        self.findings = [[one for one in of_slice if self.ordered or one.guard != SLOT_ORDER] for of_slice in found]

    def __len__(self) -> int:
        return len(self.loaded.slices) * self.samples

    def parts(self) -> Iterator[Part]:
        """What is to be fused, slice by slice, for as long as nothing has failed."""
        case_id, volume = self.loaded.case.id, len(self.loaded.slices) > 1
        for number in range(len(self.loaded.slices)):
            for noise_id in sample_ids(f"{case_id}\0slice{number}" if volume else case_id, self.samples):
                if self.failed:
                    return
                yield Part(self, number, noise_id)

    @property
    def slices(self) -> list[RGB]:
        """The result's, in order."""
        return [self._images[number] for number in sorted(self._images)]

    @property
    def spreads(self) -> list[Array]:
        """By slice, with more than one sample."""
        return [self._spreads[number] for number in sorted(self._spreads)]

    def take(self, part: Part, image: RGB, seconds: float) -> bool:
        """Note a part's image, in whatever order they come; whether the case is complete."""
        self.seconds += seconds
        if self.samples == 1:  # it is its own mean, and the sums would take eight times its memory
            self._end_slice(part, image)
        else:
            self._add(part, image)
        return len(self._images) == len(self.loaded.slices)

    def _add(self, part: Part, image: RGB) -> None:
        if part.slice not in self._moments:
            self._moments[part.slice] = Moments(self.loaded.size)
        moments = self._moments[part.slice]
        moments.add(image)
        if moments.count == self.samples:
            del self._moments[part.slice]
            self._spreads[part.slice] = moments.spread()
            self._end_slice(part, moments.mean())

    def _end_slice(self, part: Part, image: RGB) -> None:
        self._images[part.slice] = image
        self.findings[part.slice] += result_findings(image, part.images)

    def found(self) -> list[tuple[Finding, int]]:
        """What the guards found, the worst of each kind, and in how many slices."""
        by_guard: dict[str, list[Finding]] = {}
        for findings in self.findings:
            for finding in findings:
                by_guard.setdefault(finding.guard, []).append(finding)
        least = SHARE * len(self.findings)
        worst = [max(found, key=lambda one: abs(one.measured - one.threshold)) for found in by_guard.values()]
        counts = [len(found) for found in by_guard.values()]
        return [(finding, count) for finding, count in zip(worst, counts, strict=True) if count >= least]
