"""A checkpoint's contents as a JSON object, for `tfs-rt inspect`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from tfs_rt.errors import ModelError
from tfs_rt_reference.checkpoints.contents import Contents, read_contents
from tfs_rt_reference.checkpoints.load import EXACT, schedules
from tfs_rt_reference.checkpoints.option_file import PublishedConfig


def inspect_checkpoint(path: Path, config: Path | None) -> dict[str, Any]:
    """Read from the tensors; where `config` is given, also how it differs."""
    # Read the architecture.
    contents = read_contents(path)
    architecture: dict[str, Any] = dataclasses.asdict(contents.architecture)
    if not contents.declared:
        architecture["sigma_data"] = "not in the tensors (0 but for networks of our own)"
        architecture["norm_groups"] = "not in the tensors (published: 32, or 16 in some SR3 models)"
    # Describe the tensors.
    facts: dict[str, Any] = {
        "kind": "checkpoint",
        "path": str(path),
        "sha256": contents.sha256,
        "family": _family(contents),
        "parameters": contents.parameters,
        "weights": "averaged (EMA)" if contents.ema else "as trained",
        "architecture": architecture,
        "schedule_buffers": _schedule(contents),
    }
    # Add what the checkpoint declares, and how the configuration differs.
    if contents.declared:
        declared = dataclasses.asdict(contents.declared)
        facts["declared"] = {
            key: declared[key] for key in ("prediction", "scale", "trained_size", "sigma_range", "schedule")
        }
    if config:
        facts["configuration"] = _compare_config(contents, PublishedConfig.read(config))
    return facts


def _compare_config(contents: Contents, config: PublishedConfig) -> list[str] | str:
    differences = config.differences(contents.architecture)
    try:
        schedules(contents, config)
    except ModelError as error:
        differences.append(error.reason)
    return differences or "agrees"


def _family(contents: Contents) -> str:
    gates = {
        "none": "SR3 (no gate)",
        "all": "TFS-Diff as published (gate on condition and x_t)",
        "condition": "TFS-Diff as in the paper (gate on the condition)",
    }
    return gates[contents.architecture.gate]


def _schedule(contents: Contents) -> str:
    betas = contents.buffers.get("betas")
    if betas is None:
        return "none"
    coarse = "" if contents.stored["betas"] in EXACT else f", stored in {contents.stored['betas']}"
    return f"{len(betas)} steps, beta from {float(betas[0]):.3g} to {float(betas[-1]):.3g}{coarse}"
