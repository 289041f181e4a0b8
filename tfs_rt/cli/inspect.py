"""`tfs-rt inspect`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tfs_rt.cli.extras import workshop
from tfs_rt.errors import ModelError, printable

if TYPE_CHECKING:
    from tfs_rt.models.bundle import Bundle
    from tfs_rt.spec import Tier


def inspect(
    file: Annotated[
        str, typer.Argument(help="A checkpoint (.pth, .safetensors), a bundle's folder, or a shipped name.")
    ],
    *,
    config: Annotated[Path | None, typer.Option(help="The published program's option file, to compare with.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print what a checkpoint or a bundle holds; no code from it is run."""
    path = Path(file)
    if path.is_dir() or file.startswith("tfs-rt/"):
        bundle = _bundle(file)
        facts = {"kind": "bundle", "path": str(bundle.path), **dataclasses.asdict(bundle.manifest)}
        if not as_json:
            facts["tiers"] = {quality: tier_line(tier) for quality, tier in bundle.manifest.tiers.items()}
    elif not path.exists():
        raise ModelError(path, "no such file", "check the path")
    else:
        facts = workshop("tfs_rt_reference.checkpoints.inspect", extras="export").inspect_checkpoint(path, config)
    typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_lines(facts)))


def tier_line(tier: Tier) -> str:
    """A tier in a few words: its recipe, its cost and its quality."""
    own, samples = tier.recipe, f", mean of {tier.samples} samples" if tier.samples > 1 else ""
    steps = f"{own.sampler}, {own.steps} step{'s' if own.steps > 1 else ''}, from sigma {own.sigma_max:.3g}{samples}"
    accuracy = [f"{split} {a.psnr:.2f} dB, SSIM {a.ssim:.3f}" for split, a in tier.accuracy.items()]
    return "; ".join([steps, f"{tier.seconds:.2g} s at {tier.size[1]}x{tier.size[0]}", *accuracy])


def _bundle(model: str) -> Bundle:
    """A bundle whose files are as they were exported."""
    from tfs_rt.models.bundle import load_bundle

    bundle = load_bundle(model)
    for precision in bundle.manifest.files:
        bundle.read(precision)  # compares its SHA-256
    return bundle


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{printable(key)}:", *_lines(value, indent + "  ")]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            lines.append(indent + printable(f"{key}: {'none' if text in ('', {}) else text}", 1000))
    return lines
