"""The one boundary: an engine holds a network on some device and takes one reverse step at a time.

A backend is one file and one line in BACKENDS, imported when it is chosen and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from math import inf, nan
from types import ModuleType
from typing import Any, NamedTuple, Protocol, Required, TypedDict, TypeVar, Unpack

from tfs_rt.bundle import Bundle
from tfs_rt.errors import EnvironmentFault, first_line
from tfs_rt.images import RGB, Array
from tfs_rt.resource_limits import limit_fault
from tfs_rt.spec import ModelSpec
from tfs_rt.table import StepRow, StepTable

Handle = TypeVar("Handle")


class Engine(Protocol[Handle]):
    """A network on a device. `Handle` is whatever the device keeps an array in; the loop never looks inside."""

    @property
    def spec(self) -> ModelSpec:
        """The model that runs."""
        ...

    @property
    def facts(self) -> dict[str, Any]:
        """What beside the backend's name and versions may decide a pixel: the number of threads, say."""
        ...

    def to_device(self, array: Array, /) -> Handle:
        """Upload a float32 array."""
        ...

    def step(
        self, x_t: Handle, x_0: Handle | None, condition: Handle, row: StepRow, z: Handle | None, /
    ) -> tuple[Handle, Handle]:
        """One reverse step: (x_t, the previous step's x_0) -> (x_prev, x_0)."""
        ...

    def to_host(self, handle: Handle, /) -> Array:
        """Download as float32."""
        ...


class How(TypedDict, total=False):
    """How a batch is fused."""

    size: Required[tuple[int, int]]  # (H, W) of the results
    seed: int  # 0 unless given
    on_step: Callable[[int], None] | None  # told the number of each step


class Loop(Protocol):
    """Runs whole tables over batches of images: any engine by `tfs_rt.pipeline.Stepwise`, or a device of its own."""

    @property
    def facts(self) -> dict[str, Any]:
        """What beside the backend's name and versions may decide a pixel: the GPU, say."""
        ...

    @property
    def largest_batch(self) -> int:
        """The most cases that can be run at once."""
        ...

    def begin(
        self, table: StepTable, cases: Sequence[Sequence[RGB]], ids: Sequence[str], **how: Unpack[How]
    ) -> Callable[[], list[RGB]]:
        """Begin a batch; the function returned gives its images. A second may begin before the first is asked for."""
        ...


class Backend(NamedTuple):
    """Where a backend lives."""

    module: str
    runtime: str  # the package that computes
    remedy: str  # if it is missing
    on_cpu: bool = True
    loop: str = ""  # the module's function that loads a loop; without one it has one for an engine:
    load: str = "load"


BACKENDS = {
    "ort-cpu": Backend("tfs_rt.backends.ort_cpu", "onnxruntime", "pip install 'tfs-rt[cpu]'"),
    "winograd": Backend("tfs_rt.backends.winograd", "llvmlite", "pip install 'tfs-rt[cpu]'"),
    "openvino": Backend("tfs_rt.backends.ov_cpu", "openvino", "pip install 'tfs-rt[openvino]'"),
    "openvino-bf16": Backend("tfs_rt.backends.ov_cpu", "openvino", "pip install 'tfs-rt[openvino]'", load="load_bf16"),
    "ort-cuda": Backend("tfs_rt.backends.ort_cuda", "onnxruntime", "pip install 'tfs-rt[gpu]'", on_cpu=False),
    "tensorrt": Backend(
        "tfs_rt.backends.captured",
        "tensorrt",
        "pip install 'tfs-rt[tensorrt]'",
        on_cpu=False,
        loop="load_tensorrt",
    ),
    "tensorrt-rtx": Backend(
        "tfs_rt.backends.captured",
        "tensorrt_rtx",
        "pip install 'tfs-rt[rtx]'",
        on_cpu=False,
        loop="load_tensorrt_rtx",
    ),
    "torch": Backend("tfs_rt_reference.engine", "torch", "pip install 'tfs-rt[export]'"),
}


AUTOMATIC = ("winograd", "ort-cpu")  # what `auto` takes, the first that runs: float32 both, and the faster first


def load_engine(backend: str, bundle: Bundle, threads: int | None = None) -> Engine[Any]:
    """The engine of a bundle on a backend that has engines; `threads` are those of a backend on the CPU."""
    load = getattr(backend_module(backend), BACKENDS[backend].load)
    return load(bundle, threads) if BACKENDS[backend].on_cpu else load(bundle)


def backend_module(backend: str) -> ModuleType:
    """A backend's module, imported; EnvironmentFault names the package that is missing."""
    chosen = BACKENDS[backend]
    return imported(chosen.module, f"backend {backend}", chosen.remedy)


def imported(module: str, subject: str, remedy: str) -> ModuleType:
    """A module that may not be installed, imported; EnvironmentFault about `subject` if it cannot be."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise EnvironmentFault(subject, f"the package {error.name!r} is not installed", remedy) from error
    except Exception as error:  # a library of it that does not load is an OSError, another version's names are anything
        if limit := limit_fault(error):
            raise limit from error
        reason = f"cannot be loaded ({first_line(error)})"
        raise EnvironmentFault(subject, reason, remedy) from error


def reverse_step(prediction: Any, x_t: Any, x_0: Any, row: StepRow, z: Any) -> tuple[Any, Any]:
    """The update of `tfs_rt.table`, for any array type with arithmetic and `clip` (NumPy's and PyTorch's have both)."""
    x_0_prev, guess = x_0, row.r_xt * x_t + row.r_pred * prediction
    x_0 = guess.clip(-1, 1)
    x_0[~(abs(guess) < inf)] = nan  # of an infinity the clip would make a plausible pixel
    x_prev = row.c_x0 * x_0 + row.c_xt * x_t
    if z is not None:
        x_prev = x_prev + row.c_z * z
    if x_0_prev is not None and row.c_x0_prev:
        x_prev = x_prev + row.c_x0_prev * x_0_prev
    return x_prev, x_0
