"""`openvino` and `openvino-bf16`: OpenVINO on the CPU, through its own API, in the precision that the name states.

The precision is always set: by default OpenVINO computes in bfloat16 wherever the processor can. A network compiled
for all sizes is as fast as one compiled for a single size. Its last bits depend on the number of threads, but not on
earlier calls.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import Literal, cast

from tfs_rt.backends.host import ForkGuard, HostEngine
from tfs_rt.errors import EnvironmentFault, ModelError
from tfs_rt.images import Array
from tfs_rt.models.bundle import Bundle
from tfs_rt.system.resource_limits import limit_fault
from tfs_rt.system.threads import library_threads

CONVERTER = "openvino.tools.ovc"


@contextmanager
def without_converter() -> Generator[None]:
    """Import OpenVINO without its converter, which would report the import to its makers and write into HOME."""
    hidden = CONVERTER not in sys.modules
    if hidden:
        # None stands for a module that is not installed.
        sys.modules[CONVERTER] = None  # pyrefly: ignore[unsupported-operation]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[CONVERTER]


with without_converter():
    import openvino as ov


@contextmanager
def same_signal_stack() -> Generator[None]:
    """Restore the stack on which this thread handles signals.

    OpenVINO's plug-in sets a stack of its own, and restores the earlier one as it ends. If two plug-ins do not end in
    the order opposite to their making, the second restores a stack that is already freed, and the next signal kills
    the process. A plug-in that does not find its own stack restores nothing.
    """
    if sys.platform == "win32":
        yield
        return
    libc = ctypes.CDLL(None)
    stack = ctypes.create_string_buffer(64)  # a stack_t has 24 bytes
    libc.sigaltstack(None, stack)
    try:
        yield
    finally:
        libc.sigaltstack(stack, None)


GUARD = ForkGuard("openvino")


class CompiledNetwork:
    """A compiled network, called by one thread at a time: it has a single inference request."""

    def __init__(self, compiled: ov.CompiledModel) -> None:
        self.compiled = compiled
        self.lock = Lock()

    def __call__(self, condition: Array, x_t: Array, noise_level: Array) -> Array:
        """(1, 9, H, W), (1, 3, H, W), (1, 1) -> (1, 3, H, W)."""
        with GUARD.call(), self.lock:
            try:
                results = self.compiled({"condition": condition, "x_t": x_t, "noise_level": noise_level})
            except RuntimeError as error:
                raise RuntimeError(last_line(error)) from error
            return cast(Array, results["prediction"])


@GUARD.call()
@same_signal_stack()
def load(bundle: Bundle, threads: int | None = None, *, precision: Literal["f32", "bf16"] = "f32") -> HostEngine:
    """The bundle's network compiled for this CPU; ModelError if it cannot be, EnvironmentFault without bfloat16."""
    # Check that the processor computes in the precision.
    core = ov.Core()
    if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        name = core.get_property("CPU", "FULL_DEVICE_NAME").strip()
        reason = f"this processor ({name}) does not compute in bfloat16 (AVX-512 BF16 or AMX)"
        raise EnvironmentFault("openvino-bf16", reason, "use --backend openvino, in float32")
    # Read the network, which is checked.
    data = bundle.read("fp32")
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": library_threads(threads)}
    # Compile the network, and run it once.
    try:
        compiled = core.compile_model(core.read_model(data), "CPU", settings)
        facts = {"threads": compiled.get_property("INFERENCE_NUM_THREADS")}
        engine = HostEngine(bundle.manifest.model, CompiledNetwork(compiled), facts)
        engine.try_out()
    except MemoryError:
        raise
    except Exception as error:  # OpenVINO raises RuntimeErrors; its results may be of any kind
        # Tell a lack of memory or threads from a fault of the model.
        if fault := limit_fault(error):
            raise fault from error
        if "bad_alloc" in str(error):
            raise MemoryError from error
        # Anything else is a fault of the model.
        file = bundle.path / bundle.manifest.files["fp32"].path
        reason = f"cannot be run ({last_line(error)})"
        raise ModelError(file, reason, "update openvino, or export the bundle again") from error
    return engine


load_bf16 = partial(load, precision="bf16")


def last_line(error: BaseException) -> str:
    """The message of OpenVINO's error, which is its last line: file names and line numbers stand above it."""
    return next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
