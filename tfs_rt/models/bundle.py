"""A model bundle: a folder with `model.json` and the files that it names, each held to its SHA-256.

Nothing in a bundle is code. The manifest carries a digest of itself, so that an edit of either is refused, not sampled.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tfs_rt.assets import shipped_bundles
from tfs_rt.errors import ModelError, UsageError, first_line, printable
from tfs_rt.models import self_test as selftest
from tfs_rt.models.onnx.allowed import check_graph
from tfs_rt.models.onnx.external_data import has_external_data
from tfs_rt.models.onnx.unet import check_half_network, check_network
from tfs_rt.models.onnx.weights import Weights, is_shared, weights, with_weights
from tfs_rt.sampling.registry import SAMPLERS
from tfs_rt.spec import QUALITIES, SLOTS, ModelSpec, Recipe, Tier, from_dict
from tfs_rt.system.files import read_regular, write_file

MANIFEST = "model.json"
SCHEMA = 1
MANIFEST_BYTES, NETWORK_BYTES = 2**22, 2**31  # the most that is read; ONNX's own limit is the second


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleFile:
    """A file of a bundle."""

    path: str  # a bare name inside the bundle's folder
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w-][\w.-]*", self.path):
            raise ValueError(f"files: {self.path!r} is no bare file name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """`model.json`, read whole or refused."""

    schema: int
    name: str
    slots: tuple[str, ...]
    model: ModelSpec
    recipe: Recipe  # the default
    files: dict[str, BundleFile]  # by precision
    source: dict[str, str]  # the checkpoint's file name and SHA-256
    exporter: dict[str, str]  # versions
    fidelity: dict[str, Any]  # the certificate of the export's gate
    quality: dict[str, Any]  # accuracy measured against ground truth; empty until it is
    licence: str
    intended_use: str
    self_test: tuple[float, ...] = ()  # block means of the case of `self_test`, row by row; none: it is not tested
    biases: tuple[str, ...] = ()  # the modules whose noise biases, in this order, are the half graph's input `bias`
    tiers: dict[str, Tier] = field(default_factory=dict)  # by quality; empty until the model is tuned

    def __post_init__(self) -> None:
        if self.model.architecture.condition_channels == 9 and self.slots != SLOTS:
            raise ValueError(f"slots are {self.slots}, expected {SLOTS}")
        for recipe in (self.recipe, *(tier.recipe for tier in self.tiers.values())):
            if recipe.sampler not in SAMPLERS:
                raise ValueError(f"sampler is {recipe.sampler!r}, expected one of {', '.join(SAMPLERS)}")
        if self.tiers and tuple(self.tiers) != QUALITIES:
            raise ValueError(f"tiers are {tuple(self.tiers)}, expected {QUALITIES}")
        if self.self_test and len(self.self_test) != selftest.MEANS:
            raise ValueError(f"self_test has {len(self.self_test)} numbers, expected {selftest.MEANS}")
        if not all(0 <= mean <= 255 for mean in self.self_test):  # NaN is not
            raise ValueError("self_test has a number that is not within 0 and 255")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose manifest has been checked; its files are checked as they are read."""

    path: Path
    manifest: Manifest
    digest: str  # the manifest's own

    def tier(self, quality: str) -> Tier:
        """What `tfs-rt tune` chose for a quality; UsageError if this bundle was never tuned."""
        if quality not in self.manifest.tiers:
            remedy = f"make them: tfs-rt tune {printable(str(self.path))} --data SET -o REPORT --write"
            raise UsageError("--quality", f"{self.path} has no tiers", remedy)
        return self.manifest.tiers[quality]

    def half_graph(self) -> bytes:
        """What FP16 engines are built from: x, bias -> prediction, with the float32 file's convolutions."""
        graph, own = self.read("fp16"), self.weights()
        with np.errstate(over="ignore"):  # infinite, as the export's gate found it
            shared = {name: weight.astype(np.float16) for name, weight in own.items() if is_shared(weight)}
        whole = with_weights(graph, shared)
        with self._as_described("fp16"):
            check_half_network(whole, self.manifest.model.architecture, own, self.manifest.biases)
        return whole

    def weights(self) -> Weights:
        """The float32 network's weights, by their tensors' names."""
        return weights(self.read("fp32"))

    def read(self, precision: str) -> bytes:
        """One network's ONNX bytes, held to their SHA-256, with no reference to other files and no foreign operation.

        The float32 one is also the network that the manifest describes; what the half graph is, `half_graph` checks.
        A link is followed, for model stores are made of them: what it leads to is held to the same SHA-256.
        """
        entry = self.manifest.files.get(precision)
        if entry is None:
            have = ", ".join(self.manifest.files)
            raise ModelError(self.path, f"no {precision} network, only {have}", "export the bundle anew")
        file = self.path / entry.path
        try:
            data = read_regular(file, NETWORK_BYTES)
        except OSError as error:
            raise ModelError(file, f"cannot be read ({error.strerror})", "export the bundle anew") from error
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise ModelError(file, "does not match its SHA-256 in model.json", "restore the file or export anew")
        _check_onnx(file, data)
        if precision == "fp32":
            with self._as_described(precision):
                check_network(data, self.manifest.model.architecture)
        return data

    @contextmanager
    def _as_described(self, precision: str) -> Iterator[None]:
        """ValueError as ModelError: the file is not the manifest's network."""
        try:
            yield
        except ValueError as error:
            file = self.path / self.manifest.files[precision].path
            reason = f"is not the network that {MANIFEST} describes ({first_line(error)})"
            raise ModelError(file, reason, "export the bundle anew") from error


def _check_onnx(file: Path, data: bytes) -> None:
    """ModelError unless the file is ONNX that stands alone and consists of the export's operations."""
    try:
        external = has_external_data(data)
    except ValueError as error:
        raise ModelError(file, f"is no ONNX file ({error})", "export the bundle anew") from error
    if external:
        raise ModelError(file, "keeps weights in another file", "export the bundle anew: one file holds all")
    try:
        check_graph(data)
    except ValueError as error:
        raise ModelError(file, f"is not an export of this network: {error}", "export the bundle anew") from error


def load_bundle(model: str | Path) -> Bundle:
    """The bundle at a path, or a shipped one by name (`tfs-rt/x4`); ModelError if there is none or it was altered."""
    path = _resolve(model)
    file = path / MANIFEST
    try:
        if path.is_file():
            raise ModelError(path, "is a file, not a bundle's folder", "export it first: tfs-rt export")
        data = json.loads(read_regular(file, MANIFEST_BYTES).decode(), object_pairs_hook=unique)
    except OSError as error:
        reason = f"no bundle there ({error.strerror})"
        raise ModelError(file, reason, f"give a bundle's folder or one of {_shipped_names()}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(file, f"is no manifest ({first_line(error)})", "export the bundle anew") from error
    return _parse(file, data)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `model.json`, with the digest of its content."""
    data = dataclasses.asdict(manifest)
    text = json.dumps({**data, "digest": _digest(data)}, indent=1)
    write_file(folder / MANIFEST, f"{text}\n".encode())


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, in which a key that stands twice is an error: readers differ in which one they take."""
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _parse(file: Path, data: Any) -> Bundle:
    digest = str(data.pop("digest", None)) if isinstance(data, dict) else ""
    if isinstance(data, dict) and data.get("schema") != SCHEMA:
        found = data.get("schema")
        raise ModelError(
            file, f"has schema {found!r}, this version reads {SCHEMA}", "match tfs-rt to the bundle, or export anew"
        )
    try:
        manifest = from_dict(Manifest, data, "model.json")
    except ValueError as error:
        raise ModelError(file, str(error), "export the bundle anew") from error
    if digest != _digest(data):
        raise ModelError(file, "was edited after its export", "restore the file or export anew")
    return Bundle(file.parent, manifest, digest)


def _digest(data: dict[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _resolve(model: str | Path) -> Path:
    text = str(model)
    if not text.startswith("tfs-rt/"):
        return Path(model)
    name = text.removeprefix("tfs-rt/")
    shipped = shipped_bundles()
    if name not in shipped:
        raise ModelError(text, "no such model ships", f"choose from {_shipped_names()}, or give a bundle's folder")
    return shipped[name]


def _shipped_names() -> str:
    return ", ".join(f"tfs-rt/{name}" for name in sorted(shipped_bundles()))
