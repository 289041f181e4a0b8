"""`tfs-rt inspect`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from tfs_rt.cli.lazy import workshop
from tfs_rt.errors import ModelError, printable


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
        facts = _bundle(file)
    elif not path.exists():
        raise ModelError(path, "no such file", "check the path")
    else:
        facts = workshop("tfs_rt_reference.inspection", extras="export").inspect_checkpoint(path, config)
    typer.echo(json.dumps(facts, indent=1) if as_json else "\n".join(_lines(facts)))


def _bundle(model: str) -> dict[str, Any]:
    from tfs_rt.bundle import load_bundle

    bundle = load_bundle(model)
    for precision in bundle.manifest.files:
        bundle.read(precision)  # compares its SHA-256
    return {"kind": "bundle", "path": str(bundle.path), **dataclasses.asdict(bundle.manifest)}


def _lines(facts: dict[str, Any], indent: str = "") -> list[str]:
    lines = []
    for key, value in facts.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{printable(key)}:", *_lines(value, indent + "  ")]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else value
            lines.append(indent + printable(f"{key}: {'none' if text in ('', {}) else text}", 1000))
    return lines
