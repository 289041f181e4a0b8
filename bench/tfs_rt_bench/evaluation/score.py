"""Score folders of results against ground truth, case by case, paired by name and never by position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tfs_rt.cases.case import Case
from tfs_rt.cases.discover import discover
from tfs_rt.cases.load import ReadingOptions
from tfs_rt.cases.remedies import only_options, restricted
from tfs_rt.errors import InputError, NothingFound, TfsRtError, UsageError
from tfs_rt.facts import Facts
from tfs_rt.images import RGB, resize
from tfs_rt_bench.evaluation.folders import Images, Sources, image_files, swapped
from tfs_rt_bench.evaluation.places import place_warnings
from tfs_rt_bench.measures.fusion_metrics import FUSION_METRICS, against_sources
from tfs_rt_bench.measures.intervals import Comparison, Summary, compare, summarise
from tfs_rt_bench.measures.metrics import METRICS, Metric, Scores, average_gradient, colour_bias, fidelity, in_head

NAMED = "name results as the ground truth is named, and the slices of a volume CASE-slice001, CASE-slice002, ..."
Lpips = Callable[[RGB, RGB], float | None]


@dataclass(frozen=True, slots=True)
class Request:
    """Folders to score: results, ground truth and, if given, sources."""

    results: tuple[Path, ...]
    truth: Path
    sources: tuple[Path, ...] = ()
    lpips: Lpips | None = None
    reading: ReadingOptions = field(default_factory=lambda: ReadingOptions(offered=()))  # of the sources

    def reading_of_files(self) -> ReadingOptions:
        """Options for reading results and ground truth, which hold levels of 8 bits."""
        offered = tuple(option for option in self.reading.offered or () if option == "--allow-lossy")
        return ReadingOptions(allow_lossy=self.reading.allow_lossy, offered=offered)


@dataclass
class Evaluation:
    """Scores by method and case, over the cases that every method has; and what could not be scored."""

    methods: tuple[str, ...]
    truth: Path
    with_sources: bool
    with_lpips: bool
    scores: dict[str, dict[str, Scores]]  # keys: method, then case
    truth_ag: dict[str, float | None]
    problems: list[TfsRtError] = field(default_factory=list)
    resized: int = 0  # cases whose sources had to be
    warnings: list[str] = field(default_factory=list)  # about the folders

    @property
    def metrics(self) -> dict[str, Metric]:
        """The measures in the order in which they are shown."""
        return METRICS | (FUSION_METRICS if self.with_sources else {})

    @property
    def cases(self) -> list[str]:
        """The cases that were scored."""
        return list(self.truth_ag)

    @cached_property
    def truth_gradient(self) -> float | None:
        """The ground truth's mean AG."""
        return summarise(list(self.truth_ag.values())).mean

    @cached_property
    def summaries(self) -> dict[str, dict[str, Summary]]:
        """Summaries: by method, then by measure."""
        return {m: {key: summarise(self.values(m, key)) for key in self.metrics} for m in self.methods}

    @cached_property
    def comparisons(self) -> dict[str, dict[str, Comparison]]:
        """Every further method's difference to the first, by method, then measure."""
        first, *others = self.methods
        return {m: {k: compare(self.values(m, k), self.values(first, k)) for k in self.metrics} for m in others}

    def values(self, method: str, key: str) -> list[float | None]:
        """A measure of a method, case by case."""
        return [self.scores[method][case].get(key) for case in self.cases]


def evaluate(request: Request, on_case: Callable[[int], None] = lambda cases: None) -> Evaluation:
    """Score all methods on the cases that each of them, the ground truth and the sources (if given) have.

    A case that cannot be scored for one method is left out for all, and is among the problems. Raises NothingFound if
    no case is left.
    """
    # Find each method's files, and the cases that are missing somewhere.
    names = method_names([*request.results, request.truth])[:-1]
    of_files = request.reading_of_files()
    methods = {name: Images(image_files(folder), of_files) for name, folder in zip(names, request.results, strict=True)}
    truths = Images(image_files(request.truth), of_files)
    unmatched = missing(methods, truths)
    problems = [*unmatched]
    sources = _sources(request, truths, problems)
    # Score each image of each case that all methods have.
    scored = _Scored({name: {} for name in names}, {})
    places: list[tuple[str, str, str]] = []
    for case in truths.files:
        if all(images.has(case) for images in methods.values()):
            try:
                of_case = truths.slices(case)
                places += [(name, case, images.place_problem(case, truths)) for name, images in methods.items()]
            except TfsRtError as error:
                problems.append(error)
                of_case = {}
            for image_id, truth in of_case.items():
                try:
                    facts = truths.picture(truths.files[case]).facts
                    scored.add(image_id, truth, facts, len(of_case), methods, sources, request.lpips)
                except TfsRtError as error:
                    problems.append(error)
        on_case(1)
    scores = scored.scores
    truth_ag = scored.truth_ag
    # Refuse an evaluation without any case.
    if not truth_ag:
        raise _nothing_scored(request.truth, problems[len(unmatched) :], unmatched)
    return Evaluation(
        methods=names,
        truth=request.truth,
        with_sources=sources is not None,
        with_lpips=request.lpips is not None,
        scores=scores,
        truth_ag=truth_ag,
        problems=problems,
        resized=scored.resized,
        warnings=[*swapped(request.results, request.truth), *place_warnings(places)],
    )


def _nothing_scored(truth: Path, faults: Sequence[TfsRtError], unmatched: Sequence[TfsRtError]) -> NothingFound:
    """The error with the first fault of a case that all have; if none is at fault, with the first without a partner."""
    reason = "no case could be scored"
    if faults:
        return NothingFound(truth, f"{reason} ({faults[0].subject}: {faults[0].reason})", faults[0].remedy)
    said = f" ({unmatched[0].subject}: {unmatched[0].reason})" if unmatched else ""
    return NothingFound(truth, f"{reason}{said}", NAMED)


@dataclass
class _Scored:
    """The scores so far."""

    scores: dict[str, dict[str, Scores]]  # keys: method, then image
    truth_ag: dict[str, float | None]
    resized: int = 0  # images whose sources had to be

    def add(
        self,
        image_id: str,
        truth: RGB,
        truth_facts: Facts,
        truth_slices: int,
        methods: dict[str, Images],
        sources: Sources | None,
        lpips: Lpips | None,
    ) -> None:
        """Score an image of all methods; a fault leaves it out for all of them."""
        # Read the images.
        results = {name: images.image(image_id, truth_slices) for name, images in methods.items()}
        for name, result in results.items():
            _check_size(image_id, name, result, truth)
        of_case = None if sources is None else sources.images(image_id, truth, truth_facts)
        # Score each method's image.
        for name, result in results.items():
            self.scores[name][image_id] = score(result, truth, of_case, lpips)
        self.truth_ag[image_id] = average_gradient(truth)
        self.resized += of_case is not None and of_case[0].shape != truth.shape


def score(result: RGB, truth: RGB, sources: Sequence[RGB] | None, lpips: Lpips | None) -> Scores:
    """All measures of a result (H, W, 3); sources of another size are resized to it."""
    scores = fidelity(result, truth) | in_head(result, truth) | colour_bias(result, truth)
    if lpips:
        scores["lpips"] = lpips(result, truth)
    if sources:
        size = (truth.shape[0], truth.shape[1])
        scores |= against_sources(result, [resize(source, size) for source in sources])
    return scores


def method_names(folders: Sequence[Path]) -> tuple[str, ...]:
    """Display names of folders: their names, with as many parents as needed to tell them apart."""
    parts = [folder.resolve().parts for folder in folders]
    if len(set(parts)) < len(parts):
        raise UsageError("RESULTS... GROUND_TRUTH", "the same folder is given twice", "name each folder once")
    depth = 1
    while len({part[-depth:] for part in parts}) < len(parts):
        depth += 1
    return tuple("/".join(part[-depth:]) for part in parts)


def missing(methods: dict[str, Images], truths: Images) -> list[TfsRtError]:
    """Cases that are missing in one of the places."""
    unmatched: list[TfsRtError] = []
    for name, images in methods.items():
        without_result = [case for case in truths.files if not images.has(case)]
        without_truth = [path for case, path in images.files.items() if not truths.has(case)]
        unmatched += [
            InputError(one, f"{name} has no result for it", "left out for all methods") for one in without_result
        ]
        unmatched += [InputError(path, "has no ground truth", "left out") for path in without_truth]
    return sorted(unmatched, key=str)


def _check_size(image_id: str, name: str, result: RGB, truth: RGB) -> None:
    if result.shape != truth.shape:
        (h, w) = result.shape[:2]
        (height, width) = truth.shape[:2]
        reason = f"is {w}x{h} in {name}, but its ground truth is {width}x{height}"
        raise InputError(image_id, reason, "score results of the ground truth's size")


def _sources(request: Request, truths: Images, problems: list[TfsRtError]) -> Sources | None:
    """The cases of the sources; None if no sources are given."""
    if not request.sources:
        return None
    offered = request.reading.offered
    with only_options(offered):
        found = discover(request.sources, any_pair=True)
    refused = [case for case in found if not isinstance(case, Case) and truths.has(case.id)]
    problems += [restricted(case.error, offered) for case in refused]
    return Sources({case.id: case for case in found if isinstance(case, Case)}, request.reading)
