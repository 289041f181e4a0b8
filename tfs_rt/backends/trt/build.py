"""The half graph compiled into a TensorRT engine, its precision audited layer by layer.

The graph is strongly typed: a layer's types in the parsed network are the engine's precision, so that they can be
audited without a GPU. A convolution or a matrix product in float32 would be slow without a word, and is refused.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfs_rt.errors import EnvironmentFault, ModelError, UsageError
from tfs_rt.facts import Facts
from tfs_rt.system import signals

HALF_ONLY = ("CONVOLUTION", "MATRIX_MULTIPLY")
FLOAT_ONLY = ("NORMALIZATION", "SOFTMAX")
SHAPES = {"INT32", "INT64", "BOOL"}  # types of the arithmetic of shapes, which is done once


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What an engine is to take: batches from 1 to `batch`, and sizes (H, W) from `low` to `high`."""

    batch: int
    low: tuple[int, int]
    high: tuple[int, int]

    @classmethod
    def of(cls, facts: Facts) -> Profile:
        """From what `facts` gave."""
        return cls(batch=facts["batch"], low=tuple(facts["low"]), high=tuple(facts["high"]))

    def facts(self) -> Facts:
        """For JSON."""
        return {"batch": self.batch, "low": list(self.low), "high": list(self.high)}

    def sizes(self) -> str:
        """Width by height, in words."""
        (h, w), (height, width) = self.low, self.high
        return f"{width}x{height}" if self.low == self.high else f"{w}x{h} to {width}x{height}"

    def covers(self, batch: int, size: tuple[int, int]) -> bool:
        """Whether a batch of images of a size can run."""
        fits = (low <= side <= high for low, side, high in zip(self.low, size, self.high, strict=True))
        return batch <= self.batch and all(fits)


@dataclass(frozen=True, slots=True)
class Built:
    """An engine, and what is to be known of it."""

    plan: bytes
    layers: dict[str, int]  # "CONVOLUTION HALF": 94, ...
    seconds: float


def build(
    trt: Any, graph: bytes, profile: Profile, capabilities: list[str], *, on_step: Callable[[str], None]
) -> Built:
    """Compile a half graph; `capabilities` are those to compile for without a GPU (none: for the one at hand).

    Raises ModelError for a graph that does not parse or has float32 where half belongs, UsageError for sizes that it
    cannot take, EnvironmentFault if TensorRT fails.
    """
    started, log = time.monotonic(), logger(trt)
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        reason = f"TensorRT cannot parse it ({parser.get_error(0).desc() if parser.num_errors else log.last})"
        raise ModelError("the half graph", reason, "export the bundle anew")
    inputs = [network.get_input(i).name for i in range(network.num_inputs)]
    if inputs != ["x", "bias"]:
        raise ModelError("the half graph", f"takes {inputs}, not x and bias", "export the bundle anew")
    layers = audit(network)
    config = _config(trt, builder, capabilities)
    config.progress_monitor = _monitor(trt, on_step)
    _add_profile(builder, network, config, profile)
    plan = builder.build_serialized_network(network, config)
    signals.check()  # an interrupt ends the build, which then has no result
    if plan is None:
        reason = f"could not build the engine ({log.last or 'no reason given'})"
        raise EnvironmentFault("TensorRT", reason, "ask for a smaller --size or --batch, or report it")
    return Built(bytes(plan), layers, round(time.monotonic() - started, 2))


def audit(network: Any) -> dict[str, int]:
    """How many layers of each kind compute in which type; ModelError where the wrong one was chosen."""
    count: collections.Counter[str] = collections.Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind, dtype = layer.type.name, layer.get_output(0).dtype.name
        if dtype in SHAPES or kind == "CONSTANT":
            continue
        if (kind in HALF_ONLY and dtype != "HALF") or (kind in FLOAT_ONLY and dtype != "FLOAT"):
            raise ModelError("the half graph", f"{layer.name} is a {kind} in {dtype}", "export the bundle anew")
        count[f"{kind} {dtype}"] += 1
    return dict(sorted(count.items()))


def _config(trt: Any, builder: Any, capabilities: list[str]) -> Any:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.max_aux_streams = 0  # one stream to capture
    if capabilities:
        config.num_compute_capabilities = len(capabilities)
        for i, capability in enumerate(capabilities):
            config.set_compute_capability(getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}"), i)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # what capturing asks for
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    return config


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    optimization = builder.create_optimization_profile()
    x, bias = (network.get_input(i) for i in range(2))
    channels, row = x.shape[1], tuple(bias.shape)
    most = (profile.batch, channels, *profile.high)
    optimization.set_shape(x.name, (1, channels, *profile.low), most, most)
    optimization.set_shape(bias.name, row, row, row)
    if config.add_optimization_profile(optimization) < 0:
        raise UsageError("--size", f"{profile.low} to {profile.high} is no range of sizes", "see tfs-rt build --help")


def logger(trt: Any) -> Any:
    """TensorRT's logger, which keeps the last error."""

    class Logger(trt.ILogger):
        """Keeps the last error, which TensorRT does not raise."""

        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.last = message

    return Logger()


def _monitor(trt: Any, on_step: Callable[[str], None]) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Tells what is done, and ends the build on a signal."""

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            on_step(phase)

        def phase_finish(self, phase: str) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            return not signals.received

    return Monitor()
