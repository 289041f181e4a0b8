"""Compile a bundle's half-precision graph into a TensorRT engine, and audit each layer's precision.

The graph is strongly typed: a layer's types in the parsed network are the engine's precision, so that they can be
audited without a GPU. A convolution or a matrix product in float32 would only be slow, so it is refused.
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
SHAPE_TYPES = {"INT32", "INT64", "BOOL"}  # types of the arithmetic of shapes, which is done once


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The shapes that an engine takes: batches from 1 to `batch`, and sizes (H, W) from `low` to `high`."""

    batch: int
    low: tuple[int, int]
    high: tuple[int, int]

    @classmethod
    def of(cls, facts: Facts) -> Profile:
        """From the result of `facts`."""
        return cls(batch=facts["batch"], low=tuple(facts["low"]), high=tuple(facts["high"]))

    def facts(self) -> Facts:
        """For JSON."""
        return {"batch": self.batch, "low": list(self.low), "high": list(self.high)}

    def sizes(self) -> str:
        """Width by height, for people."""
        (h, w), (height, width) = self.low, self.high
        return f"{width}x{height}" if self.low == self.high else f"{w}x{h} to {width}x{height}"

    def covers(self, batch: int, size: tuple[int, int]) -> bool:
        """True if a batch of images of a size can run."""
        fits = (low <= side <= high for low, side, high in zip(self.low, size, self.high, strict=True))
        return batch <= self.batch and all(fits)


@dataclass(frozen=True, slots=True)
class BuiltEngine:
    """An engine as TensorRT serialises it, and facts for information."""

    plan: bytes
    layers: dict[str, int]  # "CONVOLUTION HALF": 94, ...
    seconds: float


def build(
    trt: Any, graph: bytes, profile: Profile, capabilities: list[str], *, on_step: Callable[[str], None]
) -> BuiltEngine:
    """Compile a half-precision graph, for `capabilities`; if there are none, for the GPU of this machine.

    Raises ModelError for a graph that does not parse or has float32 where half belongs, UsageError for sizes that it
    cannot take, EnvironmentFault if TensorRT fails.
    """
    started = time.monotonic()
    log = logger(trt)

    # Read the network from the graph.
    builder = trt.Builder(log)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, log)
    if not parser.parse(graph):
        reason = f"TensorRT cannot parse it ({parser.get_error(0).desc() if parser.num_errors else log.last})"
        raise ModelError("the half-precision graph", reason, "export the bundle again")

    # Set its inputs and the precision of its layers.
    inputs = [network.get_input(i).name for i in range(network.num_inputs)]
    if inputs != ["x", "bias"]:
        raise ModelError("the half-precision graph", f"takes {inputs}, not x and bias", "export the bundle again")
    layers = audit(network)

    # Compile the engine.
    config = _config(trt, builder, capabilities)
    config.progress_monitor = _monitor(trt, on_step)
    _add_profile(builder, network, config, profile)
    plan = builder.build_serialized_network(network, config)
    signals.check()  # an interrupt ended the build
    if plan is None:
        reason = f"could not build the engine ({log.last or 'no reason given'})"
        raise EnvironmentFault("TensorRT", reason, "ask for a smaller --size or --batch, or report it")
    return BuiltEngine(bytes(plan), layers, round(time.monotonic() - started, 2))


def audit(network: Any) -> dict[str, int]:
    """The number of layers by kind and type; ModelError for a layer in the wrong precision."""
    count: collections.Counter[str] = collections.Counter()
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        kind = layer.type.name
        dtype = layer.get_output(0).dtype.name
        if dtype in SHAPE_TYPES or kind == "CONSTANT":
            continue
        if (kind in HALF_ONLY and dtype != "HALF") or (kind in FLOAT_ONLY and dtype != "FLOAT"):
            raise ModelError(
                "the half-precision graph", f"{layer.name} is a {kind} in {dtype}", "export the bundle again"
            )
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
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):  # capturing in a graph needs it
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    return config


def _add_profile(builder: Any, network: Any, config: Any, profile: Profile) -> None:
    optimization = builder.create_optimization_profile()
    x = network.get_input(0)
    bias = network.get_input(1)
    channels = x.shape[1]
    row = tuple(bias.shape)
    most = (profile.batch, channels, *profile.high)
    optimization.set_shape(x.name, (1, channels, *profile.low), most, most)
    optimization.set_shape(bias.name, row, row, row)
    if config.add_optimization_profile(optimization) < 0:
        raise UsageError(
            "--size", f"{profile.low} to {profile.high} is not a valid range of sizes", "see tfs-rt build --help"
        )


def logger(trt: Any) -> Any:
    """TensorRT's logger, which keeps the last error."""

    class Logger(trt.ILogger):
        """Keeps the last error, because TensorRT does not raise it."""

        def __init__(self) -> None:
            super().__init__()
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.ERROR:
                self.last = message

    return Logger()


def _monitor(trt: Any, on_step: Callable[[str], None]) -> Any:
    class Monitor(trt.IProgressMonitor):
        """Reports phases, and ends the build on a signal."""

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            on_step(phase)

        def phase_finish(self, phase: str) -> None:
            pass

        def step_complete(self, phase: str, step: int) -> bool:
            return not signals.received

    return Monitor()
