"""The default sampling recipe of a network."""

from __future__ import annotations

from tfs_rt.spec import ModelSpec, Recipe


def default_recipe(spec: ModelSpec, *, sampler: str = "ddim", steps: int | None = None) -> Recipe:
    """Few steps in log-SNR from a truncated start, within the noise levels of the training.

    An eps network's error is multiplied by sigma on its way to x_0: it starts lower than one that predicts x_0 or v.
    """
    sigma_max, sigma_min, few = (20.0, 0.02, 8) if spec.prediction == "eps" else (80.0, 0.05, 4)
    lowest, highest = spec.sigma_range
    start = min(sigma_max, highest) if lowest < sigma_max else highest
    return Recipe(
        sampler=sampler,
        steps=steps or few,
        eta=0.0,
        spacing="log-snr",
        sigma_max=start,
        sigma_min=max(sigma_min, lowest) if sigma_min < start else lowest,
    )
