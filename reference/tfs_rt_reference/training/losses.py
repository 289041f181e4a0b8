"""Structural similarity, for the loss L_PSF = lambda_1 MSE + lambda_2 (1 - SSIM) (paper, section 2.3, eqs. 2 to 4).

The paper's eq. 4 writes SSIM itself as the loss to be added; minimising that would drive the structures apart, so what
is meant, and what is implemented, is 1 - SSIM.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

# Wang et al. 2004, for a data range of 2.
C1 = (0.01 * 2) ** 2
C2 = (0.03 * 2) ** 2
SIDE = 11  # pixels, of the window
SIGMA = 1.5  # pixels


def gaussian_window() -> Tensor:
    """A normalised (1, 1, SIDE, SIDE) Gaussian."""
    x = torch.arange(SIDE, dtype=torch.float32) - (SIDE - 1) / 2
    g = torch.exp(-x.square() / (2 * SIGMA**2))
    g = g / g.sum()
    return torch.outer(g, g)[None, None]


def ssim(p: Tensor, t: Tensor) -> Tensor:
    """Mean structural similarity of two (B, C, H, W) batches in [-1, 1]: Gaussian 11x11 window, valid region."""
    channels = p.shape[1]
    window = gaussian_window().to(p).expand(channels, 1, -1, -1)
    mu_p, mu_t, pp, tt, pt = (F.conv2d(a, window, groups=channels) for a in (p, t, p * p, t * t, p * t))
    var_p = pp - mu_p**2
    var_t = tt - mu_t**2
    cov = pt - mu_p * mu_t
    luminance = (2 * mu_p * mu_t + C1) / (mu_p**2 + mu_t**2 + C1)
    return (luminance * (2 * cov + C2) / (var_p + var_t + C2)).mean()
