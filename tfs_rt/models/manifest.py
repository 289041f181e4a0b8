"""The manifest of a model bundle: `model.json`, its fields, its decoding and its digest.

The manifest carries a digest of its own content, so that an edited one is refused.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfs_rt.assets import MANIFEST
from tfs_rt.errors import ModelError
from tfs_rt.facts import from_dict
from tfs_rt.models.kinds import KINDS
from tfs_rt.models.self_test import MEANS
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.spec import QUALITIES, SLOTS, BundleKind, ModelSpec, Recipe, Tier
from tfs_rt.system.files import write_file

SCHEMA = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A file of a bundle."""

    path: str  # a bare name inside the bundle's folder
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-][\w.-]*", self.path):
            raise ValueError(f"files: {self.path!r} is not a bare file name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The content of `model.json`."""

    schema: int
    kind: BundleKind = "diffusion"  # manifests without it are older than the other kinds
    name: str
    slots: tuple[str, ...]
    model: ModelSpec
    recipe: Recipe  # the default
    files: dict[str, BundleFile]  # by precision
    source: dict[str, str]  # the checkpoint's file name and SHA-256
    exporter: dict[str, str]  # versions
    fidelity: dict[str, Any]  # certificate: the figures of the export's gate
    quality: dict[str, Any]  # accuracy measured against ground truth; empty until it is
    licence: str
    intended_use: str
    self_test: tuple[float, ...] = ()  # block means of the self-test's result, row by row; empty: no self-test
    # Modules whose noise biases, in this order, are the half graph's input `bias`.
    biases: tuple[str, ...] = ()
    tiers: dict[str, Tier] = field(default_factory=dict)  # by quality; empty until the model is tuned

    def __post_init__(self) -> None:
        if self.model.architecture.condition_channels == 9 and self.slots != SLOTS:
            raise ValueError(f"slots are {self.slots}, expected {SLOTS}")
        if self.tiers and tuple(self.tiers) != QUALITIES:
            raise ValueError(f"tiers are {tuple(self.tiers)}, expected {QUALITIES}")
        recipes = [self.recipe, *(tier.recipe for tier in self.tiers.values())]
        for recipe in recipes:
            if recipe.sampler not in SAMPLERS:
                raise ValueError(f"sampler is {recipe.sampler!r}, expected one of {', '.join(SAMPLERS)}")
        if self.self_test and len(self.self_test) != MEANS:
            raise ValueError(f"self_test has {len(self.self_test)} numbers, expected {MEANS}")
        if not all(0 <= mean <= 255 for mean in self.self_test):  # false for NaN, too
            raise ValueError("self_test has a number that is not within 0 and 255")


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `model.json`, with the digest of its content."""
    data = dataclasses.asdict(manifest)
    # Without its default kind, an unchanged manifest keeps its digest, and earlier versions can read it.
    if manifest.kind == "diffusion":
        del data["kind"]
    text = json.dumps({**data, "digest": _digest(data)}, indent=1)
    write_file(folder / MANIFEST, f"{text}\n".encode())


def decode_manifest(file: Path, data: Any) -> tuple[Manifest, str]:
    """The manifest in parsed JSON, and its digest; ModelError if it is invalid or was edited."""
    digest = str(data.pop("digest", None)) if isinstance(data, dict) else ""
    if isinstance(data, dict):
        _check_schema_and_kind(file, data)
    try:
        manifest = from_dict(Manifest, data, MANIFEST)
    except ValueError as error:
        raise ModelError(file, str(error), "export the bundle anew") from error
    if digest != _digest(data):
        raise ModelError(file, "was edited after its export", "restore the file or export anew")
    return manifest, digest


def _check_schema_and_kind(file: Path, data: dict[str, Any]) -> None:
    """ModelError for a manifest of another version or of a kind that this version cannot run."""
    schema = data.get("schema")
    if schema != SCHEMA:
        reason = f"has schema {schema!r}, this version reads {SCHEMA}"
        raise ModelError(file, reason, "match tfs-rt to the bundle, or export anew")
    kind = data.get("kind", "diffusion")
    if kind not in tuple(KINDS):  # it may be of any JSON type
        reason = f"is a bundle of kind {kind!r}, and this version runs: {', '.join(KINDS)}"
        raise ModelError(file, reason, "choose a bundle of such a kind, or a tfs-rt that runs this one")


def _digest(data: dict[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()
