"""A trained network, from a checkpoint, a bundle or a shipped model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tfs_rt.errors import ModelError
from tfs_rt.models.bundle import load_bundle
from tfs_rt.spec import ModelSpec, Recipe
from tfs_rt_reference.checkpoints.load import load_checkpoint
from tfs_rt_reference.engine import load
from tfs_rt_reference.network import UNet


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network, from a checkpoint or a bundle."""

    path: Path
    sha256: str
    spec: ModelSpec
    network: UNet
    recipe: Recipe | None  # a bundle's


def load_model(path: Path) -> Model:
    """The network of a checkpoint, of a bundle or of a shipped model (by its name)."""
    if path.is_dir() or not path.suffix:
        bundle = load_bundle(path if path.is_dir() else str(path))
        engine = load(bundle)
        return Model(bundle.path, bundle.digest, engine.spec, engine.network, bundle.manifest.recipe)
    try:
        checkpoint = load_checkpoint(path)
    except ModelError as error:
        if "--config" not in error.remedy:
            raise
        # A bundle states everything that is needed.
        remedy = "export it first (tfs-rt export --config), and give the bundle"
        raise ModelError(error.subject, error.reason, remedy) from error
    return Model(path, checkpoint.contents.sha256, checkpoint.spec, checkpoint.network, None)
