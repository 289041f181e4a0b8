"""The samplers. The choices of `--sampler` and the docs' table are made from this registry.

Add a sampler: write its function in `tfs_rt.sampling.tables`, and its entry here.
Reading it imports no array library, so that `tfs-rt --help` stays fast.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampler:
    """A sampler's entry: all that the rest of the program knows about it."""

    function: str  # in `tfs_rt.sampling.tables`: of (alpha_bar), or of (alpha_bar, eta) if it takes eta
    description: str
    takes_eta: bool = False


SAMPLERS = {
    "ddim": Sampler("ddim", "DDIM, deterministic with eta = 0, ancestral with eta = 1", takes_eta=True),
    "ddpm": Sampler("ddpm", "the ancestral chain that the model was trained with"),
    "dpmpp-2m": Sampler("dpmpp_2m", "DPM-Solver++(2M), deterministic, of second order"),
}
