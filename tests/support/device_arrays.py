"""Arrays to and from a device."""

from __future__ import annotations

import numpy as np

from tfs_rt.backends.gpu.device import Buffer, Device


def upload_array(device: Device, values: np.ndarray) -> Buffer:
    buffer = device.empty(values.nbytes)
    device.upload(buffer, values)
    return buffer


def download_array(device: Device, buffer: Buffer, like: np.ndarray) -> np.ndarray:
    target = device.pinned(like.shape, like.dtype)
    device.download(target, buffer)
    device.synchronize()
    return target
