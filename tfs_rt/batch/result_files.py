"""The files of a finished case: its image, its spread and its sidecar. Nothing is written here."""

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
from tfs_rt.facts import Facts
from tfs_rt.formats.levels import SHOWS
from tfs_rt.formats.registry import encode
from tfs_rt.images import Array
from tfs_rt.output import bids_derivative
from tfs_rt.output.folder import ENDINGS, SPREAD, SPREAD_NUMBERS, result_name
from tfs_rt.output.marks import png_text
from tfs_rt.output.provenance import recipe_hash
from tfs_rt.output.sidecar import OutputFile, Result, Sidecar, Spread

TIFF_DESCRIPTION = 270  # tag


@dataclass(frozen=True, slots=True)
class FinishedCase:
    """A case, ready to be written."""

    files: dict[str, bytes]  # by path in the output folder
    sidecar: Sidecar


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
    name = result_name(case_id, loaded.format)
    data = encode(loaded.format, work.slices, loaded.frames, text)
    # Describe them.
    bids_facts: Facts = {}
    if loaded.case.dataset:
        kind = "method" if provenance.get("method") else "model"
        made_by = f"{kind} {text['tfs-rt:made-by']}"
        bids_facts = bids_derivative.sidecar_entries(loaded.case.dataset, loaded.case.files, made_by)
    sidecar = Sidecar(
        case=case_id,
        result=_result(work, name, data),
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
    return FinishedCase({**spread_files, name: data}, sidecar)


def _result(work: CaseWork, name: str, data: bytes) -> Result:
    height, width = work.loaded.size
    pixels = hashlib.sha256(b"".join(image.tobytes() for image in work.slices))
    return Result(
        file=name,
        sha256=hashlib.sha256(data).hexdigest(),
        pixels_sha256=pixels.hexdigest(),
        width=width,
        height=height,
        slices=len(work.slices) if len(work.slices) > 1 else None,
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


def _spread(work: CaseWork, files: dict[str, bytes]) -> Spread:
    return Spread(
        files=[OutputFile(file=name, sha256=hashlib.sha256(data).hexdigest()) for name, data in files.items()],
        samples=work.samples,
        mean_levels=round(float(np.mean([spread.mean() for spread in work.spreads])), 4),
        white_levels=samples.SPREAD_TOP,
    )


def _spread_files(work: CaseWork, text: dict[str, str]) -> dict[str, bytes]:
    """The spread as a picture in the result's format, and as numbers in a TIFF with a page for each slice."""
    if not work.spreads:
        return {}
    loaded = work.loaded
    pictures = [samples.heat_map(spread) for spread in work.spreads]
    picture = encode(loaded.format, pictures, loaded.frames, {**text, SHOWS: "spread of samples"})
    stem = f"{SPREAD}/{loaded.case.id}"
    return {
        f"{stem}{ENDINGS[loaded.format]}": picture,
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
