"""A trained network, from wherever it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfs_rt.bundle import load_bundle
from tfs_rt.errors import ModelError
from tfs_rt.spec import ModelSpec
from tfs_rt_reference.checkpoint import load_checkpoint
from tfs_rt_reference.engine import load
from tfs_rt_reference.network import UNet


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network, from a checkpoint or a bundle."""

    path: Path
    sha256: str
    spec: ModelSpec
    network: UNet


def load_model(path: Path) -> Model:
    """The network of a checkpoint or a bundle."""
    if path.is_dir():
        bundle = load_bundle(path)
        engine = load(bundle)
        return Model(path, bundle.digest, engine.spec, engine.network)
    try:
        checkpoint = load_checkpoint(path)
    except ModelError as error:
        if "--config" not in error.remedy:
            raise
        remedy = "export it first (tfs-rt export --config), and give the bundle"  # which says all that is needed
        raise ModelError(error.subject, error.reason, remedy) from error
    return Model(path, checkpoint.contents.sha256, checkpoint.spec, checkpoint.network)
