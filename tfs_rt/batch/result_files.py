"""The form and the files of a case's result: its image, its spread and its sidecar. Nothing is written here."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from PIL import Image

from tfs_rt.batch import samples
from tfs_rt.batch.work import CaseWork
from tfs_rt.cases.load import Loaded
from tfs_rt.errors import InputError
from tfs_rt.facts import Facts
from tfs_rt.formats.dicom.placement import is_placed
from tfs_rt.formats.levels import SHOWS
from tfs_rt.formats.registry import FORMATS, encode, encode_series
from tfs_rt.images import RGB, Array
from tfs_rt.output import bids_derivative
from tfs_rt.output.folder import ENDINGS, SERIES, SPREAD, SPREAD_NUMBERS, result_name
from tfs_rt.output.marks import png_text
from tfs_rt.output.provenance import recipe_hash
from tfs_rt.output.results import Content
from tfs_rt.output.sidecar import OutputFile, Result, Sidecar, Spread
from tfs_rt.system.files import names_sha256

TIFF_DESCRIPTION = 270  # tag


@dataclass(frozen=True, slots=True)
class FinishedCase:
    """A case, ready to be written."""

    files: dict[str, Content]  # by path in the output folder
    sidecar: Sidecar


def result_form(loaded: Loaded, *, multi_frame: bool) -> str:
    """The form of a case's result: a series for a DICOM volume with places, unless one file is asked for.

    InputError if one is asked for and the result is not DICOM.
    """
    if loaded.format != "dicom":
        if multi_frame:
            reason = f"its result is {FORMATS[loaded.format].title}, and --multi-frame is for DICOM"
            raise InputError(f"case {loaded.case.id}", reason, "leave out --multi-frame")
        return loaded.format
    is_series = len(loaded.slices) > 1 and any(map(is_placed, loaded.frames.values()))
    return SERIES if is_series and not multi_frame else loaded.format


def finish_case(work: CaseWork, provenance: Facts, settings: Facts, warnings: list[str]) -> FinishedCase:
    """Encode a complete case and build its sidecar. `settings` are those entries of `provenance` that change pixels."""
    loaded = work.loaded
    case_id = loaded.case.id
    # Hash everything that can change the pixels.
    hashes = {slot: facts["sha256"] for slot, facts in loaded.inputs.items()}
    recipe_sha256 = recipe_hash(case_id, hashes, settings)
    # Encode the spread and the result; both carry their origin as text.
    text = png_text(case_id, hashes, provenance, recipe_sha256)
    spread_files = _spread_files(work, text)
    name = result_name(case_id, work.form)
    content = _encode(work, work.slices, text)
    # Describe them.
    bids_facts: Facts = {}
    if loaded.case.dataset:
        kind = "method" if provenance.get("method") else "model"
        made_by = f"{kind} {text['tfs-rt:made-by']}"
        bids_facts = bids_derivative.sidecar_entries(loaded.case.dataset, loaded.case.files, made_by)
    sidecar = Sidecar(
        case=case_id,
        result=_result(work, name, content),
        inputs=loaded.inputs,
        warnings=warnings,
        findings=_findings(work),
        seconds=round(work.seconds, 4),
        bids=bids_facts,
        spread=_spread(work, spread_files) if work.spreads else None,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        provenance=provenance,
        recipe_sha256=recipe_sha256,
    )
    return FinishedCase({**spread_files, name: content}, sidecar)


def _encode(work: CaseWork, slices: Sequence[RGB], text: dict[str, str]) -> Content:
    """A result's slices, or pictures of the same size, in the form of the result."""
    if work.form == SERIES:
        return encode_series(work.loaded.format, slices, work.loaded.frames, text)
    return encode(work.form, slices, work.loaded.frames, text)


def _sha256(content: Content) -> str:
    """The SHA-256 of a file, or of a folder by its files, as `path_sha256` gives it when they are written."""
    if isinstance(content, bytes):
        return hashlib.sha256(content).hexdigest()
    return names_sha256({name: hashlib.sha256(data).hexdigest() for name, data in content.items()})


def _result(work: CaseWork, name: str, content: Content) -> Result:
    height, width = work.loaded.size
    pixels = hashlib.sha256(b"".join(image.tobytes() for image in work.slices))
    is_volume = len(work.slices) > 1
    dicom_form = "series" if work.form == SERIES else "multi-frame"
    return Result(
        file=name,
        sha256=_sha256(content),
        pixels_sha256=pixels.hexdigest(),
        width=width,
        height=height,
        slices=len(work.slices) if is_volume else None,
        form=dicom_form if is_volume and work.loaded.format == "dicom" else None,
    )


def _findings(work: CaseWork) -> list[Facts]:
    facts: list[Facts] = []
    for finding, count in work.reported_findings():
        facts.append(
            {
                "guard": finding.guard,
                "measured": round(finding.measured, 4),
                "threshold": finding.threshold,
                "slices": count,
            }
        )
    return facts


def _spread(work: CaseWork, files: dict[str, Content]) -> Spread:
    return Spread(
        files=[OutputFile(file=name, sha256=_sha256(content)) for name, content in files.items()],
        samples=work.samples,
        mean_levels=round(float(np.mean([spread.mean() for spread in work.spreads])), 4),
        white_levels=samples.SPREAD_TOP,
    )


def _spread_files(work: CaseWork, text: dict[str, str]) -> dict[str, Content]:
    """The spread as a picture in the result's form, and as numbers in a TIFF with a page for each slice."""
    if not work.spreads:
        return {}
    pictures = [samples.heat_map(spread) for spread in work.spreads]
    picture = _encode(work, pictures, {**text, SHOWS: "spread of samples"})
    stem = f"{SPREAD}/{work.loaded.case.id}"
    return {
        f"{stem}{ENDINGS[work.form]}": picture,
        f"{stem}{SPREAD_NUMBERS}": _tiff(work.spreads),
    }


def _tiff(spreads: Sequence[Array]) -> bytes:
    """A TIFF with a page of 16-bit grey for each spread (H, W) in levels."""
    buffer = io.BytesIO()
    pages = [Image.fromarray(samples.spread_numbers(spread)) for spread in spreads]
    description = "; ".join(f"{key}: {value}" for key, value in samples.RAW_TEXT.items())
    more_pages = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
    pages[0].save(buffer, format="TIFF", tiffinfo={TIFF_DESCRIPTION: description}, **more_pages)
    return buffer.getvalue()
