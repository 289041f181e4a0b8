"""`tfs-rt inspect`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfs_rt.cli.extras import import_extra
from tfs_rt.cli.help import INPUT, examples
from tfs_rt.cli.options import AsJson
from tfs_rt.errors import ModelError, printable

if TYPE_CHECKING:
    from tfs_rt.models.bundle import Bundle
    from tfs_rt.spec import Tier

EXAMPLES = examples(
    ("A shipped model", "tfs-rt inspect tfs-rt/x4"),
    ("A published checkpoint, beside its option file", "tfs-rt inspect I800000_gen.pth --config config.json"),
)

ModelFile = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A checkpoint (.pth, .safetensors), a bundle's folder, or a shipped model such as tfs-rt/x4.",
        show_default=False,
    ),
]
OptionFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="The published program's option file (JSON), to compare with the checkpoint.",
        rich_help_panel=INPUT,
    ),
]


def inspect(file: ModelFile, *, config: OptionFile = None, as_json: AsJson = False) -> None:
    """Print what a checkpoint or a bundle contains. No code in it is run.

    Exit codes: 0 done, 5 model refused, 6 environment.
    """
    path = Path(file)
    if path.is_dir() or file.startswith("tfs-rt/"):
        bundle = _read_bundle(file)
        facts = {"kind": "bundle", "path": str(bundle.path), **dataclasses.asdict(bundle.manifest)}
        facts |= {"kind": "bundle", "bundle_kind": bundle.manifest.kind}
        if not as_json:
            facts["tiers"] = {quality: tier_line(tier) for quality, tier in bundle.manifest.tiers.items()}
    elif not path.exists():
        raise ModelError(path, "no such file", "check the path")
    else:
        inspection = import_extra("tfs_rt_reference.checkpoints.inspect", extras="export")
        facts = inspection.inspect_checkpoint(path, config)
    typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_lines(facts)))


def tier_line(tier: Tier) -> str:
    """A tier in one line: its recipe, time and accuracy."""
    recipe = tier.recipe
    plural = "s" if recipe.steps > 1 else ""
    samples = f", mean of {tier.samples} samples" if tier.samples > 1 else ""
    sampling = f"{recipe.sampler}, {recipe.steps} step{plural}, from sigma {recipe.sigma_max:.3g}{samples}"
    time = f"{tier.seconds:.2g} s at {tier.size[1]}x{tier.size[0]}"
    accuracy = [f"{split} {found.psnr:.2f} dB, SSIM {found.ssim:.3f}" for split, found in tier.accuracy.items()]
    return "; ".join([sampling, time, *accuracy])


def _read_bundle(model: str) -> Bundle:
    """Load a bundle, and check all its files against their hashes."""
    from tfs_rt.models.bundle import load_bundle

    bundle = load_bundle(model)
    for precision in bundle.manifest.files:
        bundle.read(precision)
    return bundle


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    """Nested facts as indented lines of text."""
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            lines.append(f"{indent}{printable(key)}:")
            lines += _lines(value, indent + "  ")
            continue
        text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
        shown = "none" if text in ("", {}) else text
        lines.append(indent + printable(f"{key}: {shown}", 1000))
    return lines
