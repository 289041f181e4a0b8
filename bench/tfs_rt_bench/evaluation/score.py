"""Score folders of results against ground truth, case by case, paired by name and never by position."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tfs_rt.cases.case import Case
from tfs_rt.cases.discover import discover
from tfs_rt.cases.listing import images_in
from tfs_rt.cases.load import load_case, read_file
from tfs_rt.errors import InputError, NothingFound, TfsRtError, UsageError
from tfs_rt.images import RGB, resize
from tfs_rt_bench.measures.fusion_metrics import FUSION_METRICS, against_sources
from tfs_rt_bench.measures.intervals import Comparison, Summary, compare, summarise
from tfs_rt_bench.measures.metrics import METRICS, Metric, Scores, average_gradient, colour_bias, fidelity, in_head

Lpips = Callable[[RGB, RGB], float | None]


@dataclass(frozen=True, slots=True)
class Request:
    """Folders to score: results, ground truth and, if given, sources."""

    results: tuple[Path, ...]
    truth: Path
    sources: tuple[Path, ...] = ()
    lpips: Lpips | None = None


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
    folders = dict(zip(names, map(image_files, request.results), strict=True))
    truths = image_files(request.truth)
    problems = missing(folders, truths)
    sources = _sources(request.sources, truths, problems)
    # Score each case that all methods have.
    scores: dict[str, dict[str, Scores]] = {name: {} for name in names}
    truth_ag = {}
    resized = 0
    for case, truth_file in truths.items():
        if all(case in files for files in folders.values()):
            # Read the case's images; a fault leaves the case out for all methods.
            try:
                truth = read_file(truth_file)[0]
                images = {name: _read_result(files[case], truth, truth_file) for name, files in folders.items()}
                of_case = None if sources is None else _read_sources(case, sources, truth)
            except TfsRtError as error:
                problems.append(error)
            else:
                # Score each method's image.
                for name, image in images.items():
                    scores[name][case] = score(image, truth, of_case, request.lpips)
                truth_ag[case] = average_gradient(truth)
                resized += of_case is not None and of_case[0].shape != truth.shape
        on_case(1)
    # Refuse an evaluation without any case.
    if not truth_ag:
        said = f" ({problems[0]})" if problems else ""
        raise NothingFound(request.truth, f"no case could be scored{said}", "name results as the ground truth is named")
    return Evaluation(
        methods=names,
        truth=request.truth,
        with_sources=sources is not None,
        with_lpips=request.lpips is not None,
        scores=scores,
        truth_ag=truth_ag,
        problems=problems,
        resized=resized,
    )


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


def image_files(folder: Path) -> dict[str, Path]:
    """The images of a folder by case; what cannot be one image of one case is refused."""
    try:
        files = images_in(folder)
    except OSError as error:
        raise NothingFound(folder, f"cannot be listed ({error.strerror})", "give a folder of images") from error
    if not files:
        raise NothingFound(folder, "holds no images", "give a folder that holds <case>.png")
    counts = Counter(path.stem for path in files)
    if twice := [case for case, count in counts.items() if count > 1]:
        raise UsageError(folder, f"holds {counts[twice[0]]} images of {twice[0]}", "keep one")
    return {path.stem: path for path in files}


def missing(folders: dict[str, dict[str, Path]], truths: dict[str, Path]) -> list[TfsRtError]:
    """Cases that are missing in one of the places."""
    unmatched = [
        InputError(case, f"{name} has no result for it", "left out for all methods")
        for name, files in folders.items()
        for case in truths.keys() - files.keys()
    ]
    unmatched += [
        InputError(path, "has no ground truth", "left out")
        for files in folders.values()
        for case, path in files.items()
        if case not in truths
    ]
    return sorted(unmatched, key=str)


def _read_result(file: Path, truth: RGB, truth_file: Path) -> RGB:
    result = read_file(file)[0]
    if result.shape != truth.shape:
        (h, w) = result.shape[:2]
        (height, width) = truth.shape[:2]
        reason = f"is {w}x{h}, but its ground truth {truth_file.name} is {width}x{height}"
        raise InputError(file, reason, "score results of the ground truth's size")
    return result


def _sources(folders: Sequence[Path], truths: dict[str, Path], problems: list[TfsRtError]) -> dict[str, Case] | None:
    """The cases by id; None if no sources are given."""
    if not folders:
        return None
    found = discover(folders, any_pair=True)
    problems += [case.error for case in found if not isinstance(case, Case) and case.id in truths]
    return {case.id: case for case in found if isinstance(case, Case)}


def _read_sources(case: str, sources: dict[str, Case], truth: RGB) -> list[RGB]:
    if case not in sources:
        raise InputError(case, "the sources have no such case", "name them as the ground truth is named")
    images = load_case(sources[case], 1, None).images
    (height, width) = truth.shape[:2]
    (h, w) = images[0].shape[:2]
    if height * w != width * h:
        reason = f"its sources are {w}x{h}, its ground truth is {width}x{height}"
        raise InputError(f"case {case}", reason, "give sources of the same proportions")
    return list(images)
