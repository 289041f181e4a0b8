import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from tfs_rt_reference.training.losses import ssim


def test_ssim_is_that_of_scikit_image(rng: np.random.Generator) -> None:
    t = rng.uniform(-1, 1, (2, 3, 32, 40)).astype(np.float32)
    p = np.clip(t + 0.3 * rng.standard_normal(t.shape), -1, 1).astype(np.float32)
    window = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    maps = [
        structural_similarity(a, b, channel_axis=0, data_range=2, full=True, **window)[1]
        for a, b in zip(p, t, strict=True)
    ]
    expected = [full[:, 5:-5, 5:-5] for full in maps]  # the window's valid region
    assert float(ssim(torch.from_numpy(p), torch.from_numpy(t))) == pytest.approx(np.mean(expected), abs=1e-4)
