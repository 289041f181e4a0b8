import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from tfs_rt_reference.losses import psf_loss, ssim


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


def test_the_loss_is_zero_at_the_truth_and_weighs_its_parts() -> None:
    t = torch.rand(1, 3, 16, 16) * 2 - 1
    p = (t + 0.1).clamp(-1, 1)
    assert float(psf_loss(t, t, lambda_1=1, lambda_2=1)) == pytest.approx(0, abs=1e-5)
    mse, structure = (float(psf_loss(p, t, lambda_1=a, lambda_2=b)) for a, b in ((1, 0), (0, 1)))
    assert mse == pytest.approx(float(((p - t) ** 2).mean()))
    assert float(psf_loss(p, t, lambda_1=0.5, lambda_2=0.25)) == pytest.approx(0.5 * mse + 0.25 * structure)
