"""Warnings about a result: its size, how its inputs became grey levels, their places, and the guards' findings."""

from __future__ import annotations

from collections.abc import Callable

from tfs_rt.batch.question import full_resolution_question
from tfs_rt.batch.work import CaseWork
from tfs_rt.cases.align import doubts
from tfs_rt.cases.load import Loaded
from tfs_rt.cases.modalities import FLAIR, PLAIN_MR
from tfs_rt.facts import Facts
from tfs_rt.formats import hounsfield
from tfs_rt.formats.registry import place_format

# A result more than so many times larger or smaller than the training images causes a warning.
SIZE_RATIO = 2
LEAST_COVERAGE = 0.5  # share of the grid that an aligned image covers; less causes a warning
ASPECT_TOLERANCE = 0.02  # change of the sides' ratio that causes a warning

# (test of an input's facts, warning in which {} stands for the slots that pass it).
SHARED_WARNINGS: list[tuple[Callable[[Facts], bool], str]] = [
    (
        lambda facts: facts.get("window_from") == "data",
        "the grey levels of {} were chosen from the data (see the sidecar): set them with --window",
    ),
    (
        lambda facts: facts.get("colormap_from") == "default",
        "{} does not say if it is PET or SPECT: atlas-pet was used, set it with --colormap",
    ),
    (
        lambda facts: facts.get("sform_code") == facts.get("qform_code") == 0,
        "{} has no orientation in its header: left and right are taken as stored",
    ),
    (
        lambda facts: "order_unknown" in facts,
        "only the first frame of {} has a position: the frames are taken in stored order",
    ),
    (
        lambda facts: facts.get("modality_by_name") == FLAIR,
        "{} is FLAIR, in which fluid is dark: the models were trained with MR-T2 in its place",
    ),
    (
        lambda facts: facts.get("modality_by_name") == PLAIN_MR,
        "the name of {} does not say its contrast: it was taken for MR-T2",
    ),
    (
        lambda facts: "scattered_uids" in facts,
        "each file of {} has a Series Instance UID of its own: they were taken for one series, as they form one stack",
    ),
    (
        lambda facts: "forms_apart_mm" in facts,
        "sform and qform of {} disagree (see the sidecar): the sform was used",
    ),
]


def warnings_of(work: CaseWork, trained_size: int | None) -> list[str]:
    """All warnings about a finished case."""
    return [*size_warnings(work.loaded, trained_size), *reading_warnings(work.loaded), *_finding_warnings(work)]


def size_warnings(loaded: Loaded, trained_size: int | None) -> list[str]:
    """Warnings about a result's size. `trained_size` is the side in pixels of the model's training images."""
    height, width = loaded.size
    input_height, input_width = loaded.slices[0][0].shape[:2]
    warnings: list[str] = []
    if trained_size:
        smallest = trained_size / SIZE_RATIO
        largest = trained_size * SIZE_RATIO
        if not all(smallest <= side <= largest for side in (height, width)):
            warnings.append(
                f"result is {width}x{height}, the model was trained at {trained_size}x{trained_size}: "
                "expect lower quality"
            )
    if loaded.is_enlarged and (question := full_resolution_question(input_width, input_height, trained_size)):
        warnings.append(question)
    tolerance = max(height, width) * max(input_height, input_width) * ASPECT_TOLERANCE
    if abs(height * input_width - width * input_height) > tolerance:
        warnings.append(f"{input_width}x{input_height} is stretched to {width}x{height}")
    return warnings


def reading_warnings(loaded: Loaded) -> list[str]:
    """Warnings about how the inputs of a case were read."""
    return input_warnings(loaded.inputs)


def input_warnings(inputs: dict[str, Facts]) -> list[str]:
    """Warnings about how inputs were read and aligned, by their facts for the sidecar."""
    warnings: list[str] = []
    for applies, words in SHARED_WARNINGS:
        slots = [slot for slot, facts in inputs.items() if applies(facts)]
        if slots:
            warnings.append(words.format(", ".join(slots)))
    for slot, facts in inputs.items():
        warnings += [*_slot_warnings(slot, facts), *_alignment_warnings(slot, facts)]
    return [*warnings, *_place_warnings(inputs)]


def _slot_warnings(slot: str, facts: Facts) -> list[str]:
    """Warnings about one input: CT's window, and unexpected colour."""
    low, high = hounsfield.HEAD_WINDOW
    warnings: list[str] = []
    if facts.get("window_from") == hounsfield.ORIGIN:
        shown = f"shown from {low:g} to {high:g} HU, the head window"
        warnings.append(f"{slot} is CT without a window: {shown}; set it with --window {slot}=LOW:HIGH")
    if span := facts.get("wide_window_hu"):
        reason = f"the window in {slot}'s own file spans {span:g} HU, in which a brain is one grey"
        warnings.append(f"{reason}; --window {slot}={low:g}:{high:g} shows a head")
    if pixels := facts.get("coloured_pixels"):
        effect = "it keeps its colour" if slot == "functional" else "the result may show it"
        warnings.append(f"{slot} is grey but for {pixels} pixels in colour (a mark, a colour bar): {effect}")
    if one := facts.get("name_spelled_unlike"):
        agree = "the patient's id and birth date are the same"
        warnings.append(f"{slot} and {one} do not spell the patient's name alike: {agree}, so they were taken for one")
    if modality := facts.get("capture_says"):
        warnings.append(
            f"{slot} is a capture of a screen that says it is {modality}: its colours were taken as they are"
        )
    if share := facts.get("colour_share"):
        warnings.append(f"{slot} has colour in {share:.0%} of what it shows: its own colours were used")
    return warnings


def _alignment_warnings(slot: str, facts: Facts) -> list[str]:
    """Warnings about an alignment that is not to be trusted, or that leaves much of the grid empty."""
    warnings: list[str] = []
    if reasons := doubts(facts):
        onto = facts["alignment"]["onto"]
        remedy = "look at it before you use it (tfs-rt align makes a page for that)"
        warnings.append(f"the registration of {slot} (onto {onto}) is not to be trusted: {reasons}: {remedy}")
    coverage = facts.get("alignment", {}).get("coverage", 1.0)
    if coverage < LEAST_COVERAGE:
        warnings.append(f"{slot} covers {coverage:.0%} of the grid: the rest of it is filled with background")
    return warnings


def _place_warnings(inputs: dict[str, Facts]) -> list[str]:
    """A warning if the inputs' places could not be compared: only files of one format can, unless they were aligned."""
    if any("alignment" in facts for facts in inputs.values()):
        return []
    placed = [slot for slot, facts in inputs.items() if facts["has_place"]]
    unplaced = [slot for slot in inputs if slot not in placed]
    formats = sorted({place_format(facts["format"]) for facts in inputs.values()})
    if placed and unplaced:
        reason = f"no position in space is known for {', '.join(unplaced)}, unlike {', '.join(placed)}"
        return [f"{reason}: it was not checked that the inputs show the same place"]
    if placed and len(formats) > 1:
        reason = f"positions in {' and '.join(formats)} files are not compared"
        return [f"{reason}: it was not checked that the inputs show the same place"]
    return []


def _finding_warnings(work: CaseWork) -> list[str]:
    total = len(work.loaded.slices)
    warnings: list[str] = []
    for finding, count in work.reported_findings():
        where = f" (in {count} of {total} slices)" if total > 1 else ""
        warnings.append(f"{finding.message}{where}: {finding.remedy}")
    return warnings
