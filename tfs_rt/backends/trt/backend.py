"""`tensorrt` and `tensorrt-rtx`: an FP16 engine, and the whole reverse diffusion around it in CUDA graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

from tfs_rt.backends.cache import open_cache
from tfs_rt.backends.gpu.compiler import KERNELS, kernel_code
from tfs_rt.backends.gpu.cuda_device import CudaDevice
from tfs_rt.backends.gpu.loop import GraphLoop, Network
from tfs_rt.backends.noise_biases import bias_rows
from tfs_rt.backends.trt.engine_store import describe_gpu, find_engine, largest_batch
from tfs_rt.backends.trt.flavour import Flavour, load_flavour
from tfs_rt.backends.trt.network import EngineNetwork
from tfs_rt.errors import ModelError, first_line
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle
from tfs_rt.sampling.schedule import Float64


def load(bundle: Bundle, flavour: Flavour) -> GraphLoop:
    """The loop of a bundle on the first visible GPU; EnvironmentFault if it cannot run there."""
    # Load TensorRT, and find the GPU.
    trt = load_flavour(flavour)
    device = CudaDevice()
    cache = open_cache()
    gpu = describe_gpu(device)
    # Look for engines now, so that a missing one is reported before any work.
    most = largest_batch(bundle, flavour, gpu, cache)
    # Load the kernels.
    device.load(kernel_code(gpu.capability, cache), KERNELS)

    # Load engines when a size first needs them. Keep only the latest, for all sizes that it takes.
    loaded: dict[str, EngineNetwork] = {}

    def network(batch: int, size: tuple[int, int]) -> Network:
        entry = find_engine(bundle, flavour, gpu, cache, batch, size)
        if entry.key not in loaded:
            loaded.clear()
            loaded[entry.key] = EngineNetwork(trt, entry, device, cache)
        return loaded[entry.key]

    return GraphLoop(device, bundle.manifest.model, network, _bias_rows(bundle), largest_batch=most)


def _bias_rows(bundle: Bundle) -> Callable[[Float64], Array]:
    """The function from noise levels to rows of biases; ModelError if the bundle lacks their weights."""
    manifest = bundle.manifest
    rows = partial(bias_rows, manifest.model.architecture, bundle.weights(), manifest.biases)
    try:
        rows(np.ones(1))
    except (KeyError, ValueError) as error:
        reason = f"does not name the noise biases of its half-precision graph ({first_line(error)})"
        raise ModelError(bundle.path, reason, "export the bundle again") from error
    return rows


load_tensorrt = partial(load, flavour="tensorrt")
load_tensorrt_rtx = partial(load, flavour="tensorrt-rtx")
