"""What is written of a case that is fused: its files, and all that made them in its sidecar."""

from __future__ import annotations

import hashlib
import io
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from tfs_rt import __version__
from tfs_rt.batch import samples as uncertainty
from tfs_rt.batch.work import Work
from tfs_rt.cases.listing import image_stem
from tfs_rt.cases.load import Loaded, Reading
from tfs_rt.facts import Facts
from tfs_rt.formats import hounsfield
from tfs_rt.formats.levels import SHOWS
from tfs_rt.formats.png import encode_png
from tfs_rt.formats.registry import encode
from tfs_rt.images import RGB, Array
from tfs_rt.methods.method import FusionMethod
from tfs_rt.output import bids_derivative
from tfs_rt.output.contact_sheet import ROWS, contact_sheet
from tfs_rt.output.folder import SHEETS
from tfs_rt.output.sidecar import ENDINGS, RESEARCH_USE, SPREAD, place, png_text, recipe_sha256, sealed
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import write_file

FAR = 2  # a result more than so many times larger or smaller than what the model was trained at earns a warning
DESCRIPTION = 270  # a TIFF tag


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What of a run may decide a pixel, beside the fuser and the case."""

    seed: int | None = 0  # None for a method that draws no noise
    samples: int = 1  # whose mean is the result
    target_size: tuple[int, int] | None = None  # (H, W); by default the inputs' size times the scale
    reading: Reading = field(default_factory=Reading)


def provenance(fuser: FusionMethod, request: Request) -> Facts:
    """All but the inputs that decided the pixels."""
    facts = fuser.provenance()
    versions = {"tfs-rt": __version__, "python": platform.python_version(), **facts.pop("versions")}
    asked = {"target_size": request.target_size, "seed": request.seed, "samples": request.samples}
    own = {"scale": fuser.scale, **asked, "reading": request.reading.recipe()}
    return {**facts, **own, "versions": versions, "notice": RESEARCH_USE}


class Draft(NamedTuple):
    """A complete case, ready to be written."""

    files: dict[str, bytes]
    sidecar: bytes  # sealed
    report: Facts  # what the report says of it


def drafted(work: Work, made_by: Facts, recipe: Facts, warnings: list[str]) -> Draft:
    """A complete case's files and its sidecar; nothing is written yet."""
    loaded, case_id = work.loaded, work.loaded.case.id
    hashes = {slot: facts["sha256"] for slot, facts in loaded.inputs.items()}
    sha256 = recipe_sha256(case_id, hashes, recipe)
    text = png_text(case_id, hashes, made_by, sha256)
    name = f"{place(case_id)}{ENDINGS[loaded.format]}"
    data = encode(loaded.format, work.slices, loaded.frames, text)
    files = _spread_files(work, text) | {name: data}
    height, width = loaded.size
    pixels = hashlib.sha256(b"".join(image.tobytes() for image in work.slices)).hexdigest()
    result = {**_named(name, data), "pixels_sha256": pixels, "width": width, "height": height}
    if len(work.slices) > 1:
        result["slices"] = len(work.slices)
    told = {"warnings": warnings, "findings": _findings(work), "seconds": round(work.seconds, 4)}
    sidecar = {"case": case_id, "result": result, "inputs": loaded.inputs, **told}
    if dataset := loaded.case.dataset:
        kind = "method" if made_by.get("method") else "model"
        sidecar |= bids_derivative.sidecar_entries(dataset, loaded.case.files, f"{kind} {text['tfs-rt:made-by']}")
    if work.spreads:
        sidecar[SPREAD] = _spread_facts(work, files, name)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    whole = {**sidecar, "created": created, **made_by, "recipe_sha256": sha256}
    return Draft(files, sealed(whole), {**result, "warnings": warnings, "seconds": told["seconds"]})


def warnings_of(work: Work, trained_size: int | None) -> list[str]:
    """What a user should know of a result: its size, how its inputs became levels, what the guards found."""
    return [*size_warnings(work.loaded, trained_size), *reading_warnings(work.loaded), *_words(work)]


def size_warnings(loaded: Loaded, trained_size: int | None) -> list[str]:
    """What a user should know of a result of this size."""
    (height, width), (h, w) = loaded.size, loaded.slices[0][0].shape[:2]
    warnings = []
    if trained_size and not all(trained_size / FAR <= side <= trained_size * FAR for side in (height, width)):
        warnings.append(
            f"result is {width}x{height}, the model was trained at {trained_size}x{trained_size}: expect less of it"
        )
    if abs(height * w - width * h) > max(height, width) * max(h, w) * 0.02:
        warnings.append(f"{w}x{h} is stretched to {width}x{height}")
    return warnings


def reading_warnings(loaded: Loaded) -> list[str]:
    """What a user should know of how the inputs became what they are."""
    said = {
        "grey levels of {} were chosen from the data, as the sidecar says: --window decides them": lambda facts: (
            facts.get("window_from") == "data"
        ),
        "nothing says whether {} is PET or SPECT: atlas-pet was taken, --colormap decides": lambda facts: (
            facts.get("colormap_from") == "default"
        ),
        "{} has no orientation in its header: left and right are taken as stored": lambda facts: (
            facts.get("sform_code") == facts.get("qform_code") == 0
        ),
        "nothing says how the frames of {} lie but for the first: they were taken as stored": lambda facts: (
            "order_unknown" in facts
        ),
        "sform and qform of {} lie apart, as the sidecar says: the sform was taken": lambda facts: (
            "forms_apart_mm" in facts
        ),
    }
    slots = {words: [slot for slot, facts in loaded.inputs.items() if of(facts)] for words, of in said.items()}
    warnings = [words.format(", ".join(chosen)) for words, chosen in slots.items() if chosen]
    for slot, facts in loaded.inputs.items():
        warnings += _slot_warnings(slot, facts)
    return [*warnings, *_place_warnings(loaded)]


def _slot_warnings(slot: str, facts: Facts) -> list[str]:
    """Warnings on one input: the head window of CT, and colour where it is odd."""
    warnings = []
    if facts.get("window_from") == hounsfield.ORIGIN:
        low, high = hounsfield.HEAD_WINDOW
        shown = f"shown from {low:g} to {high:g} HU, the head window"
        warnings.append(f"{slot} is CT without a window: {shown}; --window {slot}=LOW:HIGH decides it")
    if span := facts.get("wide_window_hu"):
        low, high = hounsfield.HEAD_WINDOW
        seen = f"the window of {slot}'s own file spans {span:g} HU, in which a brain is one grey"
        warnings.append(f"{seen}; --window {slot}={low:g}:{high:g} shows a head")
    if pixels := facts.get("coloured_pixels"):
        kept = "it keeps its colour" if slot == "functional" else "the result may show it"
        warnings.append(f"{slot} is grey but for {pixels} pixels in colour (a mark, a colour bar): {kept}")
    if share := facts.get("colour_share"):
        warnings.append(f"{slot} has colour in {share:.0%} of what it shows: its own colours were taken")
    return warnings


def _place_warnings(loaded: Loaded) -> list[str]:
    """Warnings on places that were not compared: that is done within one format alone."""
    known = [slot for slot, facts in loaded.inputs.items() if facts["has_place"]]
    unknown = [slot for slot in loaded.inputs if slot not in known]
    if known and unknown:
        reason = f"nothing says where {', '.join(unknown)} lies, unlike {', '.join(known)}"
        return [f"{reason}: that they lie at one place was not checked"]
    formats = sorted({facts["format"] for facts in loaded.inputs.values()})
    if known and len(formats) > 1:
        return [f"places in {' and '.join(formats)} are not compared: that the inputs lie at one place was not checked"]
    return []


def _words(work: Work) -> list[str]:
    total = len(work.loaded.slices)
    where = [(finding, f" (in {n} of {total} slices)" if total > 1 else "") for finding, n in work.found()]
    return [f"{finding.message}{slices}: {finding.remedy}" for finding, slices in where]


def _findings(work: Work) -> list[Facts]:
    return [
        {"guard": f.guard, "measured": round(f.measured, 4), "threshold": f.threshold, "slices": count}
        for f, count in work.found()
    ]


def _spread_files(work: Work, text: dict[str, str]) -> dict[str, bytes]:
    """The spread as a picture in the result's format, and as numbers in a TIFF with a page for each slice."""
    if not work.spreads:
        return {}
    heat = [uncertainty.heat_map(spread) for spread in work.spreads]
    picture = encode(work.loaded.format, heat, work.loaded.frames, {**text, SHOWS: "spread of samples"})
    name = f"{SPREAD}/{work.loaded.case.id}"
    return {f"{name}{ENDINGS[work.loaded.format]}": picture, f"{name}.tif": _tiff(work.spreads)}


def _tiff(spreads: Sequence[Array]) -> bytes:
    buffer, pages = io.BytesIO(), [Image.fromarray(uncertainty.raw(spread)) for spread in spreads]
    words = "; ".join(f"{key}: {value}" for key, value in uncertainty.RAW_TEXT.items())
    more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
    pages[0].save(buffer, format="TIFF", tiffinfo={DESCRIPTION: words}, **more)
    return buffer.getvalue()


def _spread_facts(work: Work, files: dict[str, bytes], name: str) -> Facts:
    named = [_named(path, data) for path, data in files.items() if path != name]
    mean = round(float(np.mean([spread.mean() for spread in work.spreads])), 4)
    return {"files": named, "samples": work.samples, "mean_levels": mean, "white_levels": uncertainty.SPREAD_TOP}


def _named(name: str, data: bytes) -> Facts:
    return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}


@dataclass(slots=True)
class Sheets:
    """Contact sheets, written as they fill."""

    folder: Path  # the output's
    rows: list[tuple[str, list[tuple[str, RGB]]]] = field(default_factory=list)
    written: int = 0

    def show(self, loaded: Loaded, slices: Sequence[RGB]) -> None:
        """Add a case's row; of a volume its middle slice."""
        middle = len(slices) // 2
        labels = [image_stem(Path(loaded.inputs[slot]["file"]).name) for slot in SLOTS]
        images = [*zip(labels, loaded.slices[middle], strict=True), ("fused", slices[middle])]
        self.rows.append((loaded.case.id, images))
        if len(self.rows) == ROWS:
            self.write()

    def write(self) -> None:
        """Write the rows that are on no sheet yet, if there are any."""
        if self.rows:
            self.written += 1
            write_file(self.folder / SHEETS / f"{self.written:03d}.png", encode_png(contact_sheet(self.rows)))
            self.rows = []
