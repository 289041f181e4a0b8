"""The provenance of results: what made them, beside their inputs; and the part of it that can change pixels."""

from __future__ import annotations

import json
from dataclasses import dataclass

from tfs_rt.facts import Facts, digest

RESEARCH_USE = "research use only; not a medical device"
AUTO = "auto"  # key: why the backend is not the first choice
NO_EFFECT_ON_PIXELS = (AUTO, "notice", "sandbox")  # keys
PYTHON = "python"  # key of the versions, without effect on pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The model or method, settings and versions of a run; sidecars and the report hold these entries."""

    method: Facts  # the method's own entries, such as model, recipe and backend
    scale: int  # how many times larger a result is than its inputs
    target_size: tuple[int, int] | None  # (H, W) in pixels, where one was given instead of the scale
    seed: int | None  # None for a method that draws no noise
    samples: int  # drawn for each case: the result is their mean
    reading: Facts  # windows by slot, and the colour map
    versions: dict[str, str]  # of tfs-rt, Python and the packages that compute
    multi_frame: bool = False  # a DICOM volume is written as one file
    notice: str = RESEARCH_USE
    # The sandbox's parts that were in force; None before the run has begun.
    sandbox: Facts | None = None

    def as_facts(self) -> Facts:
        """The entries, in the order in which they are written."""
        facts: Facts = {
            **self.method,
            "scale": self.scale,
            "target_size": self.target_size,
            "seed": self.seed,
            "samples": self.samples,
            "reading": self.reading,
            "versions": self.versions,
            "notice": self.notice,
        }
        if self.multi_frame:
            facts["multi_frame"] = True
        if self.sandbox is not None:
            facts["sandbox"] = self.sandbox
        return facts


def pixel_settings(provenance: Facts) -> Facts:
    """The part of a provenance that can change pixels, as JSON gives it back."""
    settings = {key: value for key, value in provenance.items() if key not in NO_EFFECT_ON_PIXELS}
    settings["versions"] = {name: version for name, version in provenance["versions"].items() if name != PYTHON}
    return json.loads(json.dumps(settings))


def recipe_hash(case_id: str, inputs: dict[str, str], settings: Facts) -> str:
    """SHA-256 of everything that can change a case's pixels: its id, its inputs' SHA-256 by slot, and the settings."""
    return digest({"case": case_id, "inputs": inputs, **settings})
