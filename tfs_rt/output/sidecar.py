"""The sidecar beside each result: what was made of which inputs, and how. It carries its own digest.

The digest finds accidents and careless edits. It is not a signature.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfs_rt.errors import InputError, first_line
from tfs_rt.facts import Facts, digest, json_bytes
from tfs_rt.output.folder import SPREAD, result_names, spread_names
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import read_regular

DIGEST = "sidecar_sha256"  # key of a sidecar's own digest, the last
LIMIT = 2**22  # bytes, a hundred times what a sidecar needs
NUMBER_LIMIT = 2**53  # whole numbers below it are exact in JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file in the output folder."""

    file: str  # path in the output folder, with "/"
    sha256: str

    def as_facts(self) -> Facts:
        """The JSON object."""
        return {"file": self.file, "sha256": self.sha256}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result(OutputFile):
    """A fused image or volume."""

    pixels_sha256: str  # of the pixels alone: uint8 RGB, row by row, slice by slice
    width: int  # pixels
    height: int
    slices: int | None = None  # of a volume; None for a single image
    form: str | None = None  # of a DICOM volume: series or multi-frame; None for others, and in older sidecars

    def as_facts(self) -> Facts:
        """The JSON object."""
        facts: Facts = {
            "file": self.file,
            "sha256": self.sha256,
            "pixels_sha256": self.pixels_sha256,
            "width": self.width,
            "height": self.height,
        }
        if self.slices is not None:
            facts["slices"] = self.slices
        if self.form is not None:
            facts["form"] = self.form
        return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The maps that show how far a case's samples lie apart."""

    files: Sequence[OutputFile]  # a picture, and numbers as TIFF
    samples: int  # at least 2
    mean_levels: float  # mean over all pixels, in levels of 0..255
    white_levels: int  # levels that are white in the picture

    def as_facts(self) -> Facts:
        """The JSON object."""
        return {
            "files": [file.as_facts() for file in self.files],
            "samples": self.samples,
            "mean_levels": self.mean_levels,
            "white_levels": self.white_levels,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Sidecar:
    """All that a sidecar holds, in the order in which it is written.

    A new field is added here, with a default: a file that was written before the field existed is read with it.
    A field that is None is not written.
    """

    case: str  # id
    result: Result
    # By slot: file, sha256, format, width and height, and the facts that its format adds.
    inputs: dict[str, Facts]
    warnings: list[str]  # sentences for the user
    findings: list[Facts]  # of the guards: guard, measured, threshold, and in how many slices
    seconds: float  # of fusing, shared evenly by the images of a batch
    # Description, Sources and SkullStripped, for a case of a BIDS dataset; else empty.
    bids: Facts
    spread: Spread | None = None  # None for a result of one sample
    created: str  # ISO 8601, UTC
    provenance: Facts  # entries of `Provenance`; another version of tfs-rt may have written others
    recipe_sha256: str  # of everything that can change pixels: see `recipe_hash`

    def as_facts(self) -> Facts:
        """The JSON object, without its digest."""
        facts: Facts = {}
        for name in FIELDS:
            value = getattr(self, name)
            if name in MERGED:
                facts |= value
            elif isinstance(value, Result | Spread):
                facts[name] = value.as_facts()
            elif value is not None:
                facts[name] = value
        return facts

    def as_bytes(self) -> bytes:
        """The file's content."""
        return with_digest(self.as_facts())

    def files(self) -> dict[str, str]:
        """The files that the sidecar describes, with their SHA-256; the result last."""
        spread = self.spread.files if self.spread else []
        return {file.file: file.sha256 for file in [*spread, self.result]}


BIDS_KEYS = ("Description", "Sources", "SkullStripped")
MERGED = ("bids", "provenance")  # fields whose entries are entries of the sidecar
FIELDS = [field.name for field in dataclasses.fields(Sidecar)]
OWN_KEYS = [name for name in FIELDS if name not in MERGED]  # of a sidecar; all others but BIDS_KEYS are provenance


def with_digest(facts: Facts) -> bytes:
    """A JSON object as a file, with its own digest as the last entry."""
    return json_bytes(facts | {DIGEST: digest(facts)})


def read_sidecar(path: Path) -> Sidecar:
    """Read a sidecar; InputError if it is not one, was changed since it was written, or is another case's."""
    try:
        data = read_regular(path, LIMIT)
        facts = json.loads(data)
        own_digest = facts.pop(DIGEST)
        if data != json_bytes(facts | {DIGEST: own_digest}) or own_digest != digest(facts):
            raise ValueError("it was changed after it was written")
        sidecar = _parsed(facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"is not a valid sidecar of tfs-rt, or it is damaged ({first_line(error)})"
        raise InputError(path, reason, "fuse the case again") from error
    if sidecar.case != path.stem:
        raise InputError(path, f"is the sidecar of {sidecar.case}", "give the files their own names back")
    return sidecar


def looks_like_sidecar(path: Path) -> bool:
    """True if a file holds a sidecar's digest, damaged or not."""
    try:
        return f'"{DIGEST}"'.encode() in read_regular(path, LIMIT)
    except OSError:
        return False


def _parsed(facts: Facts) -> Sidecar:
    """A sidecar's entries, checked. ValueError, KeyError, TypeError or AttributeError if they are not valid."""
    # Check the types.
    seconds = facts["seconds"]
    warnings = facts["warnings"]
    _require(isinstance(seconds, int | float) and 0 <= seconds < NUMBER_LIMIT, "it has no valid time")
    _require(isinstance(facts["findings"], list), "its findings are not a list")
    _require(all(isinstance(one["guard"], str) for one in facts["findings"]), "its findings have no names")
    _require(isinstance(warnings, list), "its warnings are not a list")
    _require(all(isinstance(warning, str) for warning in warnings), "its warnings are not text")
    _require(isinstance(facts["recipe_sha256"], str), "its recipe has no hash")
    # Parse the parts that have a shape of their own. A field that an older file lacks keeps its default.
    own = {key: facts[key] for key in OWN_KEYS if key in facts}
    case_id = own["case"]
    own["result"] = _parsed_result(own["result"], case_id)
    own["inputs"] = _parsed_inputs(own["inputs"])
    if SPREAD in own:
        own[SPREAD] = _parsed_spread(own[SPREAD], case_id)
    bids = {key: facts[key] for key in BIDS_KEYS if key in facts}
    provenance = {key: value for key, value in facts.items() if key not in (*OWN_KEYS, *BIDS_KEYS)}
    return Sidecar(**own, bids=bids, provenance=provenance)


def _parsed_result(facts: Facts, case_id: str) -> Result:
    _require(facts["file"] in result_names(case_id), "its result is another case's file")
    _require(isinstance(facts["sha256"], str), "its result has no hash")
    _require(isinstance(facts["pixels_sha256"], str), "its result's pixels have no hash")
    _require(all(type(facts[side]) is int for side in ("width", "height")), "its result has no size")
    return Result(
        file=facts["file"],
        sha256=facts["sha256"],
        pixels_sha256=facts["pixels_sha256"],
        width=facts["width"],
        height=facts["height"],
        slices=facts.get("slices"),
        form=facts.get("form"),
    )


def _parsed_inputs(inputs: dict[str, Facts]) -> dict[str, Facts]:
    _require(set(inputs) == set(SLOTS), "its inputs are not three")
    for facts in inputs.values():
        _require(isinstance(facts["format"], str), "its inputs have no format")
        _require(isinstance(facts["file"] + facts["sha256"], str), "its inputs have no hash")
    return inputs


def _parsed_spread(facts: Facts, case_id: str) -> Spread:
    files: list[OutputFile] = []
    for file in facts["files"]:
        _require(file["file"] in spread_names(case_id), "its spread is in another case's files")
        _require(isinstance(file["sha256"], str), "its spread has no hash")
        files.append(OutputFile(file=file["file"], sha256=file["sha256"]))
    return Spread(
        files=files,
        samples=facts["samples"],
        mean_levels=facts["mean_levels"],
        white_levels=facts["white_levels"],
    )


def _require(holds: Any, words: str) -> None:
    if not holds:
        raise ValueError(words)
