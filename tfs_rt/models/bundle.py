"""A model bundle: a folder with `model.json` and the files that it names.

Each file is checked against its SHA-256 in the manifest whenever it is read. Nothing in a bundle is code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfs_rt.assets import MANIFEST, shipped_bundles
from tfs_rt.errors import ModelError, UsageError, first_line, printable
from tfs_rt.facts import unique_keys
from tfs_rt.models.kinds import KINDS, GraphChecks
from tfs_rt.models.manifest import Manifest, decode_manifest
from tfs_rt.models.onnx.allowed import check_graph
from tfs_rt.models.onnx.external_data import has_external_data
from tfs_rt.models.onnx.weights import Weights, is_shared, weights, with_weights
from tfs_rt.spec import Tier
from tfs_rt.system.files import read_regular

MANIFEST_BYTES = 2**22  # size limit of a manifest
NETWORK_BYTES = 2**31  # size limit of a network: ONNX's own


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle with a checked manifest. Its files are checked when they are read."""

    path: Path
    manifest: Manifest
    digest: str  # the manifest's own

    @property
    def _checks(self) -> GraphChecks:
        """The checks of the graphs of a bundle of this kind."""
        return KINDS[self.manifest.kind]

    def tier(self, quality: str) -> Tier:
        """The recipe that `tfs-rt tune` chose for a quality; UsageError if this bundle was never tuned."""
        if quality not in self.manifest.tiers:
            remedy = f"make them: tfs-rt tune {printable(str(self.path))} --data SET -o REPORT --write"
            raise UsageError("--quality", f"{self.path} has no tiers", remedy)
        return self.manifest.tiers[quality]

    def half_graph(self) -> bytes:
        """The graph that FP16 engines are built from: x, bias -> prediction.

        Its convolutions' weights are not in the FP16 file: they are taken from the float32 one, and rounded.
        """
        graph = self.read("fp16")
        float32_weights = self.weights()

        # Large weights become infinite in half, as in the export's gate.
        with np.errstate(over="ignore"):
            shared = {name: w.astype(np.float16) for name, w in float32_weights.items() if is_shared(w)}
        complete = with_weights(graph, shared)

        with self._matches_manifest("fp16"):
            self._checks.check_half(complete, self.manifest.model.architecture, float32_weights, self.manifest.biases)
        return complete

    def weights(self) -> Weights:
        """The float32 network's weights, by their tensors' names."""
        return weights(self.read("fp32"))

    def read(self, precision: str) -> bytes:
        """A network's ONNX bytes, after all checks: SHA-256, no external data, only allowed operations.

        The float32 graph is also compared with the manifest's architecture; `half_graph` does this for the FP16 one.
        Symbolic links are followed, because model stores consist of them; their target has to have the same SHA-256.
        """
        # Read the file that the manifest lists.
        entry = self.manifest.files.get(precision)
        if entry is None:
            available = ", ".join(self.manifest.files)
            raise ModelError(self.path, f"no {precision} network, only {available}", "export the bundle anew")
        file = self.path / entry.path
        try:
            data = read_regular(file, NETWORK_BYTES)
        except OSError as error:
            raise ModelError(file, f"cannot be read ({error.strerror})", "export the bundle anew") from error
        # Check its digest and its operations.
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise ModelError(file, "does not match its SHA-256 in model.json", "restore the file or export anew")
        _check_onnx(file, data, self._checks)
        # Compare the float32 graph with the manifest's architecture.
        if precision == "fp32":
            with self._matches_manifest(precision):
                self._checks.check(data, self.manifest.model.architecture)
        return data

    @contextmanager
    def _matches_manifest(self, precision: str) -> Generator[None]:
        """Turn a ValueError into a ModelError: the file is not the manifest's network."""
        try:
            yield
        except ValueError as error:
            file = self.path / self.manifest.files[precision].path
            reason = f"is not the network that {MANIFEST} describes ({first_line(error)})"
            raise ModelError(file, reason, "export the bundle anew") from error


def _check_onnx(file: Path, data: bytes, checks: GraphChecks) -> None:
    """ModelError unless the file is ONNX, without external data, and has only operations that this kind may have."""
    try:
        external = has_external_data(data)
    except ValueError as error:
        raise ModelError(file, f"is not a valid ONNX file ({error})", "export the bundle anew") from error
    if external:
        raise ModelError(file, "keeps weights in another file", "export the bundle anew: one file holds all")
    try:
        check_graph(data, checks.operations)
    except ValueError as error:
        raise ModelError(file, f"is not an export of this network: {error}", "export the bundle anew") from error


def load_bundle(model: str | Path) -> Bundle:
    """The bundle at a path, or a shipped one by name (`tfs-rt/x4`); ModelError if it is missing or was altered."""
    path = _resolve(model)
    file = path / MANIFEST
    try:
        if path.is_file():
            raise ModelError(path, "is a file, not a bundle's folder", "export it first: tfs-rt export")
        data = json.loads(read_regular(file, MANIFEST_BYTES).decode(), object_pairs_hook=unique_keys)
    except OSError as error:
        reason = f"no bundle there ({error.strerror})"
        raise ModelError(file, reason, f"give a bundle's folder or one of {_shipped_names()}") from error
    except (ValueError, RecursionError) as error:
        raise ModelError(file, f"is not a valid manifest ({first_line(error)})", "export the bundle anew") from error
    manifest, digest = decode_manifest(file, data)
    return Bundle(path, manifest, digest)


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
