"""Detection rates of the guards: injected faults found, and sound cases with a finding.

    python -m tfs_rt_studies.guards.rates SET -o docs/studies/guards.md --others examples

SET is made by `tfs-rt prepare`; the cases of --others are taken at the size that they have.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

from tfs_rt.cases.case import Case
from tfs_rt.cases.discover import discover
from tfs_rt.cases.guards import THRESHOLDS, Finding, input_findings, result_findings
from tfs_rt.cases.load import load_case, read_file
from tfs_rt.errors import InputError, TfsRtError
from tfs_rt.images import RGB
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.methods.method import FusionMethod
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.spec import SLOTS
from tfs_rt_bench.markdown import table
from tfs_rt_reference.data.groups import Group, low_resolution, read_cases, read_groups
from tfs_rt_studies.guards.faults import Fault, faults, substitutes
from tfs_rt_studies.pages import fill_page, fuse_group, shipped_scales

SCALES = (1, 2, 4, 8)
LARGEST = 128  # pixels a side; larger images are not fused
SPLITS = ("train", "val", "test")
INPUT_GUARDS = ("empty", "constant", "saturation", "slot order", "registration", "rotation")
RESULT_GUARDS = ("constant result", "clipped result", "brightness", "likeness", "colours")


@dataclass(frozen=True, slots=True)
class Member:
    """A group of the set."""

    group: Group
    patient: str
    held_out: bool
    files: tuple[Path, ...]  # of the sources, at full resolution


@dataclass(slots=True)
class Rate:
    """Counts in the patients of the thresholds and in those of the test split."""

    found: list[int] = field(default_factory=lambda: [0, 0])
    cases: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, member: Member, found: bool) -> None:
        """Count a case."""
        self.found[member.held_out] += found
        self.cases[member.held_out] += 1

    def __str__(self) -> str:
        return ", ".join(f"{found}/{cases}" for found, cases in zip(self.found, self.cases, strict=True) if cases)


def members(root: Path) -> list[Member]:
    """All groups of a set, those held out last."""
    records = {record["id"]: record for record in read_cases(root)}
    splits = [split for split in SPLITS if any(record["split"] == split for record in records.values())]
    return [
        Member(
            group,
            records[group.id]["patient"],
            split == "test",
            tuple(root / name for name in records[group.id]["files"] if "/x1/" in name),
        )
        for split in splits
        for group in read_groups(root, split)
    ]


def is_found(findings: Sequence[Finding], guards: Sequence[str]) -> bool:
    """True if any of these guards has a finding."""
    return any(finding.guard in guards for finding in findings)


def sound_inputs(groups: Sequence[Member]) -> Iterator[list[str]]:
    """For each guard of inputs: in how many groups as they are it finds something, by scale."""
    found = {s: [input_findings(member.group.degraded(s)) for member in groups] for s in SCALES}
    for guard in INPUT_GUARDS:
        yield [guard, *(str(_rate(groups, [is_found(f, [guard]) for f in found[s]])) for s in SCALES)]


def _rate(groups: Sequence[Member], found: Sequence[bool]) -> Rate:
    rate = Rate()
    for member, one in zip(groups, found, strict=True):
        rate.add(member, one)
    return rate


def faulty_inputs(groups: Sequence[Member]) -> Iterator[list[str]]:
    """For each fault: in how many images that it may befall it is found, by scale."""
    for fault in faults():
        rates = {scale: Rate() for scale in SCALES}
        for member in groups:
            for slot in fault.slots:
                for scale, images in faulty(member.group, fault, slot):
                    rates[scale].add(member, is_found(input_findings(images), fault.guards))
        yield [fault.name, ", ".join(SLOTS[slot] for slot in fault.slots), *map(str, rates.values())]


def faulty(group: Group, fault: Fault, slot: int) -> Iterator[tuple[int, list[RGB]]]:
    """(scale, images) with one fault in one slot."""
    source = fault.change(group.sources[slot]) if fault.of_source else group.sources[slot]
    for scale in SCALES:
        images = group.degraded(scale)
        image = low_resolution(source, scale)
        images[slot] = image if fault.of_source else fault.change(image)
        yield scale, images


def wrong_orders(groups: Sequence[Member]) -> Iterator[list[str]]:
    """For each wrong order of the slots: in how many groups it is found, by scale."""
    for order in list(permutations(range(len(SLOTS))))[1:]:
        rates = {scale: Rate() for scale in SCALES}
        for member in groups:
            for scale, rate in rates.items():
                files = [path.parent.parent / f"x{scale}" / path.name for path in member.files]
                rate.add(
                    member, is_stopped(Case(member.group.id, {s: files[i] for s, i in zip(SLOTS, order, strict=True)}))
                )
        yield [", ".join(SLOTS[i] for i in order), *map(str, rates.values())]


def is_stopped(case: Case) -> bool:
    """True if the case is refused at loading, or its slot order is detected."""
    try:
        return is_found(input_findings(load_case(case, 1, None).images), ["slot order"])
    except InputError:
        return True


@dataclass(frozen=True, slots=True)
class Fused:
    """A model's results for all groups."""

    inputs: list[list[RGB]]
    results: list[RGB]


def fuse_all(fuser: FusionMethod, groups: Sequence[Member]) -> Fused:
    """All groups, one at a time."""
    return Fused(
        [member.group.degraded(fuser.scale) for member in groups],
        [fuse_group(fuser, member.group) for member in groups],
    )


def sound_results(groups: Sequence[Member], made: dict[int, Fused]) -> Iterator[list[str]]:
    """For each guard of results: in how many of the models' it finds something, by scale."""
    found = {s: [result_findings(*pair) for pair in zip(m.results, m.inputs, strict=True)] for s, m in made.items()}
    for guard in RESULT_GUARDS:
        yield [guard, *(str(_rate(groups, [is_found(f, [guard]) for f in found[s]])) for s in made)]


def wrong_results(groups: Sequence[Member], made: dict[int, Fused]) -> Iterator[list[str]]:
    """For each substitute: in how many groups anything is found, by scale."""
    patients = [member.patient for member in groups]
    by_scale = [dict(substitutes(one.results, patients)) for one in made.values()]
    for name in by_scale[0]:
        cells = []
        for substitute, one in zip(by_scale, made.values(), strict=True):
            rate = Rate()
            for i, member in enumerate(groups):
                if (result := substitute[name](i)) is not None:
                    rate.add(member, bool(result_findings(result, one.inputs[i])))
            cells.append(str(rate))
        yield [name, *cells]


def other_cases(sources: Sequence[Path], fusers: Sequence[FusionMethod]) -> Iterator[list[str]]:
    """For each source: cases, and in how many of them anything is found in inputs and results."""
    for source in sources:
        cases = {
            case.id: tuple(
                read_file(case.files[slot])[0] for slot in SLOTS
            )  # not load_case: one image may be there twice
            for case in discover([source])
            if isinstance(case, Case)
        }
        found = [input_findings(images) for images in cases.values()]
        cells = [str(sum(is_found(one, [guard]) for one in found)) for guard in INPUT_GUARDS]
        yield [source.stem, str(len(cases)), *cells, *(found_in_results(cases, fuser) for fuser in fusers)]


def found_in_results(cases: dict[str, tuple[RGB, ...]], fuser: FusionMethod) -> str:
    """In how many cases of small images anything is found in the result."""
    if any(max(images[0].shape) > LARGEST for images in cases.values()):
        return "not fused"
    found = 0
    for case, images in cases.items():
        height, width = images[0].shape[:2]
        size = (height * fuser.scale, width * fuser.scale)
        (result,) = fuser.begin(ImageBatch([images], [case], size=size))()
        found += bool(result_findings(result, images))
    return str(found)


def write_page(data: Path, output: Path, others: Sequence[Path]) -> None:
    """The tables and figures of all rates."""
    # Fuse all cases with all shipped models.
    groups = members(data)
    fusers = [load_pipeline(f"tfs-rt/x{scale}") for scale in shipped_scales()]
    made = {fuser.scale: fuse_all(fuser, groups) for fuser in fusers}
    # Measure the rates.
    inputs = [f"x{scale}" for scale in SCALES]
    results = [f"x{scale}" for scale in made]
    thresholds = ([name, str(value)] for name, value in dataclasses.asdict(THRESHOLDS).items())
    tables = {
        "sound inputs": (["found in inputs", *inputs], sound_inputs(groups)),
        "sound results": (["found in results", *results], sound_results(groups, made)),
        "faults": (["fault", "affected images", *inputs], faulty_inputs(groups)),
        "orders": (["order", *inputs], wrong_orders(groups)),
        "wrong results": (["result", *results], wrong_results(groups, made)),
        "thresholds": (["threshold", "value"], thresholds),
    }
    if others:
        columns = ["other cases, as they are", "cases", *INPUT_GUARDS, *(f"results of {scale}" for scale in results)]
        tables["other cases"] = (columns, other_cases(others, fusers))
    # Write the tables.
    figures = {name: [columns, *rows] for name, (columns, rows) in tables.items()}
    fill_page(output, {name: table(lines[0], lines[1:]) for name, lines in figures.items()}, figures)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="SET")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--others", type=Path, nargs="*", default=[], metavar="CASES", help="more cases, as they are")
    arguments = parser.parse_args()
    try:
        write_page(arguments.data, arguments.output, arguments.others)
    except TfsRtError as error:
        sys.exit(f"guards: {error}")


if __name__ == "__main__":
    main()
