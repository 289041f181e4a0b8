"""`winograd`: the network by kernels of our own, compiled for this processor; float32, and the fastest on a CPU.

Its 3x3 convolutions take 36 products where a direct convolution takes 144. Results are the same to the bit on any
number of threads, and for any width of the processor's vectors.
"""

from __future__ import annotations

from tfs_rt.backends.host import HostEngine
from tfs_rt.backends.registry import BACKENDS
from tfs_rt.backends.winograd.kernels import RegisterTile
from tfs_rt.backends.winograd.machine import host_shape, machine
from tfs_rt.backends.winograd.network import Network
from tfs_rt.errors import EnvironmentFault, ModelError, first_line
from tfs_rt.models.bundle import Bundle
from tfs_rt.system.threads import thread_count

# Raised when a bit of a result changes, so that no folder holds results of two versions.
ARITHMETIC = 1


def load(bundle: Bundle, threads: int | None = None) -> HostEngine:
    """The bundle's float32 network, tried out; ModelError if its weights are not those that its manifest describes.

    EnvironmentFault if the kernels cannot be compiled or run here.
    """
    spec = bundle.manifest.model
    network = Network(spec.architecture, bundle.weights(), _compile_kernels(), thread_count(threads))
    engine = HostEngine(spec, network, {"kernels": ARITHMETIC})
    try:
        engine.try_out()
    except (KeyError, ValueError) as error:
        file = bundle.path / bundle.manifest.files["fp32"].path
        reason = f"is not the network that model.json describes ({first_line(error)})"
        raise ModelError(file, reason, "export the bundle again") from error
    return engine


def _compile_kernels() -> RegisterTile:
    """Compile this processor's kernels, and return their shape."""
    try:
        shape = host_shape()
        machine(shape)
    except EnvironmentFault:
        raise
    except Exception as error:  # llvmlite's interface changes with its versions, and LLVM's faults are its own
        reason = f"its kernels cannot be compiled ({type(error).__name__}: {first_line(error)})"
        raise EnvironmentFault("backend winograd", reason, BACKENDS["winograd"].remedy) from error
    return shape
