"""`tensorrt` and `tensorrt-rtx`: an FP16 engine, and the whole reverse diffusion around it in CUDA graphs."""

from __future__ import annotations

from functools import partial

from tfs_rt.bundle import Bundle
from tfs_rt.cache import open_cache
from tfs_rt.gpu.compiler import KERNELS, kernel_code
from tfs_rt.gpu.cuda_device import CudaDevice
from tfs_rt.gpu.loop import GraphLoop, Network
from tfs_rt.noise_bias import bias_rows
from tfs_rt.plans.engines import check_engines, find_engine, gpu_of
from tfs_rt.plans.flavour import Flavour, load_flavour
from tfs_rt.plans.network import PlanNetwork


def load(bundle: Bundle, flavour: Flavour) -> GraphLoop:
    """The loop of a bundle on the first visible GPU; EnvironmentFault if it cannot run there."""
    trt, device, cache = load_flavour(flavour), CudaDevice(), open_cache()
    gpu, manifest = gpu_of(device), bundle.manifest
    check_engines(bundle, flavour, gpu, cache)  # found out now, not at the first case
    device.load(kernel_code(gpu.capability, cache), KERNELS)

    loaded: dict[str, PlanNetwork] = {}  # the engine that came last, for all sizes that it takes

    def network(batch: int, size: tuple[int, int]) -> Network:
        entry = find_engine(bundle, flavour, gpu, cache, batch, size)
        if entry.key not in loaded:
            loaded.clear()
            loaded[entry.key] = PlanNetwork(trt, entry, device, cache)
        return loaded[entry.key]

    rows = partial(bias_rows, manifest.model.architecture, bundle.weights(), manifest.biases)
    return GraphLoop(device, manifest.model, network, rows)


load_tensorrt = partial(load, flavour="tensorrt")
load_tensorrt_rtx = partial(load, flavour="tensorrt-rtx")
