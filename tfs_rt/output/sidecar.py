"""What stands beside a result: what made it of what, sealed with its own digest.

A seal finds accidents and careless edits; it is no signature.
"""

from __future__ import annotations

import json
import re
import zlib
from pathlib import Path

from tfs_rt.errors import InputError, first_line
from tfs_rt.facts import Facts, as_json, digest
from tfs_rt.spec import SLOTS
from tfs_rt.system.files import open_regular, read_regular

SEAL = "sidecar_sha256"
HEAD = 2**13  # bytes, in which an image's text lies
NIFTI_HEADER = 352  # bytes
MARKS = (b"tfs-rt:case", b"tfs-rt recipe:")
LIMIT = 2**22  # bytes, a hundred times what a sidecar needs
ENDINGS = {"png": ".png", "dicom": ".dcm", "nifti": ".nii.gz"}  # of results, by their format
SPREAD = "spread"  # folder of the maps of uncertainty
FUSED = re.compile(r"(?P<sub>sub-[A-Za-z0-9]+)(?:_(?P<ses>ses-[A-Za-z0-9]+))?_desc-fused_T2w")  # a BIDS result's id
AUTO = "auto"  # key of a provenance: why the backend is not the first choice
DECIDES_NOTHING = (AUTO, "notice", "sandbox")  # keys of a provenance
RESEARCH_USE = "research use only; not a medical device"


def sealed(facts: Facts) -> bytes:
    """A sidecar's file."""
    return as_json(facts | {SEAL: digest(facts)})


def read_sidecar(path: Path) -> Facts:
    """The facts of a sidecar as it was written; InputError if it is none, another case's, or was changed."""
    try:
        data = read_regular(path, LIMIT)
        facts = json.loads(data)
        seal = facts.pop(SEAL)
        if data != as_json(facts | {SEAL: seal}) or seal != digest(facts):
            raise ValueError("it was changed after it was written")
        if fault := next((words for words, holds in _rules(facts) if not holds), None):
            raise ValueError(fault)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        reason = f"is no sidecar of tfs-rt, or a damaged one ({first_line(error)})"
        raise InputError(path, reason, "fuse the case again") from error
    if facts["case"] != path.stem:
        raise InputError(path, f"is the sidecar of {facts['case']}", "give files their names")
    return facts


def _rules(facts: Facts) -> list[tuple[str, bool]]:
    """What a reader relies on: (what is wrong if it is not so, whether it is so)."""
    result, inputs = facts["result"], facts["inputs"]
    seconds, warnings, findings = facts["seconds"], facts["warnings"], facts["findings"]
    return [
        ("its result is another file", result["file"] in result_names(facts["case"])),
        ("its result has no size", all(type(result[side]) is int for side in ("width", "height"))),
        ("its result has no pixels' hash", isinstance(result["pixels_sha256"], str)),
        ("its inputs have no format", all(isinstance(found["format"], str) for found in inputs.values())),
        ("its spread is in other files", _is_spread(facts)),
        ("its result has no hash", isinstance(result["sha256"], str)),
        ("its recipe has no hash", isinstance(facts["recipe_sha256"], str)),
        ("its inputs are not three", set(inputs) == set(SLOTS)),
        ("its inputs have no hash", all(isinstance(i["file"] + i["sha256"], str) for i in inputs.values())),
        ("it has no time", isinstance(seconds, int | float) and 0 <= seconds < 2**53),
        ("its findings are none", isinstance(findings, list)),
        ("its warnings are none", isinstance(warnings, list) and all(isinstance(w, str) for w in warnings)),
    ]


def place(case_id: str) -> str:
    """Where a case's files lie in an output folder, without their endings: by an id of BIDS, in its folders."""
    match = FUSED.fullmatch(case_id)
    return "/".join(filter(None, (match["sub"], match["ses"], "anat", case_id))) if match else case_id


def sidecar_name(case_id: str) -> str:
    """What a case's sidecar is called."""
    return f"{place(case_id)}.json"


def result_names(case_id: str) -> list[str]:
    """What a case's result may be called."""
    return [f"{place(case_id)}{ending}" for ending in ENDINGS.values()]


def result_folders(folder: Path) -> list[Path]:
    """Where in an output folder results may lie."""
    nested = [path for pattern in ("sub-*/anat", "sub-*/ses-*/anat") for path in folder.glob(pattern) if path.is_dir()]
    return [folder, *sorted(nested)]


def spread_names(case_id: str) -> list[str]:
    """What the maps of uncertainty of a case may be called: pictures in the result's format, and numbers."""
    return [f"{SPREAD}/{case_id}{ending}" for ending in (*ENDINGS.values(), ".tif")]


def files_of(facts: Facts) -> dict[str, str]:
    """The files that a sidecar vouches for, each with its SHA-256; the result last."""
    files = [*facts.get(SPREAD, {}).get("files", []), facts["result"]]
    return {file["file"]: file["sha256"] for file in files}


def _is_spread(facts: Facts) -> bool:
    """Whether the maps of uncertainty, if there are any, lie where they belong and have hashes."""
    files = facts.get(SPREAD, {"files": []})["files"]
    return all(file["file"] in spread_names(facts["case"]) and isinstance(file["sha256"], str) for file in files)


def is_sealed(path: Path) -> bool:
    """Whether a file looks like a sidecar of ours, damaged or not."""
    try:
        return f'"{SEAL}"'.encode() in read_regular(path, LIMIT)
    except OSError:
        return False


def is_ours(image: Path) -> bool:
    """Whether an image says that we made it: in its PNG text, in DICOM's equipment, in NIfTI's description."""
    try:
        with open_regular(image) as file:
            head = file.read(HEAD)
            if image.name.endswith(".nii.gz"):
                head = zlib.decompressobj(wbits=31).decompress(head, NIFTI_HEADER)
            return any(mark in head for mark in MARKS)
    except (OSError, zlib.error):
        return False


def recipe_of(provenance: Facts) -> Facts:
    """All of a provenance that may decide a pixel; what that was for a case is hashed with its id and its inputs."""
    versions = {name: version for name, version in provenance["versions"].items() if name != "python"}
    recipe = {key: value for key, value in provenance.items() if key not in DECIDES_NOTHING}
    return json.loads(json.dumps(recipe | {"versions": versions}))


def recipe_sha256(case_id: str, inputs: dict[str, str], recipe: Facts) -> str:
    """What decides a case's pixels, hashed: its id, the inputs' SHA-256 by slot, and the recipe."""
    return digest({"case": case_id, "inputs": inputs, **recipe})


def png_text(case_id: str, inputs: dict[str, str], provenance: Facts, recipe: str) -> dict[str, str]:
    """What an image says of itself where its sidecar is lost: no path and no time, but the case's id."""
    made_by = provenance.get("method") or provenance["model"]["name"]
    return {
        "Software": f"tfs-rt {provenance['versions']['tfs-rt']}",
        "tfs-rt:case": case_id,
        "tfs-rt:made-by": made_by.encode(errors="backslashreplace").decode(),
        "tfs-rt:recipe-sha256": recipe,
        "tfs-rt:inputs-sha256": " ".join(inputs.values()),
        "tfs-rt:seed": str(provenance["seed"]),
        "Disclaimer": f"image made by fusion; {RESEARCH_USE}",
    }
